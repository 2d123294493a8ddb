"""Labels a folder again whenever something in it changes (`fss label --watch`).

A mask that a person saved in OUT/masks becomes an example, as with `fss correct`; so does a new or
changed support, and a new picture is labelled.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from fss_jax.labelling import corrections, job
from fss_jax.labelling.labels import CHANGED, Labels
from fss_jax.labelling.segmenter import Segmenter

PAUSE = 0.5  # seconds between looks; what changes from one look to the next is still being written
State = dict[Path, tuple[int, int]]


def watch(segmenter: Segmenter, given: argparse.Namespace, pause: float = PAUSE) -> Iterator[str]:
    """What there is to tell after each round of labelling; never ends by itself.

    Args:
      given: flags of `fss label`.

    Raises:
      ValueError, OSError: the first round cannot be done. Later ones are told as lines, and tried
        again after the next change.
    """
    first = True
    while True:
        before = state(given)
        labels = None
        try:
            labels, lines = _round(segmenter, given)
        except (ValueError, OSError) as error:
            if first:
                raise
            lines = [" ".join(str(error).split())]
        yield from lines
        if first:
            yield "watching; Ctrl-C ends it"
        first = False
        _wait(given, before, labels, pause)


def state(given: argparse.Namespace) -> State:
    """(nanoseconds of the last change, bytes) of what a person changes: supports, images, masks."""
    found: State = {}
    places = {given.support, given.images, given.out / "masks"}
    while places:
        place = places.pop()
        try:
            if not place.is_dir():
                status = place.stat()
                found[place] = (status.st_mtime_ns, status.st_size)
                continue
            with os.scandir(place) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if entry.name.startswith(".") or path == given.out:
                        continue
                    if entry.is_dir():
                        places.add(path)
                    else:
                        status = entry.stat()
                        found[path] = (status.st_mtime_ns, status.st_size)
        except OSError:  # gone in the meantime
            continue
    return found


def _round(segmenter: Segmenter, given: argparse.Namespace) -> tuple[Labels, list[str]]:
    labels, shown = job.open_folder(given)
    found = corrections.examples(shown, labels)
    segmenter.set_support(corrections.as_support(found))
    began = time.perf_counter()
    count = job.relabel(segmenter, labels, progress=False)
    corrected = sum(not e.given for some in found.values() for e in some)
    line = (
        f"{count} images labelled in {time.perf_counter() - began:.1f} s with "
        f"{sum(map(len, found.values()))} examples, {corrected} of them corrected masks"
    )
    return labels, [line, *segmenter.doubts[: job.NEXT], *changes(labels), *job.told(labels)]


def changes(labels: Labels) -> list[str]:
    """A line that names the images whose masks the last round changed most."""
    entries = ((name, labels.manifest.entries.get(name, {})) for name in labels.names)
    found = [
        (max((c.get("changed", 0) for c in entry.get("classes", {}).values()), default=0), name)
        for name, entry in entries
    ]
    most = [name for value, name in sorted(found, reverse=True) if value >= CHANGED]
    return [f"{len(most)} masks changed, most: {', '.join(most[: job.NEXT])}"] if most else []


def _wait(given: argparse.Namespace, before: State, labels: Labels | None, pause: float) -> None:
    """Until something is other than `before`, by somebody else's hand, and rests."""
    while True:
        now = state(given)
        changed = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
        masks = given.out / "masks"
        if labels is not None:
            changed = [
                p
                for p in changed
                if not (masks in p.parents and p in now and labels.manifest.ours(p))
            ]
        time.sleep(pause)
        if changed and state(given) == now:
            return
        if not changed:
            before = now
