"""A result as files: what was found (JSON), the same to read (Markdown), and to look at (PNG).

Whoever measures returns facts, and a `Page` that says how to read them; `write` is the one place that
makes the files.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fss_jax.reports.provenance import provenance_line
from fss_jax.runtime import files
from fss_jax.runtime.devices import is_lead


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells under a head; cells are shown as text."""

    head: Sequence[object]
    rows: Iterable[Sequence[object]]

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


@dataclasses.dataclass(frozen=True)
class Page:
    """A title, then tables and paragraphs."""

    title: str
    body: Sequence[Table | str]


def percent(value: float, digits: int = 1) -> str:
    """A share as percent."""
    return f"{100 * value:.{digits}f}"


def interval(bounds: Sequence[float], digits: int = 1) -> str:
    """Two shares as percent: '31.2 to 34.0'."""
    low, high = bounds
    return f"{percent(low, digits)} to {percent(high, digits)}"


def text(page: Page, facts: Mapping) -> str:
    """The page as Markdown, with what its facts say of their origin below."""
    parts = [f"# {page.title}", *map(str, page.body), *_origin(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(facts: Mapping) -> list[str]:
    if "command" not in facts:
        return []
    said = []
    if "records_sha256" in facts:
        said.append(f"{facts['episodes']} episodes, records sha256 `{facts['records_sha256']}`")
    if "checkpoint_step" in facts:
        said.append(f"checkpoint step {facts['checkpoint_step']}")
    said.append(provenance_line(facts))
    if "seconds" in facts:
        rate = facts.get("episodes_per_second")
        said.append(f"{facts['seconds']:.1f} s" + (f" ({rate:.1f} episodes/s)" if rate else ""))
    line = "; ".join(said) + "."
    return [line[0].upper() + line[1:], f"`{facts['command']}`"]


def write(stem: Path, facts: dict, page: Page, draw: Callable[[Path], None] | None = None) -> None:
    """Makes STEM.json, STEM.md and, with `draw`, STEM.png; of several processes the lead does.

    Args:
      stem: without an ending; dots in its name stay.
      facts: what the JSON holds; see `provenance` for those that say where they come from.
      draw: makes the picture at the path that it is given.
    """
    if not is_lead():
        return
    files.write_json(stem.with_name(f"{stem.name}.json"), facts)
    files.write_text(stem.with_name(f"{stem.name}.md"), text(page, facts))
    if draw:
        draw(stem.with_name(f"{stem.name}.png"))
