"""Result files: complete, reproducible from their own records, never half written."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fss_jax.data.records import format_records
from fss_jax.reports import drawing
from fss_jax.reports import page as pages
from fss_jax.runtime import files
from fss_jax.scoring import results, trivial
from fss_jax.scoring.workdir import open_workdir

FIELDS = (
    "method dataset split protocol shots episodes records_sha256 checkpoint_step miou miou_ci95 fb_iou "
    "per_class trivial device versions command seconds episodes_per_second"
).split()


@pytest.fixture(scope="module")
def workdir(toy_workdir, tmp_path_factory):
    return shutil.copytree(toy_workdir, tmp_path_factory.mktemp("results") / "run")


@pytest.fixture(scope="module")
def result(workdir):
    """14 episodes with every trivial predictor, on one device."""
    return results.evaluate(workdir, episodes=14, device_count=1)


def quick(workdir, **arguments):
    return results.evaluate(workdir, **{"trivial": False, "device_count": 1} | arguments)


@pytest.mark.slow
def test_the_file_holds_what_is_promised(workdir, result):
    written = json.loads((workdir / "results" / "uniform_1shot.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert not [name for name in FIELDS if name not in written]
    assert (written["method"], written["dataset"], written["split"]) == (
        "oslsm", "toy_squares", "test",
    )  # fmt: skip
    assert (written["protocol"], written["shots"], written["episodes"]) == ("uniform", 1, 14)
    assert written["checkpoint_step"] == 0 and written["episodes_per_second"] > 0
    assert set(written["trivial"]) == set(trivial.NAMES)
    fractions = [written["miou"], written["fb_iou"], *written["miou_ci95"]]
    fractions += [*written["trivial"].values()]
    assert all(0 <= value <= 1 for value in fractions)
    low, high = written["miou_ci95"]
    assert low <= written["miou"] <= high


def test_scores_follow_from_the_counts_in_the_file(result):
    ious = []
    for entry in result["per_class"].values():
        tp, fp, fn = (entry[name] for name in ("tp", "fp", "fn"))
        assert all(isinstance(value, int) for value in (tp, fp, fn))
        assert entry["iou"] == tp / (tp + fp + fn)
        ious.append(entry["iou"])
    assert result["miou"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert sum(entry["episodes"] for entry in result["per_class"].values()) == 14
    per_class = {name: entry["tp"] + entry["fn"] for name, entry in result["per_class"].items()}
    assert all(140 * result["per_class"][n]["episodes"] <= area for n, area in per_class.items())


def test_the_table_and_the_pictures_go_with_it(workdir, result):
    table = (workdir / "results" / "uniform_1shot.md").read_text()
    assert table == pages.text(results.page(result), result)
    assert f"{100 * result['miou']:.1f}" in table and result["records_sha256"] in table
    for name in trivial.NAMES:
        assert name.replace("_", " ") in table and f"{100 * result['trivial'][name]:.1f}" in table
    with Image.open(workdir / "results" / "uniform_1shot.png") as sheet:
        assert sheet.height > 9 * drawing.TILE  # best, median and worst, three each


@pytest.mark.slow
def test_the_records_of_a_result_give_the_result_again(workdir, result, tmp_path):
    run = open_workdir(workdir, protocol="uniform")
    text = format_records(run.protocol.records(run.data, 1)[:14])
    assert hashlib.sha256(text.encode()).hexdigest() == result["records_sha256"]
    (tmp_path / "records.txt").write_text(text)
    again = results.evaluate(workdir, records_file=tmp_path / "records.txt", device_count=1)
    timed = ("seconds", "episodes_per_second")
    assert {k: v for k, v in again.items() if k not in timed} == {
        k: v for k, v in result.items() if k not in timed
    }
    lines = text.splitlines()
    (tmp_path / "others.txt").write_text("".join(f"{line}\n" for line in lines[3:7]))
    others = quick(workdir, records_file=tmp_path / "others.txt")
    assert others["episodes"] == 4 and others["records_sha256"] != result["records_sha256"]


@pytest.mark.slow
def test_several_queries_at_a_warped_size_score_per_image(workdir):
    """fss_random: five queries an episode, scored at 224."""
    scored = quick(workdir, protocol="fss_random", episodes=3)
    assert sum(entry["episodes"] for entry in scored["per_class"].values()) == 15
    pixels = sum(e["tp"] + e["fn"] for e in scored["per_class"].values())
    assert 15 * 154 * (224 / 40) ** 2 * 0.95 < pixels < 15 * 168 * 224**2 / (36 * 32)
    assert (workdir / "results" / "fss_random_1shot.json").is_file()


@pytest.mark.slow
def test_more_shots_than_trained_with(workdir):
    scored = quick(workdir, shots=3, episodes=4)
    assert scored["shots"] == 3
    assert (workdir / "results" / "uniform_3shot.json").is_file()


@pytest.mark.slow
def test_one_class_scores_without_and_is_told_with_the_trivial_predictors(workdir, tmp_path):
    items = tmp_path / "items.txt"
    items.write_text("".join(f"red_{n} 1\n" for n in range(4)))
    scored = quick(workdir, items_file=items, episodes=4)
    assert list(scored["per_class"]) == ["red"]
    assert scored["trivial"] is None
    assert "copy support" not in pages.text(results.page(scored), scored)
    with pytest.raises(ValueError, match="^no class but 1 .*--notrivial[^\n]*$"):
        results.evaluate(workdir, items_file=items, episodes=4)


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ({"protocol": "oslsm_release"}, ValueError, "no items to draw episodes from"),
        ({"protocol": "unifrom"}, ValueError, "did you mean 'uniform'?"),
        ({"shots": 6}, ValueError, "takes 7 images of every class, but"),
        ({"split": "tset"}, ValueError, "it has: train, val, test"),
        ({"dataset": "fss_1000"}, FileNotFoundError, "fss prepare fss_1000"),
        ({"checkpoint": "7"}, FileNotFoundError, "it holds steps 0"),
        ({"records_file": Path("nowhere.txt")}, FileNotFoundError, "nowhere.txt"),
        ({"device_count": 9}, ValueError, "9 devices asked for, this process has 4"),
    ],
)
def test_what_is_not_there_is_told_in_a_line_and_nothing_is_written(
    toy_workdir, arguments, error, said
):
    before = sorted(toy_workdir.rglob("*"))
    with pytest.raises(error, match="^[^\n]*$") as raised:
        results.evaluate(toy_workdir, **arguments)
    assert said in str(raised.value)
    assert sorted(toy_workdir.rglob("*")) == before


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "result.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in ("write_text", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, full)
            with pytest.raises(OSError, match="No space left"):
                files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_full_disk_leaves_the_last_result(workdir, result, monkeypatch):
    folder = workdir / "results"
    files.write_json(folder / "uniform_1shot.json", result)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        quick(workdir, episodes=4)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.slow
def test_classes_with_too_few_images_can_be_left_out(workdir, tmp_path):
    data = open_workdir(workdir).data
    rare = data.items[-1][1]
    kept = [item for item in data.items if item[1] != rare] + [data.items[-1]]
    path = tmp_path / "items.txt"
    path.write_text("".join(f"{image} {class_id}\n" for image, class_id in kept))
    with pytest.raises(ValueError, match=r"has 1 of magenta; [^\n]*--drop_rare_classes"):
        quick(workdir, items_file=path, episodes=4)
    found = quick(workdir, items_file=path, episodes=4, drop_rare_classes=True)
    assert data.class_names[rare] not in found["per_class"] and found["episodes"] == 4
