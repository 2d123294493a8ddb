"""Writes a method for use without fss_jax.

  fss export --workdir runs/mine --out exported/mine
  fss export --workdir runs/mine --out exported/mine --query_size 512
  fss export --config fitted/efficientnet_lite2 --out exported/fitted --query_size 384

condition.stablehlo, segment.stablehlo   both halves compiled down to StableHLO (jax.export), for
                                         CPU, CUDA and TPU, any number of episodes, shots, queries
                                         (some methods: of episodes and queries; see --shots)
backbone.stablehlo, condition_maps.stablehlo, segment_maps.stablehlo
                                         where the backbone is frozen and both sizes are one: it
                                         alone, and the halves on what it gives
weights.npz                              what all take as their first argument
example.py                               finds an object in a photograph; needs jax and Pillow
weights.safetensors                      the same weights with PyTorch's names and layouts;
                                         --init fss_jax:FILE reads them back bit for bit
about.json                               method, sizes, preprocessing, versions
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments, config_flags

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--out", required=True)
    arguments.add(parser, "--workdir", "--checkpoint")
    config_flags.add(parser)
    for name in ("--query_size", "--support_size"):
        parser.add_argument(
            name, type=arguments.COUNT, help="pixels; otherwise what the config scores at"
        )
    parser.add_argument(
        "--shots",
        type=arguments.COUNT,
        help="supports that the files take; otherwise any number, or the config's for methods whose "
        "shapes depend on it",
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.export import stablehlo

    out, config = Path(given.out), config_flags.read(given)
    sizes = {name: getattr(given, name) for name in ("query_size", "support_size", "shots")}
    if bool(config) == bool(given.workdir):
        raise ValueError(
            "name what to export: --workdir of a training, or --config of a method without training"
        )
    if config:
        stablehlo.export_config(config, out, **sizes)
    else:
        stablehlo.export_workdir(given.workdir, out, given.checkpoint, **sizes)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
