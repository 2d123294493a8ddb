"""Which of a folder's pictures the page shows: a thousand are not loaded to look at forty."""

from pathlib import Path
from typing import Any

from PIL import Image

from fss_jax.labelling import labels
from fss_jax.labelling.workbench import Workbench

PAGE = 40  # pictures at a time
THUMBNAIL = 480


def gallery(bench: Workbench, order: str, first: int = 0) -> tuple[list, list[str], int, str]:
    """(thumbnails with their lines, their names, the first one's place, which these are of how many).

    Args:
      first: the place in this order that shall be seen; its whole page is.
    """
    found = bench.found(order)
    first = max(0, min(first, len(found) - 1)) // PAGE * PAGE
    shown = found[first : first + PAGE]
    told = f"{first + 1} to {first + len(shown)} of {len(found)}" if found else ""
    return [(thumbnail(path), line) for _, path, line in shown], [n for n, *_ in shown], first, told


def beside(bench: Workbench, order: str, name: str | None, by: int) -> tuple[str, int]:
    """(name, place) of the picture that follows in this order, or for -1 comes before.

    At an end it stays the same; without a name it is the first. Pictures that could not be read are
    passed over.

    Raises:
      ValueError: there is none.
    """
    places = {n: i for i, (n, path, _) in enumerate(bench.found(order)) if path is not None}
    if not places:
        raise ValueError("nothing is found yet: find the object first")
    names = list(places)
    at = names.index(name) + by if name in places else 0
    following = names[max(0, min(at, len(names) - 1))]
    return following, places[following]


def thumbnail(overlay: Path | None) -> Any:
    """A small overlay; gray where an image could not be read."""
    if overlay is None:
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "gray")
    small = Image.fromarray(labels.read_small(overlay)[1])
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small
