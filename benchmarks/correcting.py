"""How long a folder takes to be labelled, and to be labelled again after a correction.

    python -m benchmarks.correcting --data ../shared/data/photobench --class mug/mug

Five pictures of the class (--supports) are the support, and pictures of all classes, at their own
sizes, the folder. One mask after another is replaced by a person's. Where the class has too few, other
classes' pictures stand in: the masks mean nothing then, time and memory do. Processor seconds count on
a busy machine.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks import machine
from fss_jax import Segmenter
from fss_jax.labelling import corrections, job
from fss_jax.labelling.app.view import IN_VIEW
from fss_jax.labelling.feature_cache import FeatureCache
from fss_jax.runtime import arguments, files, messages
from fss_jax.studies import photos


def prepare(
    place: Path, found: dict, name: str, count: int, supports: int = 5
) -> list[tuple[int, photos.Photo]]:
    """PLACE/support and PLACE/images; returns those of the images that show the class."""
    own, *others = [found[name], *(of for other, of in found.items() if other != name)]
    shown = [*own[:5], *(photo for of in others for photo in of)][:supports]
    for kind in ("support/image", "support/label", "images"):
        (place / kind).mkdir(parents=True)
    for n, photo in enumerate(shown):
        shutil.copyfile(photo.image, place / f"support/image/{n}.jpg")
        shutil.copyfile(photo.image.with_suffix(".png"), place / f"support/label/{n}.png")
    mixed = [of[i] for i in range(max(map(len, others))) for of in others if i < len(of)]
    turns = [*own[5:], *mixed][:count]
    for n, photo in enumerate(turns):
        shutil.copyfile(photo.image, place / f"images/{n}.jpg")
    return [(n, photo) for n, photo in enumerate(turns) if photo.folder == own[0].folder]


def measure(data: Path, name: str, count: int, rounds: int, supports: int = 5) -> dict:
    """Seconds of the first labelling and of `rounds` more, each after a correction.

    'in_view_s' is until the first IN_VIEW masks are there, the fit included.
    """
    facts = machine.facts()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        mine = prepare(place, photos.find(data), name, count, supports)
        given = argparse.Namespace(
            support=place / "support", images=place / "images", out=place / "out", coco="",
            labelme=False, instances=False,
        )  # fmt: skip
        segmenter = Segmenter.default(cache=FeatureCache(place / "features"))
        rows = []
        for turn in range(rounds + 1):
            began, busy = time.perf_counter(), time.process_time()
            labels, shown = job.open_folder(given)
            examples = corrections.examples(shown, labels)
            segmenter.set_support(corrections.as_support(examples))
            fitted = time.perf_counter(), time.process_time()
            # As the page does: what is in view first, here the first of the folder.
            turns = job.relabel_in_turn(segmenter, labels, labels.names[:IN_VIEW], progress=False)
            again = next(turns)
            seen = time.perf_counter()
            again += next(turns)
            ended = time.perf_counter(), time.process_time()
            if not again:  # no more pictures of the class to correct
                break
            rows.append(
                {
                    "examples": sum(map(len, examples.values())),
                    "images": again,
                    "fit_s": fitted[0] - began,
                    "in_view_s": seen - began,
                    "fit_processor_s": fitted[1] - busy,
                    "s_per_image": (ended[0] - fitted[0]) / again,
                    "processor_s_per_image": (ended[1] - fitted[1]) / again,
                }
            )
            if turn < len(mine):
                n, photo = mine[turn]
                Image.fromarray(photo.mask()).save(labels.mask_path(f"{n}.jpg", "support"))
    return {"pictures": count, "rounds": rows, "memory_bytes": machine.peak_bytes(), **facts}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.correcting")
    parser.add_argument("--data", type=Path, required=True, help="SET/CLASS/{n}.jpg and {n}.png")
    parser.add_argument("--class", dest="name", default="mug/mug")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--supports", type=int, default=5)
    arguments.add(parser, "--out", type=Path)
    given = parser.parse_args(argv)
    messages.use_compilation_cache()
    result = measure(given.data, given.name, given.pictures, given.rounds, given.supports)
    if given.out:
        files.write_json(given.out, result)
    for row in result["rounds"]:
        print(" ".join(f"{k} {v:.3g}" for k, v in row.items()))
    print(machine.line(result), f"{result['memory_bytes'] / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
