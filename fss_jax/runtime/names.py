"""One message for a name that is not known: what was meant, and what there is."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error to raise: it proposes the nearest name and lists all."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}: {hint}choose one of {', '.join(known)}")
