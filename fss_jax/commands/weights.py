"""Says what a file of weights holds, and what of it would load.

  fss weights inspect vgg16.caffemodel
  fss weights inspect squeezenet.pth --as squeezenet1_0

FILE is a .pth, .pkl, .safetensors, .caffemodel or .h5, or the folder of the FSS-1000 release. The
comparison is with the full-size network of that architecture.
"""

import argparse
from pathlib import Path

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["inspect"])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--as", dest="arch", metavar="ARCH", help="otherwise guessed from the names"
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.weights import inspect

    print("\n".join(inspect.report(given.file, given.arch)))
