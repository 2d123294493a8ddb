"""A contact sheet as one HTML file: it needs no other file and no network."""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from fss_jax.runtime import files

SIDE = 240  # pixels of a thumbnail

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff }}
main {{ display: flex; flex-wrap: wrap; gap: 1em }}
figure {{ margin: 0; width: {side}px }}
img {{ width: 100%; height: {side}px; object-fit: contain; background: #eee }}
figcaption {{ overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
<p>{note}</p>
<main>
"""


def write(
    path: Path, title: str, note: str, pictures: Iterable[tuple[Path | None, str, str]]
) -> None:
    """Writes the sheet.

    Args:
      pictures: (picture file or None, its name, a line about it), in order.
    """
    with (
        files.atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(_PAGE.format(title=html.escape(title), note=html.escape(note), side=SIDE))
        for source, name, line in pictures:
            shown = _thumbnail(source) if source else ""
            caption = f"<b>{html.escape(name)}</b><br>{html.escape(line)}"
            file.write(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n")
        file.write("</main></html>\n")


def _thumbnail(source: Path) -> str:
    with Image.open(source) as picture:
        picture.draft("RGB", (SIDE, SIDE))
        small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    text = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{text}">'
