"""FSS-1000 from archive to scores, on a stand-in with its layout, all test classes and defects."""

import io
import zipfile

import numpy as np
import pytest
import requests
import toy
from PIL import Image

from data_builders import prepare
from data_builders.fss_1000 import class_lists
from fss_jax.data import datasets
from fss_jax.data.records import TooFewImages
from fss_jax.scoring import protocols, results
from fss_jax.training import loop

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
FEW = {"train": 12, "val": 3}  # classes; the test classes are all there
STRAYS = ("beam_bridge/10", "banana_boat/1", "flying_geckos/1", "har_gow/4", "pteropus/9")
OTHER_SIZES = ("rubber_eraser/8", "shower_curtain/3", "crt_screen/6", "rocking_chair/9", "screw/8")


def encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def mask_file(number: int, size: int = 224, encoding: str = "rgb") -> bytes:
    mask = np.zeros((size, size), np.uint8)
    top = size * number // 32
    mask[top : top + size // 2, size // 4 : 3 * size // 4] = 255
    if encoding == "soft":
        mask[top, size // 4 : 3 * size // 4] = 90
    layers = np.repeat(mask[..., None], 3, 2)
    if encoding == "ones":
        layers = layers // 255
    if encoding == "rgba":
        layers = np.dstack([layers, np.full_like(mask, 255)])
    return encoded(layers, "PNG")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """fewshot_data.zip; what makes an image differ is its class's color and its number's place."""
    lists = {split: class_lists.published(split) for split in ("train", "val", "test")}
    names = lists["test"] + [name for s, count in FEW.items() for name in lists[s][:count]]
    plain = {number: mask_file(number) for number in range(1, 11)}
    files = {}
    for name in names:
        color = RNG.integers(0, 256, 3)
        for number in range(1, 11):
            picture = np.full((224, 224, 3), 128, np.uint8)
            top = 7 * number
            picture[top : top + 112, 56:168] = color
            files[f"{name}/{number}.jpg"] = encoded(picture, "JPEG")
            files[f"{name}/{number}.png"] = plain[number]
    for place in (*STRAYS, "wandering_albatross/6"):
        files[f"{place}.jpeg"] = files["screw/1.jpg"]
    for place in (*OTHER_SIZES, "ruler/10"):
        files[f"{place}.png"] = mask_file(int(place.split("/")[1]), 500)
    files["bamboo_slip/7.png"] = mask_file(7, encoding="soft")
    for number in range(1, 11):
        files[f"{lists['test'][0]}/{number}.png"] = mask_file(number, encoding="ones")
        files[f"{lists['test'][1]}/{number}.png"] = mask_file(number, encoding="rgba")
    photograph = RNG.integers(0, 256, (224, 224, 3), np.uint8)
    files["peregine_falcon/8.png"] = encoded(photograph, "PNG")
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "fewshot_data.zip", "w") as file:
        for name, data in files.items():
            file.writestr(f"fewshot_data/{name}", data)
    return folder


@pytest.fixture(scope="module")
def data_dir(archive, tmp_path_factory):
    """Both configs prepared; whoever asks the network fails."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "get", lambda *_, **__: pytest.fail("asks the network"))
        for config in ("standard", "clean"):
            prepare.prepare("fss_1000", config, folder, archive, {"allow_missing": "true"})
    return folder


def get_config(data_dir, config: str):
    c = toy.get_config()
    c.data_dir, c.dataset = str(data_dir), f"fss_1000/{config}-allow_missing-True"
    c.protocol, c.shots, c.steps, c.eval_every, c.log_every = "fss1000_paper", 5, 4, 4, 2
    return c


def test_every_defect_is_in_the_report_and_every_test_class_has_ten_images(data_dir):
    for config, images in (("standard", 2400), ("clean", 2399)):
        name = f"fss_1000/{config}-allow_missing-True"
        report = (datasets.dataset_folder(name, data_dir) / prepare.REPORT).read_text()
        assert "6 stray files ignored" in report
        assert report.count("resized by nearest neighbor") == 6
        assert "class bamboo_slip: 1 masks with grays" in report
        kept = "kept" if config == "standard" else "pair left out"
        assert f"peregine_falcon/8.png is a photograph, not a mask: {kept}" in report
        assert len(datasets.open_split(name, "test", data_dir).items) == images


def test_trained_and_scored_by_both_protocols(data_dir, tmp_path):
    loop.train(get_config(data_dir, "standard"), tmp_path, 1)
    for shots, episodes in ((1, 40), (5, 240)):
        paper = results.evaluate(tmp_path, shots=shots, episodes=episodes, trivial=False)
        assert paper["protocol"] == "fss1000_paper" and paper["episodes"] == episodes
        assert len(paper["per_class"]) == episodes
        hsnet = results.evaluate(
            tmp_path, protocol="hsnet_fss", shots=shots, episodes=20, trivial=False
        )
        assert len(hsnet["per_class"]) == 2
    split = datasets.open_split("fss_1000/standard-allow_missing-True", "test", data_dir)
    for shots in (1, 5):
        assert len(protocols.get("hsnet_fss").records(split, shots)) == 2400
        assert len(protocols.get("fss1000_paper").records(split, shots)) == 240


def test_without_the_photograph_the_paper_s_list_fails_before_training(data_dir, tmp_path):
    with pytest.raises(TooFewImages, match="^[^\n]*9 of peregine_falcon[^\n]*$") as caught:
        loop.train(get_config(data_dir, "clean"), tmp_path / "run", 1)
    assert "fss_1000/standard" in str(caught.value) and "hsnet_fss" in str(caught.value)
    assert not (tmp_path / "run/checkpoints").exists()
