"""Statistics of a toy dataset whose counts are known by construction."""

import io
import json

import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import segmentation, stats


def item(class_id: int, value: int, hits: int) -> dict[str, int]:
    return {"class_id": class_id, "value": value, "area": 9, "lattice_hits": hits}


# cat: 3 images in train, 1 in test; dog: 1 image, twice in it; cow: only in test.
EXAMPLES = {
    "train": {
        "a": [item(1, 1, 5)],
        "b": [item(1, 1, 2), item(2, 2, 3), item(2, 3, 0)],
        "c": [item(1, 1, 3)],
    },
    "test": {"c": [item(3, 3, 0)], "d": [item(1, 1, 0)]},
}


class ToyForStats(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="small"), tfds.core.BuilderConfig(name="big")]

    def _info(self):
        names = ["cat", "dog", "cow"]
        return tfds.core.DatasetInfo(builder=self, features=segmentation.features(names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in EXAMPLES}

    def _generate_examples(self, split):
        for image_id, objects in EXAMPLES[split].items():
            yield (
                image_id,
                {
                    "image": io.BytesIO(b"not a picture: nothing may decode it"),
                    "label": io.BytesIO(b"nor is this"),
                    "image_id": image_id,
                    "objects": objects,
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for config in ("small", "big"):
        builder = ToyForStats(config=config, data_dir=folder, file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
    return folder


def test_counts(data_dir):
    found = stats.statistics(stats.prepared(data_dir)["toy_for_stats/small"])
    assert set(found) == {"train", "test", "all"}
    keys = ("images", "classes", "items", "items_on_lattice")
    assert [found["train"][key] for key in keys] == [3, 2, 4, 3]
    assert found["train"]["images_per_class"] == {"mean": 2, "std": 1, "min": 1, "max": 3}
    assert [found["test"][key] for key in keys] == [2, 2, 2, 0]
    # Image c is in both splits: once among all images, and not twice for any class.
    assert [found["all"][key] for key in keys] == [4, 3, 6, 3]
    assert found["all"]["images_of_class"] == {"cat": 4, "dog": 1, "cow": 1}


def test_command_writes_table_json_and_plot(data_dir, tmp_path, capsys):
    out = tmp_path / "out"
    assert stats.main(["--data_dir", str(data_dir), "--out", str(out)]) == 0
    table = (out / "stats.md").read_text()
    assert "| toy_for_stats/big | train | 3 | 2 | 4 | 3 | 2.0 | 1.0 | 1 | 3 |" in table
    assert set(json.loads((out / "stats.json").read_text())) == {
        "toy_for_stats/big",
        "toy_for_stats/small",
    }
    Image.open(out / "images_per_class.png").verify()
    assert sorted(p.name for p in out.iterdir()) == [
        "images_per_class.png",
        "stats.json",
        "stats.md",
    ]

    one = ["toy_for_stats", "--config", "small", "--data_dir", str(data_dir), "--out", str(out)]
    assert stats.main(one) == 0
    assert "toy_for_stats/small" in capsys.readouterr().out
    assert list(json.loads((out / "stats.json").read_text())) == ["toy_for_stats/small"]


def test_what_is_not_prepared_is_named_with_the_command(data_dir, tmp_path, capsys):
    flags = ["--data_dir", str(data_dir), "--out", str(tmp_path / "out")]
    assert stats.main(["pascal_5i", "--config", "fold1", *flags]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no prepared dataset pascal_5i/fold1" in message and "toy_for_stats/big" in message
    assert "fss prepare pascal_5i/fold1" in message
    with pytest.raises(SystemExit, match="2"):
        stats.main(["a", "b", "--config", "small", *flags])


def test_the_newest_version_counts(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        folder = tmp_path / "some" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert stats.prepared(tmp_path) == {"some": tmp_path / "some" / "1.10.0"}
