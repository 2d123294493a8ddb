"""1-NN and the labels of cells: against numpy loops and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods.layers.cells import cell_labels, geometry
from fss_jax.methods.nearest import NearestNeighbor, margin, nearest_distances

SMALL = {
    "geometry": "dilated4",
    "blocks": ((1, 16), (1, 32)),
    "hidden": 32,
    "fc6_size": 1,
    "preprocessing": "centered",
}


def features(n, m, c=20, seed=0):
    rng = np.random.default_rng(seed)
    query, support = (rng.standard_normal((k, c)).astype(np.float32) + 30 for k in (n, m))
    return query, support, rng.integers(-1, 2, m).astype(np.int32)


@pytest.mark.parametrize("block", [7, 4096])
def test_distances_equal_a_loop(block):
    query, support, label = features(13, 50)
    found = nearest_distances(
        jnp.asarray(query), jnp.asarray(support), jnp.asarray(label), block=block
    )
    for q, row in zip(query.astype(np.float64), found, strict=True):
        for value in (0, 1):
            every = [
                np.sqrt(np.square(q - s).sum())
                for s, of in zip(support.astype(np.float64), label, strict=True)
                if of == value
            ]
            np.testing.assert_allclose(row[value], min(every), rtol=1e-5)


@pytest.mark.slow
def test_labels_equal_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    query, support, label = features(400, 300, c=6, seed=1)
    used = label >= 0
    expected = KNeighborsClassifier(1, algorithm="brute").fit(support[used], label[used])
    distance = nearest_distances(jnp.asarray(query), jnp.asarray(support), jnp.asarray(label))
    np.testing.assert_array_equal(margin(distance) > 0, expected.predict(query) == 1)


@pytest.mark.slow
def test_one_class_alone():
    query, support, _ = (jnp.asarray(x) for x in features(5, 9))
    for value, score in ((0, -1.0), (1, 1.0), (-1, -1.0)):
        distance = nearest_distances(query, support, jnp.full(9, value))
        np.testing.assert_array_equal(margin(distance), np.full(5, score))


@pytest.mark.parametrize(
    ("name", "center", "size", "cells"),
    [("release", -8.5, (224, 200), (9, 8)), ("dilated8", 3.5, (45, 64), (6, 8))],
)
def test_a_cell_is_what_most_of_its_pixels_are(name, center, size, cells):
    layout = geometry(name)
    rng = np.random.default_rng(0)
    mask = np.repeat(np.repeat(rng.random((15, 14)) < 0.5, 16, 0), 16, 1)
    mask = mask[: size[0], : size[1]].astype(np.float32)
    mask[:3, :3] = -1  # undecided
    found = cell_labels(jnp.asarray(mask), cells, layout, center)
    for i in range(cells[0]):
        for j in range(cells[1]):
            top, left = (center + layout.stride * n - layout.stride / 2 for n in (i, j))
            votes = [
                mask[y, x]
                for y in range(size[0])
                for x in range(size[1])
                if top <= y < top + layout.stride and left <= x < left + layout.stride
            ]
            votes = [vote for vote in votes if vote >= 0]
            expected = -1 if not votes else int(sum(votes) > len(votes) / 2)
            assert found[i, j] == expected


@pytest.mark.slow
def test_a_query_finds_itself():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(0, 255, (2, 1, 32, 32, 3)), jnp.float32)
    mask = np.zeros((2, 1, 32, 32), np.float32)
    mask[0, 0, 8:20, 4:24] = mask[1, 0, 16:, :12] = 1
    model = NearestNeighbor(**SMALL)
    logits, _ = reference.compiled(model.init_with_output)(
        jax.random.key(0), image, jnp.asarray(mask), image
    )
    centers = np.s_[..., 2::4, 2::4]
    np.testing.assert_array_equal(np.asarray(logits > 0)[centers], mask[centers] > 0)
