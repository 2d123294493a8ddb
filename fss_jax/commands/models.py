"""Lists the experiments, or says what one's method is made of and costs.

  fss models
  fss models --config oslsm/release
  fss models --config oslsm/release --config.query_size=224

With --config: layers, output shapes, parameters and GFLOP of an episode. Nothing is computed and no
weights are made, so it takes seconds for a model of any size.
"""

import argparse
import ast

from fss_jax.runtime import config_flags

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    config_flags.add(parser)


def run(given: argparse.Namespace) -> None:
    config = config_flags.read(given)
    if config is None:
        print(listing())
        return

    from fss_jax.reports import model_summary

    print(model_summary.describe(config))


def listing() -> str:
    """Every config of the package with the first line of its text."""
    lines = []
    for name in config_flags.names():
        text = config_flags.find(name).read_text(encoding="utf-8")
        first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        lines.append(f"{name:28} {first}")
    return "\n".join(lines)
