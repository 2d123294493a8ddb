"""What an FSS-1000 result shows beside its mean: good images, super-categories, their bar chart."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
import toy
import toy_run
from etils import epath
from PIL import Image

from fss_jax.data import datasets
from fss_jax.data.records import Records
from fss_jax.scoring import breakdown, published_lists, results

SUPERS = {"red": "warm", "green": "cold", "blue": "cold", "yellow": "warm", "magenta": "warm"}


class ToySupers(toy.ToySquares):
    """One class an image, as in FSS-1000, with its super-categories: cyan, which is cold, has both."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = epath.Path(__file__).parent

    def _info(self):
        features = dict(super()._info().features.items())
        kinds = tfds.features.ClassLabel(names=["cold", "warm"])
        features["super_category"] = kinds
        features["further_super_categories"] = tfds.features.Sequence(kinds)
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _examples(self, split):
        for key, example in super()._examples(split):
            own = toy.NAMES.index(key.partition("_")[0]) + 1
            example["objects"] = [o for o in example["objects"] if o["class_id"] == own]
            name = toy.NAMES[own - 1]
            kinds = {
                "super_category": SUPERS.get(name, "cold"),
                "further_super_categories": ["warm"] * (name == "cyan"),
            }
            yield key, example | kinds


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supers")
    builder = ToySupers(data_dir=folder / "data", file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return toy_run.save(folder, protocol="fss_random")


def counts_of(ious):
    tp = np.round(1000 * np.asarray(ious)).astype(np.int64)
    zero = np.zeros_like(tp)
    return np.stack([tp, 1000 - tp, zero, zero], -1)


def test_shares_count_images_from_each_level_on():
    shares = breakdown.image_shares(counts_of([0.1, 0.7, 0.79, 0.95, 0.96, 0.901, 0.8, 0.2]))
    assert shares == {"70": 6 / 8, "80": 4 / 8, "90": 3 / 8, "95": 2 / 8}


def test_a_super_category_is_the_mean_of_its_classes_not_of_its_images():
    counts = counts_of([0.2, 0.4, 0.9, 0.5])
    class_id, image = np.asarray([1, 1, 2, 3]), np.arange(4)
    table = breakdown.by_super_category(
        counts, class_id, image, "per_image", {1: ("a",), 2: ("a", "b"), 3: ("b",)}
    )
    assert {name: row["classes"] for name, row in table.items()} == {"a": 2, "b": 2}
    assert table["a"]["miou"] == pytest.approx((0.3 + 0.9) / 2)
    assert table["b"]["miou"] == pytest.approx((0.9 + 0.5) / 2)  # an apple is food, too


def test_the_index_knows_super_categories_only_where_the_dataset_does(workdir):
    split = datasets.open_split("toy_supers", "test", workdir.parent / "data")
    named = {split.class_names[c]: names for c, names in split.super_categories.items()}
    assert named == {name: (kind,) for name, kind in SUPERS.items()} | {"cyan": ("cold", "warm")}
    assert split.take(np.arange(3)).super_categories == split.super_categories
    plain = datasets.open_split("toy_squares", "test", workdir.parent / "data")
    assert plain.super_categories == {}


@pytest.mark.slow
def test_an_evaluation_shows_them(workdir, monkeypatch):
    monkeypatch.setattr("fss_jax.scoring.protocols.Protocol.records", first_three)
    result = results.evaluate(workdir, dataset="toy_supers", trivial=False)
    stem = workdir / "results" / "toy_supers_test_fss_random_1shot"
    kept = json.loads(stem.with_suffix(".json").read_text())
    assert kept["shares"] == result["shares"] and list(kept["shares"]) == ["70", "80", "90", "95"]
    assert set(kept["super_categories"]) == {"cold", "warm"}
    classes = {name: entry["iou"] for name, entry in result["per_class"].items()}
    warm = np.mean([classes[name] for name in ("red", "yellow", "magenta", "cyan")])
    assert kept["super_categories"]["warm"]["miou"] == pytest.approx(warm)
    text = stem.with_suffix(".md").read_text()
    assert "| warm | 4 |" in text and "IoU of at least" in text
    with Image.open(stem.with_name(f"{stem.name}_super_categories.png")) as chart:
        assert min(chart.size) > 100


def first_three(self, split, shots):
    """One support and two queries of every class: fewer than any protocol has."""
    members = published_lists._members(split.items, 3)
    rows = [(c, m[:shots], m[1:3]) for c, m in members.items()]
    return Records(split.items, *(np.asarray(x, np.int32) for x in zip(*rows, strict=True)))


def test_up_to_five_shots_share_their_queries_and_seven_leave_three():
    items = [(f"a/{n:02d}", 1) for n in range(1, 11)]
    queries = {k: published_lists.first_images(items, k, 5).query.tolist() for k in (1, 3, 5)}
    assert queries[1] == queries[3] == queries[5] == [[5, 6, 7, 8, 9]]
    seven = published_lists.first_images(items, 7, 5)
    assert seven.support.tolist() == [[0, 1, 2, 3, 4, 5, 6]] and seven.query.tolist() == [[7, 8, 9]]
