"""One way to read the files of a dataset, be it unpacked in a folder or still in a zip archive.

Members of an archive are read in memory; nothing is ever written where its names point to. An
archive whose names try to leave their folder is refused all the same: it was not made honestly.
"""

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MAX_FILE_BYTES = 256 * 2**20  # of one member, unpacked


class Files(NamedTuple):
    """The files below a root: sorted relative names with '/', and a function name -> bytes."""

    root: str
    names: tuple[str, ...]
    read: Callable[[str], bytes]


def folder_files(folder: Path) -> Files:
    """The files in a folder, at any depth."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return Files(str(folder), tuple(names), lambda name: (folder / name).read_bytes())


def zip_files(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> Files:
    """The files in a zip archive.

    Raises:
      ValueError: not a zip, damaged, or one of its members is absolute, climbs out of its folder,
        is a link, is encrypted, or unpacks to more than `max_file_bytes`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a zip archive, or was cut short ({error})") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        for problem in _problems(member, max_file_bytes):
            raise ValueError(f"{path} is refused: its member {member.filename!r} {problem}")

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{path} is damaged at {name} ({error}); fetch it again") from error

    return Files(str(path), tuple(sorted(member.filename for member in members)), read)


def _problems(member: zipfile.ZipInfo, max_file_bytes: int) -> Iterator[str]:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
        yield "points outside the archive's folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        yield "is a link"
    if member.flag_bits & 1:
        yield "is encrypted"
    if member.file_size > max_file_bytes:
        yield f"unpacks to {member.file_size} bytes"


def dataset_files(place: Path) -> Files:
    """The files of a zip archive, of a folder, or of the one zip archive that lies in a folder.

    Raises:
      FileNotFoundError: there is no such place.
      ValueError: as `zip_files`; or several archives to choose from.
    """
    if place.is_file():
        return zip_files(place)
    if not place.is_dir():
        raise FileNotFoundError(f"no folder or zip archive {place}")
    archives = sorted(place.glob("*.zip"))
    if len(archives) > 1:
        names = ", ".join(path.name for path in archives)
        raise ValueError(f"{place} has {len(archives)} zip archives ({names}); leave one")
    return zip_files(archives[0]) if archives else folder_files(place)
