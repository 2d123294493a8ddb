"""Labels a folder of images from a few masked examples.

  fss label --support five/ --images photos/ --out labels/
  fss label --support five/ --images photos/ --out labels/ --watch
  fss label --support five/ --images photos/ --out labels/ --workdir runs/mine --coco rle
  fss label --support five/ --images photos/ --out labels/ --config nearest/squeezenet --init SOURCE

Without --workdir and --config: features of EfficientNet-Lite2 as ImageNet left them, fitted to the
support (docs/photographs.md).

OUT/masks/X.png       0 and 255, as large as the image; masks/CLASS/X.png with several classes
OUT/overlays/X.jpg    the image with what was found
OUT/labels.csv        area, confidence, probability of being there, expected IoU; worst first
OUT/labels.html       the same to look at, in one file
OUT/annotations.json  with --coco=rle or --coco=polygons
OUT/labelme/X.json    with --labelme
OUT/manifest.jsonl    what was written: the same command again resumes

A broken image is reported and skipped. Files that this command did not write, or that were changed
since, stay as they are unless --overwrite is given. `fss correct` goes on from masks that a person
corrected; --watch stays and does so whenever a mask, an example or a picture changes, until Ctrl-C.
What depends on a picture alone is kept in ~/.cache/fss_jax/features, which may be deleted.
"""

import argparse
import sys
from pathlib import Path

from fss_jax.runtime import arguments, config_flags

GROUP = "labelling"
STOPPED = "stopped; the same command continues"


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that labelling and correcting share."""
    arguments.add(parser, "--support", "--images", required=True)
    arguments.add(parser, "--out", type=Path, required=True)
    config_flags.add(parser)
    arguments.add(parser, "--workdir", type=Path)
    arguments.add(parser, "--checkpoint")
    parser.add_argument("--coco", choices=("rle", "polygons"), default="", help="write it, too")
    parser.add_argument("--labelme", action="store_true", help="write labelme files, too")
    arguments.add(parser, "--instances")
    parser.add_argument(
        "--mask_values", default="", help="in label maps: the values that are the object, as 1,2"
    )
    parser.add_argument("--void", default="", help="in label maps: values left undecided, as 255")
    parser.add_argument("--mask_color", default="", help="in color maps: R,G,B of the object")
    parser.add_argument(
        "--batch", type=arguments.COUNT, default=8, help="images per call of the device"
    )
    parser.add_argument(
        "--tile",
        type=arguments.COUNT,
        default=4096,
        help="pixels; larger images are cut into tiles",
    )
    parser.add_argument(
        "--cache", type=arguments.COUNT_OR_NONE, default=4, help="GB of features to keep; 0: none"
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_job_flags(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of others, and labels of another model or support",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="label again whenever a mask that you corrected, an example or a picture changes",
    )


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling import job

    if given.watch and given.overwrite:
        raise ValueError("--watch keeps what a person changed: leave --overwrite out")
    try:
        segmenter, labels, shown = job.open_job(given, config_flags.read(given))
        if given.watch:
            from fss_jax.labelling import watching

            for line in watching.watch(segmenter, given):
                print(line, flush=True)
        segmenter.set_support(shown)
        job.tell_doubts(segmenter)
        broken = job.label(segmenter, labels, overwrite=given.overwrite)
    except KeyboardInterrupt as stopped:
        stopped.args = (STOPPED,)
        raise
    for line in job.told(labels):
        print(line)
    counts = ", ".join(f"{name} ({len(images)} shown)" for name, (images, _) in shown.items())
    print(f"{len(labels.names) - len(broken)} images labelled with {counts}: see {labels.out}")
    if broken:
        print(f"{len(broken)} could not be read: labels.csv says why", file=sys.stderr)
