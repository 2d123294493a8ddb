"""The base network: label maps, loss and scores against loops, training, its features elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax import methods, weights
from fss_jax.data import datasets
from fss_jax.data.bank import load_bank
from fss_jax.data.imaging import VOID
from fss_jax.data.view import fill_color
from fss_jax.runtime import checkpoints
from fss_jax.runtime.devices import AXIS
from fss_jax.scoring import results, semantic
from fss_jax.studies import calibrate, every_pair
from fss_jax.training import base_network


@pytest.fixture
def config(toy_config):
    c = toy_config
    c.method, c.rule = "base", "class_uniform"  # as earlier versions called fcn
    c.canvas = 40
    del c.model.num_outputs, c.model.logit_scale
    c.model.classes = 8  # one more than the toy's six and background: never right
    c.batch, c.steps, c.eval_every, c.log_every, c.lr = 4, 4, 2, 2, 0.1
    return c


def test_label_maps_name_the_known_classes(toy_data):
    split = datasets.open_split("toy_squares", "train", toy_data)
    view = semantic.by_class(split, (2, 5, 6))
    for index in range(len(split.image_ids)):
        rgb, raw = split.read(index)
        same, label = view.read(index)
        np.testing.assert_array_equal(rgb, same)
        expected = np.full(raw.shape, VOID)
        expected[raw == 0] = 0
        for i in np.flatnonzero(split.item_image == index):
            class_id = split.items[i][1]
            if class_id in (2, 5, 6):
                expected[raw == split.item_value[i]] = 1 + (2, 5, 6).index(class_id)
        np.testing.assert_array_equal(label, expected)


def test_scores_equal_a_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (5, 4, 4))
    counts[:, 2] = 0  # a class that is nowhere, though predicted
    scores = semantic.class_scores(counts)
    total = counts.sum(0)
    ious = [total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c]) for c in (0, 1, 3)]
    np.testing.assert_allclose(scores.class_iou[[0, 1, 3]], ious)
    assert np.isnan(scores.class_iou[2])
    assert scores.miou == pytest.approx(np.mean(ious))
    assert scores.pixel_accuracy == pytest.approx(np.trace(total) / total.sum())
    assert scores.miou_ci95[0] < scores.miou < scores.miou_ci95[1]


@pytest.mark.slow
def test_loss_equals_a_loop(config, toy_data):
    split = datasets.open_split("toy_squares", "train", toy_data)
    view = base_network.training_view(split, config)
    bank = jax.tree.map(jnp.asarray, load_bank(view, 40))
    model = base_network.build(config)
    params = base_network.init_variables(model, config)
    extra = {"batch_stats": params.pop("batch_stats")}
    params = params["params"]
    params["score"]["kernel"] = jax.random.normal(
        jax.random.key(0), params["score"]["kernel"].shape
    )
    records = jnp.asarray([[0], [9]]), jnp.asarray([[3], [7]])
    gather, loss_fn = base_network.class_loss(model, config)
    batch = gather(bank, *records)
    call = jax.vmap(lambda k: loss_fn(params, extra, batch, k), axis_name=AXIS)
    loss, (_, counts) = jax.jit(call)(jax.random.split(jax.random.key(1), 1))

    items = np.asarray([0, 3, 9, 7])
    image, label = semantic.labelled(
        bank, bank.item_image[items], config.query_size, fill_color(config)
    )
    alone = model.clone(axis_name=None)
    logits, _ = reference.compiled(
        functools.partial(alone.apply, train=True, mutable=["batch_stats"])
    )(
        {"params": params, **extra},
        image,
        rngs={"dropout": jax.random.key(1)},
    )
    found, total, weights, right = np.asarray(logits), 0.0, 0.0, 0
    for n, y, x in np.argwhere(np.asarray(label) != VOID):
        value, truth = found[n, y, x].astype(np.float64), int(label[n, y, x])
        weight = config.foreground_weight if truth else 1.0
        total += weight * (np.log(np.exp(value).sum()) - value[truth])
        weights += weight
        right += truth > 0 and value.argmax() == truth
    np.testing.assert_allclose(loss[0], total / weights, rtol=1e-4)
    assert counts[0, 0] == right


@pytest.mark.slow
def test_trains_resumes_and_lends_its_features(config, tmp_path):
    config.val_split = "train"  # other images' classes are the same, and these are few
    stopped = config.copy_and_resolve_references()
    stopped.steps = 2
    base_network.train(stopped, tmp_path / "two", 1)
    result = base_network.train(config, tmp_path / "two", 1)
    assert base_network.train(config, tmp_path / "one", 1)["miou"] == result["miou"]
    assert 0 < result["pixel_accuracy"] <= 1 and set(result["class_iou"]) >= {"background", "red"}
    assert (tmp_path / "two" / "results" / "base_network.md").is_file()
    one, two = (
        checkpoints.load_variables(checkpoints.checkpoint_folder(tmp_path / name, "latest"))
        for name in ("one", "two")
    )
    jax.tree.map(np.testing.assert_array_equal, one, two)

    nearest = config.copy_and_resolve_references()
    nearest.method, nearest.init = "nearest", f"workdir:{tmp_path / 'one'}"
    nearest.init_skip = "score"
    with nearest.unlocked():
        del nearest.model.classes
    scored = results.evaluate(
        tmp_path / "nearest", config=nearest, episodes=2, trivial=False, device_count=1
    )
    assert scored["method"] == "nearest" and scored["init"] == nearest.init
    # What needs no training is calibrated, and scored on every pair, as what was trained.
    known = {"config": nearest, "workdir": tmp_path / "nearest"}
    assert calibrate.calibrate(shots=(1,), episodes=2, **known)["shots"]["1"]["images"] == 2
    assert every_pair.evaluate(device_count=1, **known)["pairs"] > 2
    best = checkpoints.load_variables(checkpoints.checkpoint_folder(tmp_path / "one"))
    fresh = methods.init_variables(methods.build_from(nearest), nearest)
    placed, _ = weights.load(nearest.init, fresh, nearest.init_skip)
    jax.tree.map(
        np.testing.assert_array_equal, placed["params"]["features"], best["params"]["features"]
    )


def test_mistakes_are_told(config, toy_data):
    split = datasets.open_split("toy_squares", "train", toy_data)
    config.model.classes = 3
    with pytest.raises(ValueError, match="6 classes.*--config.model.classes=7"):
        base_network.training_view(split, config)
    config.method = "oslsm"
    with pytest.raises(ValueError, match="'oslsm' is a few-shot method"):
        base_network.build(config)
