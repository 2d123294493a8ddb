"""The label command: what it reads, writes, resumes, skips and leaves alone."""

import csv
import json
import shutil

import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders.masks import read_mask
from fss_jax import cli
from fss_jax.labelling import convert, job, labels, supports, tiles
from fss_jax.labelling.annotations import ImageMasks
from fss_jax.labelling.formats import coco as coco_files
from fss_jax.labelling.formats import labelme
from fss_jax.labelling.manifest import Manifest


@pytest.fixture(autouse=True)
def both_signs(monkeypatch):
    """A fresh network's logits have one sign everywhere; masks shall have two values."""
    blend = tiles.blend

    def centered(maps, shape, tile):
        logits = blend(maps, shape, tile)
        return logits - np.median(logits)

    monkeypatch.setattr(tiles, "blend", centered)


@pytest.fixture
def place(tmp_path):
    toy_pictures.write_support(tmp_path / "square")
    toy_pictures.write_images(tmp_path / "images", 3)
    return tmp_path


def command(toy_workdir, place, out="out", *more):
    cli.main(
        ["label", f"--workdir={toy_workdir}", f"--support={place / 'square'}"]
        + [f"--images={place / 'images'}", f"--out={place / out}", "--batch=2", *more]
    )
    return place / out


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def table(out):
    return list(csv.DictReader((out / "labels.csv").read_text().splitlines()))


def test_every_output_is_there_and_consistent(toy_workdir, place):
    (place / "images" / "deep").mkdir()
    gray = Image.fromarray(toy_pictures.square(9, 33, 47)[0]).convert("L")
    gray.save(place / "images" / "deep" / "0.jpg")
    (place / "images" / "broken.jpg").write_bytes(b"no picture")
    out = command(toy_workdir, place, "out", "--coco=rle", "--labelme")

    rows = table(out)
    assert [row["image"] for row in rows][0] == "broken.jpg" and rows[0]["note"]
    confidence = [float(row["confidence"]) for row in rows[1:]]
    assert confidence == sorted(confidence)
    by_name = {i.file_name: i for i in convert.read(out / "annotations.json")[0]}
    assert set(by_name) == {"0.png", "1.png", "2.png", "deep/0.jpg"}
    for row in rows[1:]:
        name = row["image"]
        mask = pixels((out / "masks" / name).with_suffix(".png"))
        assert mask.shape == pixels(place / "images" / name).shape[:2]
        assert set(np.unique(mask)) <= {0, 255}
        assert int(row["area"]) == (mask > 0).sum() > 0
        empty = np.zeros(mask.shape, bool)
        np.testing.assert_array_equal(by_name[name].masks.get("square", empty), mask > 0)
        drawn = convert.read((out / "labelme" / name).with_suffix(".json"))[0][0]
        np.testing.assert_array_equal(drawn.masks.get("square", empty), mask > 0)
        assert (out / "labelme" / name).parent.joinpath(drawn.file_name).resolve().is_file()

    page = (out / "labels.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4 and "broken.jpg" in page
    assert "http" not in page and "src=" not in page.replace('src="data:', "")


def test_a_name_cannot_break_the_sheet(tmp_path):
    from fss_jax.labelling import gallery

    gallery.write(tmp_path / "x.html", "<b>", "&", [(None, "<script>x</script>", "<i>")])
    page = (tmp_path / "x.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(toy_workdir, place, monkeypatch):
    whole = command(toy_workdir, place, "whole", "--coco=polygons")
    write = labels.Labels.write

    def dies(self, name, found, small):
        if name == "1.png":
            self.manifest.begin(self.outputs(name))
            self.mask_path(name, "square").write_bytes(b"half a file")
            raise OSError("No space left on device")
        write(self, name, found, small)

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
        patched.setattr(labels.Labels, "write", dies)
        command(toy_workdir, place, "killed", "--coco=polygons")
    assert stop.value.code == 2
    with (place / "killed" / "manifest.jsonl").open("a") as file:
        file.write('{"name": "cut sh')
    done = (place / "killed" / "masks" / "0.png").stat().st_mtime_ns
    killed = command(toy_workdir, place, "killed", "--coco=polygons")
    assert contents(killed) == contents(whole)
    assert (killed / "masks" / "0.png").stat().st_mtime_ns == done


@pytest.mark.slow
def test_nothing_of_others_is_overwritten(toy_workdir, place, capsys):
    (place / "out" / "masks").mkdir(parents=True)
    mine = place / "out" / "masks" / "1.png"
    mine.write_bytes(b"mine")
    with pytest.raises(SystemExit) as stop:
        command(toy_workdir, place)
    assert stop.value.code == 2 and mine.read_bytes() == b"mine"
    error = capsys.readouterr().err.strip()
    assert error.startswith("error:") and "--overwrite" in error and "\n" not in error
    assert list((place / "out").rglob("*.png")) == [mine]
    command(toy_workdir, place, "out", "--overwrite")
    assert pixels(mine).shape == pixels(place / "images" / "1.png").shape[:2]


@pytest.mark.slow
def test_a_corrected_mask_stays_and_counts(toy_workdir, place, capsys):
    out = command(toy_workdir, place, "out", "--coco=rle")
    path = out / "masks" / "1.png"
    height, width = pixels(path).shape
    Image.new("1", (width, height), 1).save(path)
    corrected = path.read_bytes()
    command(toy_workdir, place, "out", "--coco=rle")
    assert path.read_bytes() == corrected
    (row,) = [row for row in table(out) if row["image"] == "1.png"]
    assert int(row["area"]) == width * height and row["note"] == labels.CORRECTED

    toy_pictures.write_support(place / "square", count=3)
    with pytest.raises(SystemExit):
        command(toy_workdir, place, "out", "--coco=rle")
    assert "another model, support" in capsys.readouterr().err
    command(toy_workdir, place, "out", "--coco=rle", "--overwrite")
    assert path.read_bytes() != corrected


@pytest.mark.slow
def test_a_mended_image_is_labelled_at_the_next_run(toy_workdir, place):
    good = (place / "images" / "0.png").read_bytes()
    (place / "images" / "0.png").write_bytes(good[:60])
    out = command(toy_workdir, place)
    assert not (out / "masks" / "0.png").exists() and table(out)[0]["note"]
    (place / "images" / "0.png").write_bytes(good)
    command(toy_workdir, place)
    assert (out / "masks" / "0.png").exists() and not table(out)[0]["note"]


@pytest.mark.slow
def test_classes_have_folders_and_equal_names_do_not_collide(toy_workdir, place):
    support = place / "several"
    shutil.copytree(place / "square", support / "one")
    shutil.copytree(place / "square", support / "two")
    shutil.copy(place / "images" / "0.png", place / "images" / "0.bmp")
    out = place / "out"
    cli.main(
        [
            "label",
            f"--workdir={toy_workdir}",
            f"--support={support}",
            f"--images={place / 'images'}",
        ]
        + [f"--out={out}"]
    )
    found = sorted(p.relative_to(out / "masks").as_posix() for p in out.glob("masks/*/*"))
    names = ["0.bmp.png", "0.png.png", "1.png", "2.png"]
    assert found == [f"{c}/{name}" for c in ("one", "two") for name in names]
    assert {"area one", "confidence two"} <= set(table(out)[0])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: shutil.rmtree(p / "images"), "no folder"),
        (lambda p: [f.unlink() for f in (p / "images").iterdir()], "has no picture"),
        (lambda p: shutil.rmtree(p / "square"), "no support at"),
        (lambda p: shutil.rmtree(p / "square" / "label"), "has no image with its mask"),
        (lambda p: (p / "square" / "label" / "0.png").write_bytes(b"x"), "0.png is not a picture"),
        (lambda p: (p / "out").write_bytes(b"x"), "is a file; expected a folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(toy_workdir, place, change, message, capsys):
    change(place)
    with pytest.raises(SystemExit) as stop:
        command(toy_workdir, place)
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and message in error and "\n" not in error


def flat(found):
    """Supports as pixels."""
    return {
        name: [
            (pixels(i), m if isinstance(m, np.ndarray) else read_mask(m))
            for i, m in zip(*both, strict=True)
        ]
        for name, both in found.items()
    }


def test_all_layouts_of_supports_say_the_same(place):
    expected = flat(supports.read(place / "square"))["square"]
    beside, tool, coco = (place / kind / "square" for kind in ("beside", "labelme", "coco"))
    entries = []
    for folder in (beside, tool, coco):
        folder.mkdir(parents=True)
    for i, (image, mask) in enumerate(expected):
        Image.fromarray(image).save(beside / f"{i}.bmp")
        Image.fromarray(mask).save(beside / f"{i}.png")
        for folder in (tool, coco):
            Image.fromarray(image).save(folder / f"{i}.png")
        entries.append(ImageMasks(f"{i}.png", *mask.shape, {"square": mask}))
        labelme.write_one(tool / f"{i}.json", entries[-1])
    coco_files.write_one(coco / "all.json", entries)
    Image.fromarray(expected[0][0]).save(beside / "unlabelled.jpg")
    for place_ in (beside, beside.parent, tool, coco, coco / "all.json"):
        found = flat(supports.read(place_))["square"]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_supports_and_results_are_not_labelled(place):
    (place / "images" / "out").mkdir()
    shutil.copy(place / "images" / "0.png", place / "images" / "out" / "0.png")
    mask = place / "images" / "1.png"
    assert job.find_images(place / "images", [place / "images" / "out", mask]) == [
        "0.png",
        "2.png",
    ]


@pytest.mark.parametrize("content", ["{}", "nothing", json.dumps([1])])
def test_a_foreign_file_in_the_support_is_said_so(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="x.json is n"):
        supports.read(tmp_path)


def test_a_damaged_manifest_is_said_so(tmp_path):
    (tmp_path / "manifest.jsonl").write_text("[]\n")
    with pytest.raises(ValueError, match="is damaged"):
        Manifest(tmp_path)
