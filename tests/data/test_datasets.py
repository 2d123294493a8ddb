"""The index of a prepared dataset against a plain reading of its examples."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
import toy
from PIL import Image

from fss_jax.data import datasets


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "train", toy_data)


@pytest.fixture(scope="module")
def examples(toy_data):
    """id -> (RGB, label map), read without fss_jax."""
    builder = tfds.builder_from_directory(toy_data / "toy_squares" / "1.0.0")
    skip = {name: tfds.decode.SkipDecoding() for name in ("image", "label")}
    return {
        example["image_id"].decode(): tuple(
            np.asarray(Image.open(io.BytesIO(example[name]))) for name in ("image", "label")
        )
        for example in builder.as_data_source("train", decoders=skip)
    }


def test_images_come_sorted_and_decode_to_their_own_pixels(split, examples):
    assert list(split.image_ids) == sorted(examples)
    for index, image_id in enumerate(split.image_ids):
        image, label = split.read(index)
        np.testing.assert_array_equal(image, examples[image_id][0])
        np.testing.assert_array_equal(label, examples[image_id][1])
        assert tuple(split.sizes[index]) == label.shape


def test_items_are_every_class_of_every_image(split, examples):
    expected = [
        (image_id, class_id)
        for image_id in sorted(examples)
        for class_id in range(1, len(toy.NAMES) + 1)
        if (examples[image_id][1] == toy.VALUE + class_id).any()
    ]
    assert list(split.items) == expected
    assert len(expected) == 36  # two of each class's four images show another class, too
    for (image_id, class_id), image, value, area, hits in zip(
        split.items,
        split.item_image,
        split.item_value,
        split.item_area,
        split.item_lattice_hits,
        strict=True,
    ):
        mask = examples[image_id][1] == toy.VALUE + class_id
        assert split.image_ids[image] == image_id and value == toy.VALUE + class_id
        assert area == mask.sum()
        points = [(y, x) for y in range(1, 40, 32) for x in range(1, 40, 32)]
        assert hits == sum(mask[p] for p in points if p[0] < len(mask) and p[1] < mask.shape[1])
    assert split.class_names == ("background", *toy.NAMES)


def test_filters_drop_small_items_and_keep_order_and_images(split):
    kept = split.without_small(min_area=168)
    assert 0 < len(kept.items) < len(split.items)
    assert list(kept.items) == [
        i for i, area in zip(split.items, split.item_area, strict=True) if area >= 168
    ]
    assert kept.image_ids == split.image_ids
    assert split.without_small() is split
    assert not split.without_small(min_lattice_hits=5).items


def test_an_item_list_is_taken_as_it_stands(split, tmp_path):
    wanted = [split.items[i] for i in (7, 2, 30)]
    path = tmp_path / "items.txt"
    path.write_text("".join(f"{image_id} {class_id}\n" for image_id, class_id in wanted))
    taken = split.with_items(path)
    assert list(taken.items) == wanted
    np.testing.assert_array_equal(taken.item_image, split.item_image[[7, 2, 30]])


@pytest.mark.parametrize(
    "text, said",
    [
        ("red_0 1\nred_0\n", "line 2 is 'red_0'; expected 'IMAGE CLASS'"),
        (
            "red_0 1\nred_0 6\nzebra 1\n",
            "2 of 3 items are not in toy_squares:train (first: red_0 6",
        ),
        ("", "0 of 0 items"),
    ],
)
def test_a_bad_item_list_is_refused_in_a_line(split, tmp_path, text, said):
    path = tmp_path / "items.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        split.with_items(path)
    assert said in str(error.value)


def test_a_dataset_that_is_not_there_comes_with_its_command(toy_data, tmp_path):
    with pytest.raises(FileNotFoundError, match="^[^\n]*$") as error:
        datasets.open_split("pascal_5i/fold1", "test", toy_data)
    assert "found: toy_squares" in str(error.value)
    assert f"fss prepare pascal_5i/fold1 --data_dir {toy_data}" in str(error.value)
    with pytest.raises(FileNotFoundError, match="found: none"):
        datasets.open_split("toy_squares", "test", tmp_path / "nowhere")


def test_a_split_that_is_not_there_lists_those_that_are(toy_data):
    with pytest.raises(ValueError, match="no split 'validation'; it has: train, val, test"):
        datasets.open_split("toy_squares", "validation", toy_data)


def test_the_newest_version_counts(tmp_path):
    for version in ("1.9.0", "1.10.0", "0.2.0"):
        (tmp_path / "some" / version).mkdir(parents=True)
        (tmp_path / "some" / version / "dataset_info.json").touch()
    (tmp_path / "some" / "2.0.0").mkdir()  # half prepared
    assert datasets.dataset_folder("some", tmp_path).name == "1.10.0"
