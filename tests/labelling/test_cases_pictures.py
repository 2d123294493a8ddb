"""Masks and images as people report them, through what the commands call."""

import logging
import os
import struct

import numpy as np
import pytest
from PIL import Image

from data_builders.masks import Choice, Unclear
from fss_jax.labelling import folders, job, pictures, supports

RGB = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
DISC = np.hypot(*(np.mgrid[:64, :80] - np.array([32, 40])[:, None, None])) < 20


@pytest.fixture(autouse=True)
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fss_jax"), "propagate", True)
    caplog.set_level(logging.INFO)


def pair(folder, mask, name="s0"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RGB).save(folder / f"{name}.jpg")
    (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(folder / f"{name}.png")
    return folder


def area(folder, choice=Choice()):  # noqa: B008
    (_, (mask,)) = supports.read(folder, choice)[folder.name]
    return int((pictures.read_annotation(mask) == 1).sum())


IDS = np.where(DISC, 1, 0).astype(np.uint8)
IDS[:8, :8] = 2


def test_01_label_ids(tmp_path):
    place = pair(tmp_path / "sup", IDS)
    with pytest.raises(Unclear, match=r"s0.png is a label map .*1 .*2 .*--mask_values 1,2"):
        supports.read(place)
    assert area(place, Choice.parse("1,2")) == DISC.sum() + 64
    assert area(place, Choice.parse("1")) == DISC.sum()


def test_02_ids_with_void(tmp_path):
    void = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    assert area(pair(tmp_path / "sup", void)) == DISC.sum()
    two = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    two[60:, 76:] = 2
    with pytest.raises(Unclear, match="255 is taken as undecided"):
        supports.read(pair(tmp_path / "two", two))


def test_03_class_colors(tmp_path):
    colors = np.zeros_like(RGB)
    colors[IDS == 1], colors[IDS == 2] = (48, 112, 32), (176, 112, 32)
    place = pair(tmp_path / "sup", colors)
    with pytest.raises(Unclear, match=r"several colors: .*--mask_color '48,112,32;176,112,32'"):
        supports.read(place)
    assert area(place, Choice.parse(color="48,112,32")) == DISC.sum()


def test_04_a_cut_out(tmp_path):
    assert area(pair(tmp_path / "sup", np.dstack([RGB, DISC * np.uint8(255)]))) == DISC.sum()


def test_05_a_photograph_in_the_place_of_a_mask(tmp_path):
    with pytest.raises(Unclear, match="s0.png looks like a photograph"):
        supports.read(pair(tmp_path / "sup", RGB))


def test_06_ids_of_two_classes_in_two_files(tmp_path):
    pair(tmp_path / "sup", DISC.astype(np.uint8), "s0")
    place = pair(tmp_path / "sup", DISC.astype(np.uint8) * 3, "s1")
    with pytest.raises(Unclear, match="s1.png marks the value 3, .*s0.png the value 1"):
        supports.read(place)


def test_inverted_masks_are_told(tmp_path, caplog):
    assert area(pair(tmp_path / "sup", ~DISC)) == (~DISC).sum()
    assert "may be inverted" in caplog.text


def rational_of_zero(path):
    """A JPEG whose EXIF says an exposure time of -1/0 and that it is turned."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0)  # upright
    pointer = struct.pack("<HHII", 0x8769, 4, 1, 38)
    inner = struct.pack("<H", 1) + struct.pack("<HHII", 0x829A, 10, 1, 56) + struct.pack("<I", 0)
    body = struct.pack("<H", 2) + entries + pointer + struct.pack("<I", 0) + inner
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + body + struct.pack("<ii", -1, 0)
    Image.fromarray(RGB).save(path, exif=exif)


def png_with(path, kind, data):
    """A PNG with a chunk of metadata before its pixels, with a wrong checksum."""
    Image.fromarray(RGB).save(path)
    raw = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + b"\0\0\0\0"
    path.write_bytes(raw[:33] + chunk + raw[33:])


def test_26_metadata_never_decides_whether_pixels_are_readable(tmp_path):
    rational_of_zero(tmp_path / "a.jpg")
    png_with(tmp_path / "b.png", b"tEXt", b"\xff" * 30)
    png_with(tmp_path / "c.png", b"eXIf", b"II*\0\xff\xff\xff\xff")
    for name in ("a.jpg", "b.png", "c.png"):
        found = pictures.read_image(tmp_path / name)
        assert np.abs(found.astype(int) - RGB).mean() < 60  # noise, as JPEG leaves it
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.jpg is damaged or cut short"):
        pictures.read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize(
    "ending", ["heic", "avif", "jfif", "bmp", "ppm", "pgm", "tif", "webp", "mpo"]
)
def test_27_every_kind_of_picture_is_found_and_read(tmp_path, ending):
    kinds = {"heic": "HEIF", "jfif": "JPEG", "pgm": "PPM", "tif": "TIFF", "mpo": "MPO"}
    if ending == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture = Image.fromarray(RGB if ending != "pgm" else RGB[..., 0])
    picture.save(tmp_path / f"x.{ending.upper()}", kinds.get(ending, ending.upper()))
    assert job.find_images(tmp_path) == [f"x.{ending.upper()}"]
    assert pictures.read_image(tmp_path / f"x.{ending.upper()}").shape == RGB.shape


def test_27_what_is_left_out_is_counted_and_named_by_ending(tmp_path, caplog):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    for name in ("b.CR2", "c.cr2", "d.svg", "notes.txt", ".hidden.psd", "x.json"):
        (tmp_path / name).write_bytes(b"")
    assert job.find_images(tmp_path) == ["a.jpg"]
    assert "left out: 2 .cr2, 1 .svg" in caplog.text and ".txt" not in caplog.text
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(ValueError, match="left out: 2 .cr2, 1 .svg"):
        job.find_images(tmp_path)


def test_29_any_file_name_that_the_system_allows(tmp_path):
    names = [
        b"L" * 246 + b".jpg",
        b"bytes \xff\xfe.jpg",
        b"line\nbreak.jpg",
        b"-rf.jpg",
        "ä".encode() * 125 + b".jpg",
    ]
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            Image.fromarray(RGB).save(file, "JPEG")
    found = job.find_images(tmp_path)
    assert sorted(map(os.fsencode, found)) == sorted(names)
    for name, stem in folders.stems(found).items():
        assert pictures.read_image(tmp_path / name).shape == RGB.shape
        assert len(os.fsencode(f"{stem}.json")) <= 255


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_30_deep_pictures_fill_the_whole_range(tmp_path, bits):
    deep = np.linspace(0, 2**bits - 1, 64 * 80).reshape(64, 80).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    gray = pictures.read_image(tmp_path / "x.png")[..., 0]
    assert (
        gray.min() == 0 and gray.max() == 255 and np.abs(gray - deep * (255 / deep.max())).max() < 2
    )


def test_30_values_that_are_no_grays_are_told_with_the_file(tmp_path):
    Image.fromarray(np.full((4, 4), -2.5, np.float32)).save(tmp_path / "neg.tif")
    with pytest.raises(ValueError, match=r"neg.tif: .*0..65535, and go from -2.5 to -2.5"):
        pictures.read_image(tmp_path / "neg.tif")


def test_31_linked_folders_are_searched_once(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(RGB).save(tmp_path / "i" / "q0.jpg")
    Image.fromarray(RGB).save(tmp_path / "elsewhere" / "q1.jpg")
    (tmp_path / "i" / "A").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "around").symlink_to(tmp_path / "i")
    assert job.find_images(tmp_path / "i") == ["A/q1.jpg", "q0.jpg"]


def test_32_no_two_images_share_a_mask():
    names = [
        "b.jpg",
        "b.png",
        "b.jpg.png",
        "B.gif",
        "c.png/d.jpg",
        "c.jpg",
        "ä.jpg",
        "a\u0308.jpg",
        "e.jpg",
    ]
    stems = folders.stems(names)
    files = [f"{stem}.png".casefold() for stem in stems.values()]
    assert len(set(files)) == len(names) and stems["e.jpg"] == "e"
    assert "c.png" not in files  # a folder is called so


def test_the_output_is_never_input(tmp_path):
    for name in ("a.jpg", "out/masks/a.png", "masks/b.png", "out/overlays/a.jpg", "overlays/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RGB).save(tmp_path / name)
    assert job.find_images(tmp_path, [tmp_path / "out"]) == [
        "a.jpg",
        "masks/b.png",
        "overlays/a.jpg",
    ]
    assert job.find_images(tmp_path, [tmp_path]) == [
        "a.jpg",
        "out/masks/a.png",
        "out/overlays/a.jpg",
    ]
    (tmp_path / "linked").symlink_to(tmp_path / "out")
    assert "out/masks/a.png" not in job.find_images(tmp_path, [tmp_path / "linked"])
    # The images may lie in the output folder.
    (tmp_path / "out" / "photos").mkdir()
    Image.fromarray(RGB).save(tmp_path / "out" / "photos" / "x.jpg")
    assert job.find_images(tmp_path / "out" / "photos", [tmp_path / "out"]) == ["x.jpg"]
