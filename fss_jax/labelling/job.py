"""A labelling job: which images, with what support, what is done already. `fss label` runs it."""

import argparse
import collections
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from data_builders.mask_choice import Choice
from data_builders.pairs import PICTURES, is_picture, left_out
from fss_jax.labelling import feature_cache, supports
from fss_jax.labelling.formats._files import walk
from fss_jax.labelling.labels import Labels, read_small
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.supports import Supports
from fss_jax.runtime import files, messages

RESULTS = ("masks", "overlays", "labelme")  # folders that `Labels` fills
NEXT = 10  # images that are named
_log = logging.getLogger(__name__)


def find_images(folder: Path, without: Sequence[Path] = ()) -> list[str]:
    """The pictures in a folder and its subfolders, as sorted paths relative to it.

    Args:
      without: files, or folders inside, that are left out; so is what is hidden.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: no picture there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; --images is a folder of pictures")
    above = [folder.resolve(), *folder.resolve().parents]
    closed = {path.resolve() for path in without}
    # Where the results lie among the images, or around them, only what is written is left out.
    closed |= {path / name for path in closed & set(above) for name in RESULTS}
    closed -= set(above)
    every = [p for p in walk(folder) if p.is_file()]
    found = []
    for path in every:
        place = path.resolve()
        if is_picture(path) and place not in closed and closed.isdisjoint(place.parents):
            found.append(path.relative_to(folder).as_posix())
    others = left_out(every)
    if not found:
        raise ValueError(
            f"{folder} has no picture ({', '.join(PICTURES)}){f'; {others}' if others else ''}"
        )
    if others:
        _log.warning("%s in %s (these endings are not read)", others, folder)
    return sorted(found)


def label(
    segmenter: Segmenter, labels: Labels, *, overwrite: bool = False, progress: bool = True
) -> list[str]:
    """Labels every image that is not done yet, and writes the summaries.

    Returns:
      The names of the images that could not be read.

    Raises:
      ValueError: the folder holds labels of another model or support, or files of somebody else.
      OSError: the disk is full and the like.
    """
    manifest = labels.manifest
    settings = {"fingerprint": segmenter.fingerprint(), "classes": list(labels.classes)}
    if manifest.settings not in (None, settings) and not overwrite:
        raise ValueError(
            f"{labels.out} holds labels of another model, support or tile size; choose another --out, "
            "or --overwrite to label it again"
        )
    fresh = manifest.settings != settings
    todo = [name for name in labels.names if (overwrite and fresh) or not labels.done(name)]
    if not overwrite:
        outputs = (path for name in todo for path in labels.outputs(name))
        require_ours(labels, outputs)
    else:
        labels.may_replace(todo)
    manifest.start(settings)
    run(segmenter, labels, todo, progress=progress)
    labels.summarize()
    tell_kept(labels)
    entries = manifest.entries
    return [name for name in labels.names if "error" in entries.get(name, {})]


def run(
    segmenter: Segmenter, labels: Labels, todo: Sequence[str], *, progress: bool = True
) -> None:
    """Segments images by name and writes their masks and overlays."""
    labels.expected_iou = segmenter.expected_iou
    waiting: collections.deque[tuple[str, np.ndarray]] = collections.deque()
    bar = tqdm(
        total=len(labels.names),
        initial=len(labels.names) - len(todo),
        desc="label",
        unit="img",
        disable=not progress,
    )

    def readable() -> Iterator[np.ndarray]:
        for name in todo:
            try:
                rgb, small = read_small(labels.images / name)
            except (ValueError, OSError) as error:
                labels.fail(name, error)
                bar.write(f"skipped: {error}", file=sys.stderr)
                bar.update()
                continue
            waiting.append((name, small))
            yield rgb

    with bar:
        for found in segmenter.stream(readable()):
            name, small = waiting.popleft()
            labels.write(name, found, small)
            bar.update()


def relabel(segmenter: Segmenter, labels: Labels, *, progress: bool = True) -> int:
    """Labels again what no person corrected, if model or support changed; returns how many.

    Raises:
      ValueError: a file of somebody else is in the way.
    """
    return sum(relabel_in_turn(segmenter, labels, progress=progress))


def relabel_in_turn(
    segmenter: Segmenter, labels: Labels, first: Sequence[str] = (), *, progress: bool = True
) -> Iterator[int]:
    """`relabel` in two parts, which yields how many each has: those of `first`, and all others.

    What is in the way is refused before anything is written; the summaries come with the second part.
    """
    manifest = labels.manifest
    settings = {"fingerprint": segmenter.fingerprint(), "classes": list(labels.classes)}
    fresh = settings != manifest.settings
    todo = [n for n in labels.names if not labels.corrected(n) and (fresh or not labels.done(n))]
    require_ours(labels, (path for name in todo for path in labels.outputs(name)))
    manifest.start(settings)
    wanted = set(first)
    early = [name for name in todo if name in wanted]
    if early:
        run(segmenter, labels, early, progress=progress)
    yield len(early)
    rest = [name for name in todo if name not in wanted]
    run(segmenter, labels, rest, progress=progress)
    labels.summarize()
    tell_kept(labels)
    yield len(rest)


def require_ours(labels: Labels, outputs: Iterable[Path]) -> None:
    """ValueError if a file of somebody else is in the way; exports that were edited stay."""
    written = [p for p in labels.summaries() if not labels.manifest.changed(p)]
    written += [p for p in labels.summaries() if p not in labels.exports()]
    labels.manifest.require_ours([*outputs, *written])


def tell_kept(labels: Labels) -> None:
    """Says which exports a person edited, and where to correct instead."""
    if labels.kept:
        more = f" and {len(labels.kept) - 1} others" if len(labels.kept) > 1 else ""
        _log.warning(
            "%s%s was edited by hand and kept as it is; masks are taken from %s alone: correct there "
            "(or `convert` the edited file into masks)", labels.kept[0], more, labels.out / "masks"
        )  # fmt: skip


def open_folder(arguments: argparse.Namespace) -> tuple[Labels, Supports]:
    """The output folder and the supports of a command, as they are now.

    Raises:
      FileNotFoundError, ValueError: as `supports.read` and `find_images`.
    """
    said = (getattr(arguments, flag, "") for flag in ("mask_values", "void", "mask_color"))
    choice = Choice.parse(*said)
    shown = supports.read(arguments.support, choice)
    for line in supports.shared(shown)[:NEXT]:
        _log.warning("%s", line)
    without = [arguments.out, *supports.mask_files(arguments.support)]
    files.clean(arguments.out)
    names = find_images(arguments.images, without)
    labels = Labels(
        Manifest(arguments.out),
        arguments.images,
        names,
        tuple(shown),
        coco=arguments.coco,
        labelme=arguments.labelme,
        instances=arguments.instances,
    )
    labels.choice = choice
    return labels, shown


def open_job(
    arguments: argparse.Namespace, config: ConfigDict | None = None
) -> tuple[Segmenter, Labels, Supports]:
    """The model, the output folder and the supports (not yet shown to the model) of a command.

    Args:
      config: of a method that needs no training, in place of a workdir's.
    """
    labels, shown = open_folder(arguments)
    messages.use_compilation_cache()
    cache = feature_cache.usual(arguments.cache * 2**30)
    sizes = {"batch": arguments.batch, "tile": arguments.tile, "cache": cache}
    segmenter = open_segmenter(arguments.workdir, arguments.checkpoint, config, **sizes)
    return segmenter, labels, shown


def open_segmenter(
    workdir: Path | None = None,
    checkpoint: str = "best",
    config: ConfigDict | None = None,
    **settings: Any,
) -> Segmenter:
    """A config's method as its weights are, a workdir's model, or without either the default.

    Args:
      settings: batch, tile and cache, as for `Segmenter`.

    Raises:
      ValueError, FileNotFoundError: as `Segmenter.from_config` and `from_checkpoint`.
    """
    if config is None and workdir is not None:
        return Segmenter.from_checkpoint(workdir, checkpoint, **settings)
    if config is None:
        return Segmenter.default(**settings)
    return Segmenter.from_config(config, workdir=workdir, **settings)


def tell_doubts(segmenter: Segmenter) -> None:
    """Warns of supports that contradict the others."""
    for line in segmenter.doubts[:NEXT]:
        _log.warning("%s", line)


def told(labels: Labels) -> list[str]:
    """What a person should look at, in lines: how often nothing is there, and the worst masks."""
    ranked = [item for item in labels.ranked() if "error" not in item[1]]
    judged = [(name, e) for name, e in ranked if any("present" in c for c in e["classes"].values())]
    lines = []
    for c in labels.classes:
        nothing = sum(
            "present" in e["classes"][c] and not e["classes"][c]["area"] for _, e in judged
        )
        if nothing:
            what = f" of {c}" if len(labels.classes) > 1 else ""
            lines.append(
                f"empty masks{what}, as nothing seems to be there: {nothing} of {len(judged)}"
            )
    if judged:
        worst = ", ".join(name for name, _ in judged[:NEXT])
        lines.append(f"the worst first, as labels.csv has them: {worst}")
    return lines
