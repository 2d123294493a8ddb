"""The fitted method: leave-one-out is what fitting without the image gives, and the contract holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax.methods.fitted import SURE, Fitted
from fss_jax.methods.heads import expected_iou, leave_one_out, neighbors, reliability, ridge
from fss_jax.methods.layers import grid as cells
from fss_jax.methods.layers.guided_filter import doubled, guided_filter, halved

SIDE = 64
TOY = {
    "backbone": "efficientnet_lite0",
    "components": 16,
    "object_cells": 64,
    "background_cells": 64,
    "radius": 2,
    "few": 5,
    "strength": 3.0,  # random features of a few pictures need a short rein
}


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture(scope="module")
def toy():
    """The method on random weights, compiled, and an episode in which red squares are the object."""
    model = Fitted(**TOY)
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 80, (1, 4, SIDE, SIDE, 3)).astype(np.float32)
    mask = np.zeros((1, 4, SIDE, SIDE), np.float32)
    for n, (row, col) in enumerate([(8, 8), (24, 16), (8, 32), (32, 24)]):
        image[0, n, row : row + 24, col : col + 24, 0] += 170
        mask[0, n, row : row + 24, col : col + 24] = 1
    image, mask = jnp.asarray(image), jnp.asarray(mask)
    # Nothing but the backbone has parameters.
    variables = jax.jit(functools.partial(model.init, method="features"))(jax.random.key(0), image)
    features = jax.jit(lambda x: model.apply(variables, x, method="features"))(image)
    fit = jax.jit(lambda f, m: model.apply(variables, f, m, method="fit"))
    answer = jax.jit(lambda t, f, x: model.apply(variables, t, f, x, method="answer"))
    return model, variables, image, mask, features, fit, answer


def part(features, index):
    return {name: x[:, index] for name, x in features.items()}


@pytest.mark.slow
def test_a_colored_square_is_found(toy):
    """Each by the other three; random features, and everything object would have an eighth of this."""
    _, _, image, mask, features, fit, answer = toy
    overlaps = []
    for n in range(4):
        others = np.array([i for i in range(4) if i != n])
        task = fit(part(features, others), mask[:, others])
        found = answer(task, part(features, slice(n, n + 1)), image[:, n : n + 1])[0, 0] > 0
        truth = mask[0, n] > 0
        overlaps.append((found & truth).sum() / (found | truth).sum())
    assert np.mean(overlaps) > 0.4


@pytest.mark.slow
def test_the_parts_are_the_whole(toy):
    model, variables, image, mask, features, fit, answer = toy
    task = fit(part(features, slice(0, 3)), mask[:, :3])
    expected = answer(task, part(features, slice(3, 4)), image[:, 3:])
    found = jax.jit(model.apply)(variables, image[:, :3], mask[:, :3], image[:, 3:])
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.slow
def test_the_last_level_sees_the_image_at_half_its_size_too(toy):
    """Which has one cell there at this size; all other levels are the image's alone."""
    model, variables, image, _, features, *_ = toy
    narrow = jax.jit(functools.partial(model.clone(wide=False).apply, method="features"))
    half = np.asarray(image).reshape(1, 4, SIDE // 2, 2, SIDE // 2, 2, 3).mean((3, 5))
    alone, again = narrow(variables, image), narrow(variables, half)
    assert again["stage7"].shape[2:4] == (1, 1)
    both = np.asarray(alone["stage7"], np.float64) + again["stage7"]
    expected = alone | {"stage7": both / np.linalg.norm(both, axis=-1, keepdims=True)}
    for name, level in expected.items():
        np.testing.assert_allclose(features[name], level, atol=1e-5)
    assert np.abs(features["stage7"] - alone["stage7"]).max() > 0.01


@pytest.mark.slow
def test_the_order_of_shots_does_not_matter(toy):
    _, _, image, mask, features, fit, answer = toy
    answers = [
        answer(
            fit(part(features, order), mask[:, order]), part(features, slice(3, 4)), image[:, 3:]
        )
        for order in (jnp.array([0, 1, 2]), jnp.array([2, 0, 1]))
    ]
    np.testing.assert_allclose(*answers, atol=2e-2)


@pytest.mark.slow
def test_a_support_without_object_finds_nothing_whatever_it_shows(toy):
    _, _, image, mask, features, fit, answer = toy
    for index in (jnp.array([0, 1, 2]), jnp.array([3, 2, 1])):
        task = fit(part(features, index), 0 * mask[:, index])
        found = answer(task, part(features, slice(3, 4)), image[:, 3:])
        np.testing.assert_allclose(found, -SURE, atol=0.2)


@pytest.mark.slow
def test_a_support_of_which_nothing_is_decided_changes_nothing(toy):
    """So any number of supports fits into a few sizes that are compiled."""
    model, variables, image, mask, features, fit, answer = toy
    task = fit(part(features, slice(0, 2)), mask[:, :2])
    more = fit(
        part(features, jnp.array([0, 1, 3, 3])),
        mask[:, jnp.array([0, 1, 3, 3])].at[:, 2:].set(-1),
    )
    assert jax.tree.map(jnp.shape, task) == jax.tree.map(jnp.shape, more)
    query = part(features, slice(3, 4)), image[:, 3:]
    np.testing.assert_allclose(answer(more, *query), answer(task, *query), atol=2e-2)
    told = [model.apply(variables, t, query[0], (SIDE, SIDE), method="judge") for t in (task, more)]
    for name, value in told[0].items():
        np.testing.assert_allclose(told[1][name], value, atol=1e-2)
    np.testing.assert_allclose(more["agreement"][0, 2:], 0)


@pytest.mark.slow
def test_undecided_pixels_are_left_out(toy):
    """An image whose every pixel is undecided changes no head's answer, only the principal axes."""
    shown = ridge.fit(*_problem(), 1.0)[0]
    x, inside, outside = _problem()
    blank = jnp.zeros((1, inside.shape[1]))
    x = jnp.concatenate([x, normal(1, *x.shape[1:], seed=9).at[..., -1].set(1)])
    more = ridge.fit(x, jnp.concatenate([inside, blank]), jnp.concatenate([outside, blank]), 1.0)[0]
    np.testing.assert_allclose(more, shown, atol=1e-4)
    hidden = cells.shares(jnp.full((1, 8, 8), -1.0), (2, 2))
    assert not any(side.any() for side in hidden)


@pytest.mark.slow
def test_one_support_and_empty_classes_give_numbers(toy):
    _, _, image, mask, features, fit, answer = toy
    for m in (mask[:, :1], jnp.ones_like(mask[:, :1]), -jnp.ones_like(mask[:, :1])):
        task = fit(part(features, slice(0, 1)), m)
        assert jnp.isfinite(answer(task, part(features, slice(3, 4)), image[:, 3:])).all()


def _problem(k=3, m=40, d=5):
    x = jnp.concatenate([normal(k, m, d), jnp.ones((k, m, 1))], -1)
    inside = jax.nn.sigmoid(4 * x[..., 0] + normal(k, m, seed=2))
    return x, inside, 1 - inside


def test_ridge_is_the_least_squares_of_rows_and_one_row_a_weight():
    """In float64 by a decomposition of the rows, where the code solves the normal equations."""
    x, inside, outside = (np.asarray(v, np.float64) for v in _problem())
    weights, _ = ridge.fit(*map(jnp.float32, (x, inside, outside)), 0.5)
    rows, answers, shares = [], [], []
    for side, answer in ((inside, 1.0), (outside, -1.0)):
        shares.append(side / (2 * side.sum(1, keepdims=True)))
        rows.append((np.sqrt(shares[-1])[..., None] * x).reshape(-1, x.shape[-1]))
        answers.append(np.sqrt(shares[-1]).reshape(-1) * answer)
    cells, share = x[..., :-1].reshape(-1, x.shape[-1] - 1), sum(shares).reshape(-1)
    mean = share @ cells / share.sum()
    variance = share @ np.square(cells - mean).sum(1) / share.sum()
    held = np.sqrt(0.5 * variance / len(mean)) * np.eye(len(mean), x.shape[-1])
    rows, answers = np.concatenate([*rows, held]), np.concatenate([*answers, np.zeros(len(held))])
    expected = np.linalg.lstsq(rows, answers, rcond=None)[0]
    np.testing.assert_allclose(weights, expected, atol=1e-4)


@pytest.mark.slow
def test_ridge_left_out_is_a_fit_without_the_image():
    x, inside, outside = _problem()
    _, left = ridge.fit(x, inside, outside, 0.5)
    for i in range(len(x)):
        rest = jnp.array([j for j in range(len(x)) if j != i])
        weights, _ = ridge.fit(x[rest], inside[rest], outside[rest], 0.5)
        np.testing.assert_allclose(left[i], x[i] @ weights, atol=1e-3)


def test_ridge_does_not_depend_on_the_origin():
    x, inside, outside = _problem()
    _, left = ridge.fit(x, inside, outside, 0.5)
    _, moved = ridge.fit(x.at[..., :-1].add(1.0), inside, outside, 0.5)
    np.testing.assert_allclose(moved, left, atol=1e-3)


def test_neighbors_are_the_best_cosines():
    """One cell a segment would be exact; with all cells in one image the mean of five is compared."""
    x = cells.unit(normal(2, 64, 8))
    member = jnp.zeros((2, 64), bool).at[:, :20].set(True)
    few = neighbors.collect(x, member, 32)
    assert few.valid.sum() == 40
    query = cells.unit(normal(7, 8, seed=3))
    found = neighbors.candidates(query, few).max((1, 2))
    every = jnp.where(member.reshape(1, -1), query @ x.reshape(-1, 8).T, -jnp.inf)
    np.testing.assert_allclose(found, every.max(1), atol=1e-6)


@pytest.mark.parametrize("sample", [1024, 150])
def test_what_stands_for_many_cells_is_their_k_means(sample, monkeypatch):
    """In numpy and float64, from the same cells drawn."""
    monkeypatch.setattr(neighbors, "SAMPLE", sample)
    x = cells.unit(normal(2, 300, 8))
    member = normal(2, 300, seed=4) > -1
    bank = neighbors.collect(x, member, 32)
    assert bank.valid.all()
    priority = np.asarray(jax.random.uniform(jax.random.key(0), (300,)))
    for image in range(2):
        drawn = np.argsort(-np.where(member[image], priority, -1))[: int(member[image].sum())]
        own = np.asarray(x[image], np.float64)[drawn[:sample]]
        centers = own[:32].copy()
        spread = [(own @ centers.T).max(1).mean()]
        for _ in range(neighbors.ROUNDS):
            nearest = (own @ centers.T).argmax(1)
            for n in set(nearest):
                mean = own[nearest == n].sum(0)
                centers[n] = mean / np.linalg.norm(mean)
            spread.append((own @ centers.T).max(1).mean())
        assert spread[-1] > spread[0] + 0.03
        np.testing.assert_allclose(bank.cells[image], centers, atol=1e-5)


@pytest.mark.slow
def test_merged_banks_hold_the_same_cells_whatever_fills_them_up():
    x = cells.unit(normal(4, 64, 8))
    shown = jnp.arange(4)[:, None] < 2
    member = normal(4, 64, seed=4) > 0
    banks = [neighbors.collect(x, side & shown, 64) for side in (member, ~member)]
    query = cells.unit(normal(7, 8, seed=3))
    expected = neighbors.score(query, *banks)
    assert 0.01 < jnp.abs(expected).max() < neighbors.ALONE
    for count in (128, 192):
        found = [neighbors.merged(bank, count, 2) for bank in banks]
        assert found[0].cells.shape == (1, count, 8)
        np.testing.assert_allclose(neighbors.score(query, *found), expected, atol=1e-6)
    fewer = neighbors.merged(banks[0], 64, 2)
    assert fewer.valid.sum() == jnp.minimum((member & shown).sum(1), 32).sum()


@pytest.mark.slow
def test_neighbors_left_out_are_the_others():
    x = cells.unit(normal(3, 64, 8))
    member = normal(3, 64, seed=4) > 0
    inside, outside = neighbors.collect(x, member, 64), neighbors.collect(x, ~member, 64)
    left = neighbors.left_out(x, inside, outside, jnp.ones(3, bool))
    for i in range(3):
        rest = jnp.array([j for j in range(3) if j != i])
        banks = (neighbors.Bank(b.cells[rest], b.valid[rest]) for b in (inside, outside))
        np.testing.assert_allclose(left[i], neighbors.score(x[i], *banks), atol=1e-6)
    nothing = neighbors.collect(x, member & False, 64)
    assert (neighbors.score(x[0], nothing, outside) == -neighbors.ALONE).all()
    assert (neighbors.score(x[0], inside, nothing) == neighbors.ALONE).all()


@pytest.mark.slow
def test_the_offset_finds_the_masks():
    """Scores that are two units too high for the masks; images that show nothing have no say."""
    _, inside, _ = _problem(k=4, m=300)
    truth = (inside > 0.5).astype(jnp.float32)
    right = 6 * truth - 3 + 0.3 * normal(4, 300, seed=5)
    found, overlap = leave_one_out.offset(right + 2, truth, 1 - truth)
    assert -3 < found < -1
    assert overlap.min() > 0.9
    blank = jnp.zeros((1, 300))
    more = [
        jnp.concatenate([x, y]) for x, y in ((right + 2, blank), (truth, blank), (1 - truth, blank))
    ]
    again, overlap = leave_one_out.offset(*more)
    assert again == found and overlap[-1] == 0


def test_the_cut_has_the_highest_iou_to_expect():
    """Of all masks of likeliest cells, by the definition: in expectation, inside over union."""
    logits = 2 * normal(5, 40) - 1
    cuts = expected_iou.cut(logits)
    for row, cut in zip(np.asarray(logits, np.float64), cuts, strict=True):
        p = 1 / (1 + np.exp(-row))
        masks = [row >= value for value in row if 1 / (1 + np.exp(-value)) >= expected_iou.LEAST]
        best = max(masks, key=lambda mask: p[mask].sum() / (mask.sum() + p[~mask].sum()))
        np.testing.assert_array_equal(row > cut, best)
        told = reliability.evidence(jnp.asarray(row, jnp.float32))
        highest = p[best].sum() / (best.sum() + p[~best].sum())
        np.testing.assert_allclose(told.confidence, highest, atol=1e-5)


@pytest.mark.parametrize("value, share", [(-9.0, 0.0), (9.0, 1.0)])
def test_where_all_cells_are_sure_the_mask_is_nothing_or_everything(value, share):
    logits = value + 0.1 * normal(3, 20)
    assert ((logits > expected_iou.cut(logits)[:, None]).mean(1) == share).all()


@pytest.mark.slow
def test_combining_prefers_the_score_that_knows():
    _, inside, outside = _problem(k=4, m=300)
    right, noise = 4 * inside - 2, normal(4, 300, seed=6)
    weights = leave_one_out.combine(
        jnp.stack([right, noise], -1), inside, outside, jnp.zeros(3), 1e-3
    )
    assert weights[0] > 5 * abs(weights[1])
    usual = jnp.array([0.5, 0.5, -1.0])
    held = leave_one_out.combine(jnp.stack([right, noise], -1), inside, outside, usual, 1e4)
    np.testing.assert_allclose(held, usual, atol=1e-2)


@pytest.mark.slow
def test_the_guided_filter_is_its_definition():
    """A loop over windows: ridge regression of the map on the three colors in each."""
    image, x = np.random.default_rng(0).random((9, 7, 3)), np.random.default_rng(1).random((9, 7))
    radius, epsilon = 2, 1e-2
    slopes = np.zeros((9, 7, 4))
    windows = {}
    for i in range(9):
        for j in range(7):
            at = np.s_[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
            windows[i, j] = at
            color, level = image[at].reshape(-1, 3), x[at].reshape(-1)
            moved = color - color.mean(0)
            a = np.linalg.solve(
                moved.T @ moved / len(moved) + epsilon * np.eye(3), moved.T @ level / len(moved)
            )
            slopes[i, j] = [*a, level.mean() - a @ color.mean(0)]
    expected = np.zeros((9, 7))
    for at, where in windows.items():
        mean = slopes[where].reshape(-1, 4).mean(0)
        expected[at] = mean[:3] @ image[at] + mean[3]
    found = guided_filter(
        *(jnp.asarray(image, jnp.float32), jnp.asarray(x, jnp.float32)),
        radius=radius,
        epsilon=epsilon,
        halvings=0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_halving_and_doubling_keep_a_slope_at_odd_sizes():
    x = jnp.broadcast_to(jnp.arange(11.0)[:, None], (11, 8))
    back = doubled(halved(x), (11, 8))
    np.testing.assert_allclose(back[2:8], x[2:8], atol=1e-5)


@pytest.mark.slow
def test_projecting_first_is_joining_first():
    maps = [normal(2, 8, 6, 3), normal(2, 4, 3, 5, seed=1), normal(2, 16, 12, 2, seed=2)]
    basis, center = normal(10, 4, seed=3), normal(4, seed=4)
    expected = cells.unit(cells.joined(maps, (8, 6)) @ basis - center[None, None])
    np.testing.assert_allclose(cells.projected(maps, basis, center, (8, 6)), expected, atol=1e-4)


@pytest.mark.slow
def test_a_sure_mask_has_confidence_and_an_empty_one_none():
    logits = jnp.concatenate([jnp.full((2, 30), 9.0), jnp.full((2, 70), -9.0)], 1)
    told = reliability.evidence(logits)
    np.testing.assert_allclose(told.confidence, 1.0, atol=1e-2)
    np.testing.assert_allclose(told.likely, 0.3, atol=1e-3)
    assert (reliability.evidence(-3 * jnp.ones((1, 10))).confidence == 0).all()


@pytest.mark.parametrize("supports", [1, 2, 5])
def test_surer_pictures_are_expected_to_be_better_and_there(supports):
    def told(confidence, peak):
        numbers = (jnp.asarray(x) for x in (confidence, peak, 0.1))
        return reliability.known(reliability.Evidence(*numbers), jnp.asarray(0.6), jnp.asarray(4.0))

    for weights in (reliability.EXPECTED_IOU, reliability.PRESENT):
        low, high = (
            reliability.judged(told(*values), weights, supports)
            for values in ((0.2, 0.5), (0.9, 5.0))
        )
        assert 0 < low < high < 1


@pytest.mark.parametrize("fields", [{"backbone": "resnet50"}, {"heads": ("magic",)}, {"heads": ()}])
def test_unknown_names_are_told(fields):
    image = jnp.zeros((1, 1, SIDE, SIDE, 3))
    with pytest.raises(ValueError, match="choose"):
        jax.eval_shape(Fitted(**fields).init, jax.random.key(0), image, image[..., 0], image)
