"""Turns the files of one label tool into those of another.

  fss convert labels/annotations.json --to voc --out voc/ --images photos/
  fss convert export/ --from cvat_images --to coco --out coco/ --instances

The format is found out if --from does not name it. What is left out is counted and named. Formats:
docs/formats.md says what each keeps and loses.
"""

import argparse
import sys
from pathlib import Path

from fss_jax.runtime import arguments

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", type=Path, help="a file of annotations, or a folder")
    parser.add_argument("--from", dest="kind", default="", help="its format, as coco")
    parser.add_argument("--to", required=True, help="the format to write")
    parser.add_argument("--out", type=Path, required=True, help="a folder, new or empty")
    arguments.add(parser, "--images", "--instances")
    parser.add_argument(
        "--polygons", action="store_true", help="polygons, where the format also has codes"
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling.convert import convert

    count, lines = convert(
        given.place,
        given.out,
        given.to,
        kind=given.kind,
        images=given.images,
        instances=given.instances,
        polygons=given.polygons,
    )
    for line in lines:
        print(line, file=sys.stderr)
    print(f"{count} images: see {given.out}")
