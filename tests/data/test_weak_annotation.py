"""Clicks, scribbles and boxes say nothing that the dense mask does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from fss_jax import methods
from fss_jax.data import weak_annotation
from fss_jax.data.bank import Episode
from fss_jax.scoring import results, trivial


def disc(side=24, radius=6):
    y, x = np.mgrid[:side, :side]
    return jnp.asarray((y - 10) ** 2 + (x - 13) ** 2 <= radius**2, jnp.float32)


def check(annotation, mask):
    decided = annotation >= 0
    np.testing.assert_array_equal(annotation[decided], mask[decided])
    np.testing.assert_array_equal(np.unique(annotation[~decided]), [-1.0])


def test_box():
    found = np.asarray(weak_annotation.box(jnp.stack([disc(), jnp.zeros((24, 24))])))
    expected = np.zeros((24, 24))
    expected[4:17, 7:20] = 1
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_points(count):
    mask = disc()
    a, b = (weak_annotation.points(jax.random.key(seed), mask, count) for seed in (0, 1))
    for annotation in (a, b):
        check(annotation, mask)
        assert (annotation == 1).sum() == (annotation == 0).sum() == count
    assert (a != b).any()


@pytest.mark.slow
def test_points_of_a_small_object_are_all_of_it():
    mask = jnp.zeros((9, 9)).at[2, 3:5].set(1.0)
    annotation = weak_annotation.points(jax.random.key(0), mask, 5)
    check(annotation, mask)
    np.testing.assert_array_equal(annotation == 1, mask == 1)
    assert (weak_annotation.points(jax.random.key(0), 0 * mask, 5) == 1).sum() == 0


@pytest.mark.slow
def test_scribble():
    mask = disc()
    annotation = jax.jit(weak_annotation.scribble)(jax.random.key(0), mask)
    check(annotation, mask)
    marked = (annotation == 1).sum()
    assert 6 < marked < mask.sum()
    assert (annotation == 0).sum() > 6
    assert (weak_annotation.scribble(jax.random.key(0), 0 * mask) == 1).sum() == 0


@pytest.mark.slow
def test_an_item_s_annotation_is_the_same_in_every_episode():
    mask = jnp.broadcast_to(disc(), (2, 3, 24, 24))
    items = jnp.asarray([[4, 7, 4], [7, 9, 4]])
    drawn = np.asarray(jax.jit(weak_annotation.annotate, static_argnums=0)("points", mask, items))
    np.testing.assert_array_equal(drawn[0, 0], drawn[0, 2])
    np.testing.assert_array_equal(drawn[0, 0], drawn[1, 2])
    np.testing.assert_array_equal(drawn[0, 1], drawn[1, 0])
    assert (drawn[0, 0] != drawn[0, 1]).any()
    assert (drawn == 1).sum() == (drawn == 0).sum() == 6 * weak_annotation.POINTS
    check(drawn[1, 1], disc())
    np.testing.assert_array_equal(
        weak_annotation.annotate("box", mask, items)[1, 2], weak_annotation.box(disc())
    )
    np.testing.assert_array_equal(weak_annotation.annotate("mask", mask, items), mask)


def test_a_method_of_dense_masks_says_so():
    with pytest.raises(ValueError, match="oslsm knows dense masks only, and points leave pixels"):
        methods.check_annotation("oslsm", "points")
    with pytest.raises(ValueError, match="did you mean 'scribble'"):
        methods.check_annotation("guided", "scribbles")
    methods.check_annotation("relation", "box")
    methods.check_annotation("guided", "points")


@pytest.mark.slow
def test_trivial_predictors_see_no_more_than_the_method():
    """The histogram of a few clicks counts the clicked pixels alone."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (1, 1, 24, 24, 3)), jnp.float32)
    drawn = weak_annotation.annotate("points", disc()[None, None], jnp.zeros((1, 1), int))
    episode = Episode(image, drawn, image, drawn, drawn, jnp.full((1, 1, 2), 24))
    other = jnp.where((drawn < 0)[..., None], 255.0 - image, image)
    changed = episode.replace(support_image=other)
    np.testing.assert_array_equal(
        trivial.colour_histogram(episode), trivial.colour_histogram(changed)
    )


@pytest.mark.slow
def test_an_evaluation_by_clicks(tmp_path):
    fields = {"width": 1 / 32, "hidden": 64, "norm": "batch", "preprocessing": "centered"}
    fields |= {"geometry": "dilated8", "init_std": 0.0}
    workdir = toy_run.save(tmp_path, method="guided", model_fields=fields)
    result = results.evaluate(workdir, episodes=4, annotation="points", trivial=False)
    assert result["annotation"] == "points"
    text = (workdir / "results" / "uniform_1shot_points.md").read_text()
    assert "annotated by points" in text
