"""Prepares a dataset for training and scoring.

  fss prepare fss_glyphs/tiny
  fss prepare pascal_5i/all --data_dir data
  fss prepare fss_1000 --manual_dir downloads
  fss prepare fss_glyphs/tiny --option classes=12

Without a config it takes the dataset's first, with /all every one. A dataset that is there already is
left alone, and a stopped one leaves nothing. python -m data_builders.prepare NAME --config CONFIG is
the same.
"""

import argparse

from fss_jax.runtime import arguments

GROUP = "data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME[/CONFIG]", help="a folder of data_builders")
    arguments.add(parser, "--data_dir", default="data")
    parser.add_argument("--manual_dir", help="folder of files you fetched yourself")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="changes a field of the dataset's config; may be repeated",
    )


def run(given: argparse.Namespace) -> None:
    from data_builders import prepare

    name, _, config = given.name.partition("/")
    prepare.run(name, config or None, given.data_dir, given.manual_dir, given.option)
