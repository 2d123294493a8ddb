"""Says what a file of weights holds, and what of it would load.

  fss weights inspect vgg16.caffemodel
  fss weights inspect squeezenet.pth --as squeezenet1_0
  fss weights list

FILE is a .pth, .pkl, .safetensors (or the index of one in parts), .caffemodel or .h5, or a folder:
of the FSS-1000 release or of one of DINO's models. The comparison is with the full-size network of
that architecture. `list` names what can be had by name, with size, license and allowed use.
"""

import argparse
from pathlib import Path

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["inspect", "list"])
    parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help="for inspect")
    parser.add_argument(
        "--as", dest="arch", metavar="ARCH", help="otherwise guessed from the names"
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.weights import inspect

    if given.action == "inspect" and given.file is None:
        raise ValueError("fss weights inspect needs a FILE")
    lines = inspect.listing() if given.action == "list" else inspect.report(given.file, given.arch)
    print("\n".join(lines))
