"""Which of a folder's pictures the page shows: a thousand are not loaded to look at forty."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fss_jax.labelling import labels

Found = tuple[str, Path | None, str]  # of Workbench.found
PAGE = 40  # pictures at a time
IN_VIEW = 5  # of them, that are found first after a correction: the gallery's first row
THUMBNAIL = 480


def gallery(found: Sequence[Found], first: int = 0) -> tuple[list, list[str], int, str]:
    """(thumbnails with their lines, their names, the first one's place, which these are of how many).

    Args:
      found: all pictures in their order.
      first: the place that shall be seen; its whole page is.
    """
    first, shown = _page(found, first)
    told = f"{first + 1} to {first + len(shown)} of {len(found)}" if found else ""
    return [(thumbnail(path), line) for _, path, line in shown], [n for n, *_ in shown], first, told


def is_shown(found: Sequence[Found], place: int, names: Sequence[str]) -> bool:
    """Whether the page of a place is the one that shows these names."""
    return [n for n, *_ in _page(found, place)[1]] == list(names)


def _page(found: Sequence[Found], place: int) -> tuple[int, Sequence[Found]]:
    first = max(0, min(place, len(found) - 1)) // PAGE * PAGE
    return first, found[first : first + PAGE]


def beside(found: Sequence[Found], name: str | None, by: int) -> tuple[str, int]:
    """(name, place) of the picture that follows in this order, or for -1 comes before.

    At an end it stays the same; without a name it is the first. Pictures that could not be read are
    passed over.

    Raises:
      ValueError: there is none.
    """
    places = {n: i for i, (n, path, _) in enumerate(found) if path is not None}
    if not places:
        raise ValueError("nothing is found yet: find the object first")
    names = list(places)
    at = names.index(name) + by if name in places else 0
    following = names[max(0, min(at, len(names) - 1))]
    return following, places[following]


def thumbnail(overlay: Path | None) -> Image.Image:
    """A small overlay; gray where an image could not be read."""
    if overlay is None:
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "gray")
    small = Image.fromarray(labels.read_small(overlay)[1])
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small
