"""Episodes of several classes: drawn without leaks, decided by the largest score, scored per class."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import toy

from fss_jax.data import bank, datasets
from fss_jax.data.records import TooFewImages
from fss_jax.methods.contract import Method
from fss_jax.methods.panet import PANet
from fss_jax.scoring import metrics, protocols
from fss_jax.studies import several_classes, ways


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "test", toy_data)


@pytest.fixture(scope="module")
def records(split):
    return ways.draw(split.items, ways=2, shots=2, count=40, seed=5)


@pytest.fixture(scope="module")
def pixels(split, records):
    """(supports' three arrays, the truth's four) of the first records."""
    view = protocols.get("uniform").view(toy.get_config())
    view = dataclasses.replace(view, support_size=40, query_size=40, score_size=40)

    @jax.jit
    def gather(data, support, support_items, query, query_items):
        shown = ways.supports(data, view, support, support_items, query)
        return shown, ways.truth(data, view, query, query_items)

    columns = (records.support, records.support_items, records.query[:, None], records.query_items)
    return gather(bank.load_bank(split, 40), *columns)


def test_records_are_of_different_classes_and_images(split, records):
    items = split.items
    for n in range(len(records)):
        classes, image = records.class_id[n], items[records.query[n]][0]
        assert len(set(classes)) == 2 and items[records.query[n]][1] in classes
        for way, c in enumerate(classes):
            shots = records.support[n, way]
            assert len(set(shots)) == 2
            assert all(items[i][1] == c and items[i][0] != image for i in shots)
            assert records.query_items[n, way] in (
                -1,
                *(i for i, x in enumerate(items) if x == (image, c)),
            )
    again = ways.draw(items, ways=2, shots=2, count=40, seed=5)
    assert (
        records.sha256 == again.sha256 != ways.draw(items, ways=2, shots=2, count=40, seed=6).sha256
    )


def test_too_many_ways_say_so(split):
    with pytest.raises(
        TooFewImages, match="7 ways need as many classes of 2 images, but there are 6"
    ):
        ways.draw(split.items, ways=7, shots=1, count=1, seed=0)


@pytest.mark.slow
def test_truth_and_other_classes_are_those_of_the_label_map(split, records, pixels):
    (_, masks, others), (_, wanted, valid, _) = pixels
    both = 0
    for n in range(len(records)):
        items = [split.items[i] if i >= 0 else None for i in records.query_items[n]]
        label = split.read(int(split.item_image[records.query[n]]))[1]
        shown = np.unique(label)
        for way, item in enumerate(items):
            there = toy.VALUE + records.class_id[n, way] in shown
            assert (item is not None) == there == bool(wanted[n, way].any())
        both += all(item is not None for item in items)
    assert both, "no query shows both classes"
    assert float((wanted.sum(1) * valid).max()) == 1.0
    assert float((masks * others).max()) == 0.0 and float(others.max()) == 1.0


class ByColor(Method):
    """Segments what has the color of the support's object: knows one class at a time."""

    @nn.compact
    def __call__(self, support_image, support_mask, query_image):
        weight = support_mask[..., None]
        color = (support_image * weight).sum((1, 2, 3)) / jnp.maximum(weight.sum((1, 2, 3)), 1.0)
        return 60.0 - jnp.abs(query_image - color[:, None, None, None]).max(-1)


def miou(predicted, records, wanted, valid):
    way = jnp.arange(1, 3)[None, :, None, None]
    valid = jnp.broadcast_to(valid[:, None], wanted.shape)
    counts = metrics.confusion(predicted[:, None] == way, wanted, valid)
    image = np.repeat(records.query, 2)
    return metrics.score(np.asarray(counts).reshape(-1, 4), records.class_id.ravel(), image).miou


@pytest.mark.slow
def test_a_union_of_binary_answers_finds_each_class_where_it_is(records, pixels):
    shown, (query_image, wanted, valid, size) = pixels
    view = protocols.get("uniform").view(toy.get_config())
    view = dataclasses.replace(view, query_size=40, score_size=40)
    found = ways.predictions(ByColor(), {}, shown, query_image, size, view)
    scores = {name: miou(predicted, records, wanted, valid) for name, predicted in found.items()}
    assert scores["method"] > 0.9
    assert scores["ways_swapped"] < 0.1 and scores["support_zeroed"] < 0.1 > scores["first_way"]


@pytest.mark.slow
def test_panet_compares_all_ways_at_once(pixels):
    """One way is PANet itself; another class is not background, whatever its prototype is."""
    (images, masks, others), (query_image, *_) = pixels
    n = int(np.argmax(np.asarray(others).any((1, 2, 3, 4))))
    images, masks, others = (x[n : n + 1] for x in (images, masks, others))
    query = query_image[:1]
    model = PANet(width=1 / 16, preprocessing="centered")
    shapes = jax.eval_shape(model.init, jax.random.key(0), images[:, 0], masks[:, 0], query)
    variables = reference_layers.random_variables(shapes)

    @reference_layers.compiled
    def answers(variables, images, masks, others, query):
        one = (x[:, :1] for x in (images, masks, 0 * others))
        return (
            model.apply(variables, images[:, 0], masks[:, 0], query),
            ways.scores(model, variables, *one, query),
            ways.scores(model, variables, images, masks, 0 * others, query),
            ways.scores(model, variables, images, masks, others, query),
        )

    logits, one, dense, apart = answers(variables, images, masks, others, query)
    assert one.shape[2] == 2 and dense.shape[2] == 3
    np.testing.assert_array_equal(one.argmax(2) == 1, logits > 0)
    assert float(jnp.abs(dense[:, :, 0] - apart[:, :, 0]).max()) > 1e-3
    np.testing.assert_allclose(dense[:, :, 1:], apart[:, :, 1:], atol=1e-4)


@pytest.mark.slow
def test_a_workdir_is_scored_on_several_ways(toy_workdir):
    result = several_classes.evaluate(toy_workdir, ways=2, shots=1, episodes=5)
    assert set(result["trivial"]) == {"ways_swapped", "support_zeroed", "first_way"}
    stem = toy_workdir / "results" / "uniform_2way_1shot"
    assert stem.with_suffix(".json").is_file() and stem.with_suffix(".png").is_file()
    assert "2-way 1-shot" in stem.with_suffix(".md").read_text()
    episodes = [entry["episodes"] for entry in result["per_class"].values()]
    assert sum(episodes) == 5 * 2
