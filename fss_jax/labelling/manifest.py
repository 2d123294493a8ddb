"""What a command wrote into a folder: so that it resumes, and touches nobody else's files."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fss_jax.runtime import locks

NAME = "manifest.jsonl"


class Manifest:
    """A log in the output folder, one JSON object a line, only ever added to.

    {"settings": ..}                         what all later lines were made with; forgets the entries
    {"writes": [path, ..]}                   before files are written; or {path: SHA-256, ..}
    {"name": .., "entry": .., "files": ..}   after: what is known of an image, and files' SHA-256

    Several processes and threads may write into the folder, each with a manifest of its own: `writing`
    holds the folder's lock and takes up what the others wrote since.

    Attributes:
      settings: of the last run; None in a new folder.
      entries: by name, since the settings were the same.
      files: SHA-256 by path relative to the folder; '' while a file is being written.
      planned: SHA-256 of what was about to be put in a file's place: it may be there or not.
    """

    def __init__(self, folder: Path):
        """Reads the log, if there is one, but for a last line that a kill cut short.

        Raises:
          ValueError: the folder is a file, or the log is not ours.
        """
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file; expected a folder to write to")
        self.folder, self._path = folder, folder / NAME
        self.settings: dict | None = None
        self.entries: dict[str, dict] = {}
        self.files: dict[str, str] = {}
        self.planned: dict[str, str] = {}
        self._mine: dict | None = None  # the settings of the run that this object started
        self._read = self._depth = 0  # bytes of the log; how often `writing` is entered
        self._catch_up()

    def _catch_up(self) -> None:
        """Takes up the whole lines that were added to the log since it was last read."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                self._apply(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); choose another folder") from error
        self._read += len(whole)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Waits for its turn to write into the folder; within, nobody else does. May be nested.

        Raises:
          ValueError: another command has begun to label the folder with other settings.
        """
        with contextlib.nullcontext() if self._depth else locks.turn(self.folder):
            if not self._depth:
                self._catch_up()
                if self._mine not in (None, self.settings):
                    raise ValueError(
                        f"{self.folder} is being labelled by another command with another model or "
                        "support; this one stops"
                    )
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def start(self, settings: dict) -> None:
        """Begins a run; entries made with other settings are forgotten, files are not.

        Should another command begin one with other settings, ours has nothing more to write.
        """
        with self.writing():
            if settings != self.settings:
                self._add({"settings": settings})
            self._mine = settings

    def begin(self, paths: Iterable[Path] | Mapping[Path, str]) -> None:
        """To be called before files are written.

        Args:
          paths: with the SHA-256 of what they will hold, somebody else's change is told from our own
            writing even if that is killed in the middle.
        """
        names = {self._relative(path): path for path in paths}
        known = isinstance(paths, Mapping)
        writes = {name: paths[path] for name, path in names.items()} if known else [*names]
        self._add({"writes": writes})

    def finish(
        self,
        paths: Iterable[Path] | Mapping[Path, str],
        name: str = "",
        entry: dict | None = None,
    ) -> None:
        """To be called once they are; `paths` with the SHA-256 of what was written, or as it is now."""
        digests = paths if isinstance(paths, Mapping) else {path: sha256(path) for path in paths}
        files = {self._relative(path): digest for path, digest in digests.items()}
        self._add({"name": name, "entry": entry, "files": files})

    def ours(self, path: Path) -> bool:
        """Whether a path may be written: nothing is there, or what we wrote and nobody changed."""
        name = self._relative(path)
        written = self.files.get(name)
        if written == "":
            return True
        try:
            there = sha256(path)
        except FileNotFoundError:
            return True
        return there in (written, self.planned.get(name))

    def changed(self, path: Path) -> bool:
        """Whether somebody edited what we wrote."""
        name = self._relative(path)
        return (name in self.files or name in self.planned) and not self.ours(path)

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
        with self.writing():
            with self._path.open("ab") as file:
                if file.tell() > self._read:  # a line that a kill cut short
                    file.truncate(self._read)
                self._read += file.write((json.dumps(line) + "\n").encode())
            self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        if "settings" in line:
            self.settings, self.entries = line["settings"], {}
        elif "writes" in line:
            if isinstance(line["writes"], dict):
                self.planned |= line["writes"]
            else:
                self.files |= dict.fromkeys(line["writes"], "")
        else:
            self.files |= line["files"]
            if line["name"]:
                self.entries[line["name"]] = line["entry"]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
