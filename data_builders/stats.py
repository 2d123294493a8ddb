"""Statistics of prepared datasets, as in FSS-1000's Table 1 and Figure 1.

    python -m data_builders.stats [NAME ...] [--config C] [--data_dir data] [--out stats]

Writes stats.md, stats.json and images_per_class.png. NAME is a dataset, all of whose prepared configs
are taken, or NAME/CONFIG; without any, everything prepared is compared. Pictures are not decoded.

An image counts for each class that it shows: such a pair is an item. The row `all` counts an image
that several splits share once. The deviation is that of the whole population of classes. OSLSM
items are those that its small-object filter keeps, made for photographs of VOC's size.
"""

import argparse
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from matplotlib.figure import Figure

RAW = {name: tfds.decode.SkipDecoding() for name in ("image", "label")}
MIN_LATTICE_HITS = 3  # the released OSLSM loader keeps an item from here on


class Item(NamedTuple):
    """A class seen in an image."""

    image_id: str
    class_name: str
    lattice_hits: int


def prepared(data_dir: Path) -> dict[str, Path]:
    """The newest version of every dataset in a folder: NAME or NAME/CONFIG -> its folder."""
    found = {}
    for path in Path(data_dir).glob("**/[0-9]*.[0-9]*.[0-9]*/dataset_info.json"):
        version = tuple(int(part) for part in path.parent.name.split("."))
        name = path.parents[1].relative_to(data_dir).as_posix()
        found[name] = max(found.get(name, ((), path.parent)), (version, path.parent))
    return {name: folder for name, (_, folder) in sorted(found.items())}


def choose(data_dir: Path, wanted: list[str]) -> dict[str, Path]:
    """The prepared datasets that are meant: all, or those whose name or NAME/CONFIG is wanted.

    Raises:
      FileNotFoundError: one is not there; the message has the command that prepares it.
    """
    known = prepared(data_dir)
    chosen = {}
    for name in wanted or [""]:
        some = {k: v for k, v in known.items() if name in ("", k, k.partition("/")[0])}
        if not some:
            raise FileNotFoundError(
                f"no prepared dataset {name} in {data_dir} (found: {', '.join(known) or 'none'}); "
                f"run: fss prepare {name or 'NAME'} --data_dir {data_dir}"
            )
        chosen.update(some)
    return chosen


def read(folder: Path) -> dict[str, tuple[set[str], list[Item]]]:
    """The image ids and the items of each split of a prepared dataset."""
    builder = tfds.builder_from_directory(folder)
    names = builder.info.features["objects"]["class_id"].names
    splits = {}
    for split in builder.info.splits:
        source = builder.as_data_source(split, decoders=RAW)
        ids, items = set(), []
        for example in tqdm.tqdm(source, f"{builder.name} {split}", leave=False, disable=None):
            image_id, objects = example["image_id"].decode(), example["objects"]
            ids.add(image_id)
            best = {}  # several objects of a class in an image are one item
            for class_id, hits in zip(objects["class_id"], objects["lattice_hits"], strict=True):
                best[int(class_id)] = max(best.get(int(class_id), 0), int(hits))
            items += [Item(image_id, names[class_id], hits) for class_id, hits in best.items()]
        splits[split] = ids, items
    return splits


def describe(ids: set[str], items: list[Item]) -> dict:
    """Counts of images, classes and items, and mean and deviation of the images per class."""
    images_of = {}
    for item in items:
        images_of.setdefault(item.class_name, set()).add(item.image_id)
    counts = Counter({name: len(images) for name, images in images_of.items()})
    values = np.array(sorted(counts.values()) or [0])
    kept = {item[:2] for item in items if item.lattice_hits >= MIN_LATTICE_HITS}
    return {
        "images": len(ids),
        "classes": len(counts),
        "items": int(values.sum()),
        "items_on_lattice": len(kept),
        "images_per_class": {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "min": int(values[0]),
            "max": int(values[-1]),
        },
        "images_of_class": dict(counts.most_common()),
    }


def statistics(folder: Path) -> dict[str, dict]:
    """`describe` of each split of a prepared dataset, and of `all` of them together."""
    splits = read(folder)
    everything = (
        set().union(*(ids for ids, _ in splits.values())),
        [item for _, items in splits.values() for item in items],
    )
    return {name: describe(*split) for name, split in (*splits.items(), ("all", everything))}


def markdown(results: dict[str, dict[str, dict]]) -> str:
    """One row per dataset and split, after FSS-1000's Table 1."""
    lines = [
        "| dataset | split | images | classes | items | OSLSM items "
        "| images per class: mean | deviation | min | max |",
        "| --- | --- |" + " ---: |" * 8,
    ]
    for dataset, splits in results.items():
        for split, row in splits.items():
            per = row["images_per_class"]
            numbers = [row[key] for key in ("images", "classes", "items", "items_on_lattice")]
            numbers += [f"{per['mean']:.1f}", f"{per['std']:.1f}", per["min"], per["max"]]
            lines.append(f"| {dataset} | {split} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, dict[str, dict]]) -> bytes:
    """A PNG of the distributions of images over classes, each with unit area (FSS-1000, Figure 1).

    Classes are ranked by their images, as a fraction of all classes; the height is a class's images
    over the mean. A balanced dataset is a level line at 1.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, (dataset, splits) in enumerate(results.items()):
        counts = np.array([*splits["all"]["images_of_class"].values()])
        rank = (np.arange(len(counts)) + 0.5) / len(counts)
        style = "-" if number < 10 else "--"  # there are ten colors
        label = f"{dataset} ({len(counts)} classes)"
        axes.plot(
            rank, counts / counts.mean(), style, label=label, marker="." * (len(counts) < 100)
        )
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="class, by rank (fraction of all classes)")
    axes.set_ylabel("images of a class / mean (unit area)")
    axes.legend(frameon=False, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def compare(data_dir: Path, names: list[str], out: Path) -> str:
    """Writes the statistics of prepared datasets into a folder, and returns them as text.

    Raises:
      FileNotFoundError: as `choose`.
    """
    chosen = choose(data_dir, names)
    results = {name: statistics(folder) for name, folder in chosen.items()}
    out.mkdir(parents=True, exist_ok=True)
    write(out / "stats.json", json.dumps(results, indent=1).encode())
    write(out / "stats.md", markdown(results).encode())
    write(out / "images_per_class.png", plot(results))
    return markdown(results) + f"written to {out}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.stats", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--config", help="one config of the only NAME")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("stats"))
    flags = parser.parse_args(arguments)
    if flags.config and len(flags.names) != 1:
        parser.error("--config goes with exactly one NAME")
    names = [f"{flags.names[0]}/{flags.config}"] if flags.config else flags.names
    try:
        print(compare(flags.data_dir, names, flags.out))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
