"""What a command wrote into a folder: so that it resumes, and touches nobody else's files."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAME = "manifest.jsonl"


class Manifest:
    """A log in the output folder, one JSON object a line, only ever added to.

    {"settings": ..}                         what all later lines were made with; forgets the entries
    {"writes": [path, ..]}                   before files are written
    {"name": .., "entry": .., "files": ..}   after: what is known of an image, and files' SHA-256

    Attributes:
      settings: of the last run; None in a new folder.
      entries: by name, since the settings were the same.
      files: SHA-256 by path relative to the folder; '' while a file is being written.
    """

    def __init__(self, folder: Path):
        """Reads the log, if there is one. A last line that a kill cut short is dropped.

        Raises:
          ValueError: the folder is a file, or the log is not ours.
        """
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file; expected a folder to write to")
        self.folder, self._path = folder, folder / NAME
        self.settings: dict | None = None
        self.entries: dict[str, dict] = {}
        self.files: dict[str, str] = {}
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                self._apply(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); choose another folder") from error
        if len(whole) < len(data):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))

    def start(self, settings: dict) -> None:
        """Begins a run; entries made with other settings are forgotten, files are not."""
        if settings != self.settings:
            self._add({"settings": settings})

    def begin(self, paths: Iterable[Path]) -> None:
        """To be called before files are written."""
        self._add({"writes": [self._relative(path) for path in paths]})

    def finish(self, paths: Iterable[Path], name: str = "", entry: dict | None = None) -> None:
        """To be called once they are."""
        files = {self._relative(path): sha256(path) for path in paths}
        self._add({"name": name, "entry": entry, "files": files})

    def ours(self, path: Path) -> bool:
        """Whether a path may be written: nothing is there, or what we wrote and nobody changed."""
        return not path.exists() or self.files.get(self._relative(path)) in ("", sha256(path))

    def changed(self, path: Path) -> bool:
        """Whether somebody edited what we wrote."""
        return self._relative(path) in self.files and not self.ours(path)

    def require_ours(self, paths: Iterable[Path]) -> None:
        """ValueError if any of the paths must not be overwritten."""
        foreign = [path for path in paths if not self.ours(path)]
        if foreign:
            others = f" and {len(foreign) - 1} others" if len(foreign) > 1 else ""
            raise ValueError(
                f"{foreign[0]}{others} would be overwritten, but this command did not write it, or "
                "it was changed since; choose another --out, or --overwrite to replace such files"
            )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _add(self, line: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        if "settings" in line:
            self.settings, self.entries = line["settings"], {}
        elif "writes" in line:
            self.files |= dict.fromkeys(line["writes"], "")
        else:
            self.files |= line["files"]
            if line["name"]:
                self.entries[line["name"]] = line["entry"]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
