"""Results as JSON and Markdown, side by side."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from fss_jax.reports.page import Table
from fss_jax.runtime import files


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return str(Table(header, rows)).splitlines()


def save(out: str | Path, result: dict, title: str, lines: Sequence[str]) -> str:
    """Writes OUT.json and OUT.md; returns the Markdown.

    Args:
      result: JSON-able, with `machine.facts`.
      lines: the body of the Markdown.
    """
    text = "\n".join(
        [f"# {title}", "", *lines, "", machine.line(result), "", f"`{result['command']}`", ""]
    )
    files.write_json(Path(f"{out}.json"), result)
    files.write_text(Path(f"{out}.md"), text)
    return text
