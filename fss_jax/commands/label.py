"""Labels a folder of images from a few masked examples:

  python -m fss_jax.commands.label --support five/ --images photos/ --out labels/ [--workdir runs/mine]

Without --workdir the small model that comes with the package is used.

OUT/masks/X.png       0 and 255, as large as the image; masks/CLASS/X.png with several classes
OUT/overlays/X.jpg    the image with what was found
OUT/labels.csv        area, confidence and expected IoU of each image, worst first
OUT/labels.html       the same to look at, in one file
OUT/annotations.json  with --coco=rle or --coco=polygons
OUT/labelme/X.json    with --labelme
OUT/manifest.jsonl    what was written: the same command again resumes

A broken image is reported and skipped. Files that this command did not write, or that were changed
since, stay as they are unless --overwrite is given. `python -m fss_jax.commands.label refine` goes on from masks
that a person corrected.
"""

import sys

from fss_jax.labelling import corrections, job
from fss_jax.runtime import messages


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["refine"]:
        return corrections.main(argv[1:])
    flags = job.parser("python -m fss_jax.commands.label", __doc__)
    flags.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of others, and labels of another model or support",
    )
    arguments = flags.parse_args(argv)
    try:
        segmenter, labels, shown = job.open_job(arguments)
        segmenter.set_support(shown)
        broken = job.label(segmenter, labels, overwrite=arguments.overwrite)
    except (ValueError, OSError) as error:
        messages.fail(error)
    except KeyboardInterrupt:
        messages.fail("stopped; the same command continues")
    counts = ", ".join(f"{name} ({len(images)} shown)" for name, (images, _) in shown.items())
    print(f"{len(labels.names) - len(broken)} images labelled with {counts}: see {labels.out}")
    if broken:
        print(f"{len(broken)} could not be read: labels.csv says why", file=sys.stderr)


if __name__ == "__main__":
    messages.show_only_our_messages()
    main()
