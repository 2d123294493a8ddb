"""What the web page does to its folder, and what it refuses."""

import csv
import io
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders import pairs
from data_builders.masks import read_mask
from fss_jax import Segmenter
from fss_jax.labelling import sample, workbench
from fss_jax.labelling.app import guard, painting, view
from fss_jax.labelling.workbench import Workbench


def bomb(path, side=30_000):
    """A PNG of a few kilobytes whose header promises side x side pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture
def bench(toy_workdir, tmp_path):
    return Workbench(Segmenter.from_checkpoint(toy_workdir, batch=2), tmp_path / "bench")


def test_label_correct_teach_and_export(bench, tmp_path):
    with pytest.raises(ValueError, match="no example yet"):
        bench.predict()
    with pytest.raises(ValueError, match="mask is empty"):
        bench.add_example(toy_pictures.square(0)[0], np.zeros((40, 36), bool))
    bench.add_example(*toy_pictures.square(0))
    images = toy_pictures.write_images(tmp_path / "images", 3)
    assert bench.add_images(sorted(images.iterdir())) == []
    assert bench.predict() == 3 and bench.predict() == 0  # nothing changed
    assert len(bench.found()) == 3 and bench.found("by name")[0][0] == "0.png"
    assert [row[0] for row in bench.found("surest first")] == [r[0] for r in bench.found()][::-1]

    _, truth = toy_pictures.square(101, 51, 69)
    small = np.asarray(Image.fromarray(truth).resize((35, 26), Image.Resampling.NEAREST))
    bench.correct("1.png", small)  # painted on a smaller picture
    assert bench.mask("1.png").shape == truth.shape
    assert (bench.mask("1.png") ^ truth).mean() < 0.05
    bench.add_example(bench.image("1.png"), bench.mask("1.png"))
    kept = bench.mask("1.png")
    assert bench.predict() == 2 and len(bench.examples()) == 2  # the corrected one is left alone
    np.testing.assert_array_equal(bench.mask("1.png"), kept)

    with zipfile.ZipFile(bench.export(tmp_path / "served")) as archive:
        names = set(archive.namelist())
        assert {"labels.csv", "labels.html", "annotations.json"} < names
        assert not any("manifest" in name for name in names)
        for name in ("0", "1", "2"):
            mask = read_mask(io.BytesIO(archive.read(f"masks/{name}.png")))
            np.testing.assert_array_equal(mask, bench.mask(f"{name}.png"))
        rows = csv.DictReader(archive.read("labels.csv").decode().splitlines())
        notes = {row["image"]: row["note"] for row in rows}
    assert notes == {"0.png": "", "1.png": "corrected by hand", "2.png": ""}

    again = Workbench(bench.segmenter, bench.folder)  # a second start takes up what is there
    assert len(again.examples()) == 2 and len(again.found()) == 3


def test_pictures_in_view_are_found_first(bench, tmp_path):
    bench.add_example(*toy_pictures.square(0))
    bench.add_images(sorted(toy_pictures.write_images(tmp_path / "images", 5).iterdir()))
    assert list(bench.predict_in_turn(["nobody.png"])) == [0, 5]
    bench.correct("2.png", bench.mask("2.png") | (np.indices(bench.mask("2.png").shape)[0] < 4))
    bench.add_example(bench.image("2.png"), bench.mask("2.png"))
    turns = bench.predict_in_turn(["4.png", "2.png", "1.png"])
    assert next(turns) == 2  # what a person corrected stays
    assert {name for name, *_ in bench.found()} == {"1.png", "4.png"}
    table = (bench.folder / "labels" / "labels.csv").read_text()
    assert list(turns) == [2]
    assert {name for name, *_ in bench.found()} == {f"{n}.png" for n in range(5)}
    assert (bench.folder / "labels" / "labels.csv").read_text() != table
    assert list(bench.predict_in_turn(["4.png"])) == [0, 0]


@pytest.mark.parametrize("first", [[], ["1.png"]])
def test_what_is_in_the_way_is_refused_before_anything_is_forgotten(bench, tmp_path, first):
    bench.add_example(*toy_pictures.square(0))
    bench.add_images(sorted(toy_pictures.write_images(tmp_path / "images", 3).iterdir()))
    bench.predict()
    found, log = bench.found(), bench.folder / "labels" / "manifest.jsonl"
    before = log.read_bytes()
    (bench.folder / "labels" / "overlays" / "2.jpg").write_bytes(b"somebody's")
    bench.add_example(*toy_pictures.square(1))
    with pytest.raises(ValueError, match="did not write it, or it was changed"):
        list(bench.predict_in_turn(first))
    assert log.read_bytes() == before and bench.found() == found


def test_only_pictures_of_a_bounded_size_are_taken_up(bench, tmp_path, monkeypatch):
    files = [bomb(tmp_path / "bomb.png")]
    for name, data in {
        "page.html": b"<script>alert(1)</script>",
        "page.jpg": b"<script>alert(1)</script>",
        "code.pkl": b"cos\nsystem\n(S'touch /tmp/x'\ntR.",
        "code.npy": b"\x93NUMPY",
    }.items():
        (tmp_path / name).write_bytes(data)
        files.append(tmp_path / name)
    refused = bench.add_images(files)
    assert len(refused) == len(files) and "pixels, more than the limit" in refused[0]
    assert not list((bench.folder / "images").iterdir())
    picture = toy_pictures.write_images(tmp_path / "images", 1) / "0.png"
    monkeypatch.setattr(workbench, "MAX_BYTES", 100)
    assert "the limit is 100" in bench.add_images([picture])[0]


def test_a_name_leads_nowhere_else(bench, tmp_path):
    picture = toy_pictures.write_images(tmp_path / "images", 1) / "0.png"
    odd = tmp_path / "..\\..%2f$(touch x);'.png"
    odd.write_bytes(picture.read_bytes())
    hidden = tmp_path / "...png"
    hidden.write_bytes(picture.read_bytes())
    assert bench.add_images([odd, hidden]) == [f"png is no picture ({', '.join(pairs.PICTURES)})"]
    (path,) = (bench.folder / "images").iterdir()
    assert path.name.replace("_", "").replace(".", "").isalnum() and path.name[0] != "."


def test_what_gradio_decodes_itself_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.eps")
    Image.open(tmp_path / "x.eps").close()
    guard.restrict_pillow()
    with pytest.raises(Image.DecompressionBombError):
        Image.open(bomb(tmp_path / "bomb.png"))
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(tmp_path / "x.eps")
    with Image.open(toy_pictures.write_images(tmp_path / "images", 1) / "0.png") as picture:
        picture.load()


def test_red_strokes_add_to_a_mask_and_blue_ones_take_away():
    rgb, mask = toy_pictures.square(3)
    value = painting.canvas(rgb, mask)
    assert (
        not (value["background"] == rgb)[mask].all() and (value["background"] == rgb)[~mask].all()
    )
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[:5] = (*painting.OBJECT, 255)
    layer[-10:] = (*painting.NOTHING, 255)
    layer[15:20] = (*painting.OBJECT, 60)  # a stroke's soft edge
    changed = painting.painted({"layers": [layer]}, mask)
    assert changed[:5].all() and not changed[-10:].any()
    np.testing.assert_array_equal(changed[5:-10], mask[5:-10])
    for nothing in (None, {"background": rgb, "layers": [], "composite": None}):
        np.testing.assert_array_equal(painting.painted(nothing, mask), mask)


def test_strokes_decide_what_they_cover_and_nothing_else(bench):
    layer = np.zeros((20, 30, 4), np.uint8)
    layer[2:5, 3:9] = (*painting.OBJECT, 255)
    layer[10:12, 3:9] = (*painting.NOTHING, 255)
    drawn = painting.strokes({"layers": [layer]}, (20, 30))
    assert (drawn[2:5, 3:9] == 1).all() and (drawn[10:12, 3:9] == 0).all()
    assert (drawn == 255).sum() == 20 * 30 - 18 - 12
    assert (painting.strokes(None, (4, 4)) == 255).all()
    with pytest.raises(ValueError, match="mask is empty"):
        bench.add_example(np.zeros((20, 30, 3), np.uint8), np.where(drawn == 1, 255, drawn))
    bench.add_example(np.zeros((20, 30, 3), np.uint8), drawn)
    ((picture, name),) = bench.examples()
    assert picture.shape == (20, 30, 3) and name == "1"
    with pytest.raises(ValueError, match="undecided, and OSLSM needs whole masks"):
        bench.predict()  # no image is needed to say so


def test_a_stroke_on_a_small_picture_changes_only_what_it_covers_of_the_large_mask():
    fine = np.indices((1000, 2000)).sum(0) % 2 == 0
    value = painting.canvas(np.zeros((1000, 2000, 3), np.uint8), fine)
    assert value["background"].shape == (400, 800, 3)
    layer = np.zeros((400, 800, 4), np.uint8)
    layer[:200] = (*painting.OBJECT, 255)
    changed = painting.painted({"layers": [layer]}, fine)
    assert changed[:500].all()
    np.testing.assert_array_equal(changed[500:], fine[500:])


def test_a_page_shows_some_of_the_pictures_and_leads_through_all(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(view, "PAGE", 2)
    bench.add_example(*toy_pictures.square(0))
    with pytest.raises(ValueError, match="find the object first"):
        view.beside(bench.found("by name"), None, 1)
    assert view.gallery(bench.found("by name")) == ([], [], 0, "")
    bench.add_images(sorted(toy_pictures.write_images(tmp_path / "images", 5).iterdir()))
    broken = bench.folder / "images" / "2.png"
    broken.write_bytes(b"no picture")
    bench.predict()
    seen, place = [], 0
    while len(seen) < 5:
        thumbnails, names, first, told = view.gallery(bench.found("by name"), place)
        assert first == place and told == f"{place + 1} to {place + len(names)} of 5"
        assert len(thumbnails) == len(names) <= 2
        seen, place = seen + names, place + 2
    assert sorted(seen) == [f"{n}.png" for n in range(5)]
    assert (
        view.gallery(bench.found("by name"), 99)[2] == 4
        and view.gallery(bench.found("by name"), -2)[2] == 0
    )
    name, way = None, []
    for _ in range(6):
        name, place = view.beside(bench.found("by name"), name, 1)
        assert name in view.gallery(bench.found("by name"), place)[1]
        way.append(name)
    readable = [n for n in seen if n != "2.png"]
    assert way == [*readable, readable[-1], readable[-1]]
    assert view.beside(bench.found("by name"), readable[0], -1)[0] == readable[0]


def test_who_has_no_pictures_gets_some(bench):
    bench.add_sample()
    assert len(bench.examples()) == sample.EXAMPLES and bench.predict() == sample.PICTURES
    assert bench.changes() == []
    bench.remove_examples()
    bench.add_example(*toy_pictures.square(0))
    bench.predict()
    for line in bench.changes():
        assert re.match(r"\d+ masks changed, most: rendered_", line)
