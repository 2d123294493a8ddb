"""Writes a trained method for use without fss_jax.

  fss export --workdir runs/mine --out exported/mine
  fss export --workdir runs/mine --out exported/mine --query_size 512

condition.stablehlo, segment.stablehlo   both halves compiled down to StableHLO (jax.export), for
                                         CPU, CUDA and TPU, any number of episodes, shots, queries
weights.npz                              what both take as their first argument
example.py                               loads and runs them; needs jax alone
weights.safetensors                      the same weights with PyTorch's names and layouts;
                                         --init fss_jax:FILE reads them back bit for bit
about.json                               method, sizes, preprocessing, versions
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", "--out", required=True)
    arguments.add(parser, "--checkpoint")
    parser.add_argument(
        "--query_size", type=arguments.COUNT, help="pixels; otherwise what the config scores at"
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.export import stablehlo

    out = Path(given.out)
    stablehlo.export_workdir(given.workdir, out, given.checkpoint, given.query_size)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
