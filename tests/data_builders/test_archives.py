import stat
import zipfile

import pytest

from data_builders import archives


def test_zip_and_folder_give_the_same_files(tmp_path):
    contents = {"a/1.txt": b"one", "a/b/2.txt": b"two", "3.txt": b""}
    for name, data in contents.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        for name, data in contents.items():
            archive.writestr(name, data)
    for place in (tmp_path / "folder", tmp_path / "data.zip", tmp_path):
        files = archives.dataset_files(place)
        assert files.names == tuple(sorted(contents))
        assert {name: files.read(name) for name in files.names} == contents


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    "member, problem",
    [
        ("../up.txt", "points outside"),
        ("a/../../up.txt", "points outside"),
        ("/etc/passwd", "points outside"),
        ("..\\up.txt", "points outside"),
        ("C:/up.txt", "points outside"),
        (link("a/link"), "is a link"),
    ],
)
def test_path_tricks_are_refused(tmp_path, member, problem):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("good.txt", b"good")
        archive.writestr(member, b"/etc/passwd")
    with pytest.raises(ValueError, match=problem) as caught:
        archives.dataset_files(tmp_path)
    assert "\n" not in str(caught.value)


def test_zip_bomb_and_damage_are_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(range(256)) * 100)
    with pytest.raises(ValueError, match="unpacks to 25600 bytes"):
        archives.zip_files(path, max_file_bytes=1000)
    data = bytearray(path.read_bytes())
    data[60:70] = b"\0" * 10
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged at a.txt"):
        archives.zip_files(path).read("a.txt")
    path.write_bytes(data[:100])
    with pytest.raises(ValueError, match="not a zip archive, or was cut short"):
        archives.zip_files(path)


def test_unclear_places_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or zip archive"):
        archives.dataset_files(tmp_path / "absent")
    for name in ("one.zip", "two.zip"):
        zipfile.ZipFile(tmp_path / name, "w").close()
    with pytest.raises(ValueError, match=r"2 zip archives \(one.zip, two.zip\)"):
        archives.dataset_files(tmp_path)
