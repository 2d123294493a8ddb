"""The figures of a chaos run as the table of docs/reliability.md, from the file that it wrote."""

import json
from pathlib import Path

BEGIN, END = "<!-- chaos: written by benchmarks.chaos -->", "<!-- end of chaos -->"


def table(found: dict) -> str:
    """The lines between the marks."""
    lines = [
        "| tried | size and outcome | held | seconds | when, and commit |",
        "| --- | --- | --- | --- | --- |",
    ]
    ran = {}
    for name, part in found.items():
        about = part["about"]
        held = {True: "yes", False: "**no**", None: "did not run"}[part.get("ok")]
        when = f"{about['date']}, {about['commit']}"
        lines.append(f"| {name} | {_told(part)} | {held} | {about['seconds']:,} | {when} |")
        ran.setdefault((about["command"], about["machine"], about.get("note", "")), []).append(name)
    for (command, machine, note), names in ran.items():
        line = f"{', '.join(names)}: `{command}` ({machine})" + (f". {note}" if note else "")
        lines += ["", line]
    return "\n".join(lines)


def _told(part: dict) -> str:
    if "why" in part:
        return " ".join(str(part["why"]).split()).replace("|", "/")[:200]
    told = []
    for key, value in part.items():
        if key == "about":
            continue
        if key == "readers":
            told.append(", ".join(f"{name} {count['cases']:,}" for name, count in value.items()))
        elif isinstance(value, dict):
            told.append(f"{key}: {'held' if value.get('ok') else 'did not hold'}")
        elif key not in ("ok", "faults") or value is None:
            told.append(f"{key.replace('_', ' ')} {value:,}" if isinstance(value, int) else
                        f"{key.replace('_', ' ')} {value}")  # fmt: skip
    return "; ".join(told).replace("|", "/")


def write(page: Path, results: Path) -> None:
    """Puts the table of a result file between the marks of a page."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    found = json.loads(results.read_text())
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}")
