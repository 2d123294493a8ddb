"""Where pixels come from: the resident bank and the loader give the same episodes, bit for bit."""

import logging

import jax
import numpy as np
import pytest

from fss_jax.data import bank as banks
from fss_jax.data import datasets, feed
from fss_jax.data.records import RULES, EpisodeSampler
from fss_jax.runtime.devices import replicate

CANVAS = 40


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "train", toy_data)


def sampler_of(split, rule="shuffled_items"):
    return EpisodeSampler(split.items, shots=2, queries=1, rule=rule, seed=5)


def plan_of(devices, steps=2, batch=4):
    return feed.Plan(steps, batch // devices, jax.devices()[:devices])


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_step_s_episodes_are_the_next_of_the_stream_on_any_number_of_devices(split, devices):
    sampler, plan = sampler_of(split), plan_of(devices)
    bank = banks.load_bank(split, CANVAS)
    seen = list(feed.bank_feed(bank, sampler, plan, 4, 10))
    assert len(seen) == 3
    # [devices, steps, batch, K] -> in the order of steps, then devices
    support, query = (
        np.concatenate([np.asarray(call[i]).swapaxes(0, 1).reshape(8, -1) for call in seen])
        for i in (1, 2)
    )
    expected = sampler.records(4 * 4, 6 * 4)
    np.testing.assert_array_equal(support, expected.support)
    np.testing.assert_array_equal(query, expected.query)


@jax.jit
def episodes(bank, support, query):
    return banks.gather(
        bank, support, query,
        support_size=16, query_size=0, score_size=0, fill=(9.0, 8.0, 7.0), void="ignore",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_loader_s_episodes_are_the_bank_s_bit_for_bit(split, rule):
    devices = 2
    sampler, plan = sampler_of(split, rule), plan_of(devices)
    bank = replicate(banks.load_bank(split, CANVAS), plan.devices)
    resident = feed.bank_feed(bank, sampler, plan, 6, 20)
    loaded = feed.loader_feed(split, CANVAS, sampler_of(split, rule), plan, 6, 20)
    count = 0
    for one, other in zip(resident, loaded, strict=True):
        for device in range(devices):
            a, b = (
                jax.tree.map(np.asarray, episodes(*call))
                for call in (
                    (
                        jax.tree.map(lambda x: np.asarray(x)[device], call[0]),  # noqa: B023
                        *(np.asarray(x)[device].reshape(4, -1) for x in call[1:]),  # noqa: B023
                    )
                    for call in (one, other)
                )
            )
            assert all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
            count += 1
    assert count == 7 * devices


def test_every_call_of_the_loader_has_one_shape(split):
    calls = list(feed.loader_feed(split, CANVAS, sampler_of(split), plan_of(1), 0, 8))
    shapes = {tuple((x.shape, x.dtype) for x in jax.tree.leaves(call)) for call in calls}
    assert len(calls) == 4 and len(shapes) == 1


def test_a_loader_that_has_nothing_left_ends(split):
    assert not list(feed.loader_feed(split, CANVAS, sampler_of(split), plan_of(1), 8, 8))


def test_a_loader_may_be_left_early(split):
    batches = feed.loader_feed(split, CANVAS, sampler_of(split), plan_of(1), 0, 1000)
    next(batches)
    batches.close()


def test_a_bank_that_does_not_fit_is_told_and_loaded_instead(split, monkeypatch, caplog):
    device = jax.devices()[0]
    needed = banks.canvas_bytes(len(split.image_ids), CANVAS)
    with caplog.at_level(logging.WARNING):
        assert feed.choose_bank("auto", split, CANVAS, device)
        monkeypatch.setattr(feed, "_host_memory", lambda: 2 * needed)
        assert feed.choose_bank("auto", split, CANVAS, device)
        assert not caplog.records
        monkeypatch.setattr(feed, "_host_memory", lambda: 2 * needed - 1)
        assert not feed.choose_bank("auto", split, CANVAS, device)
    (record,) = caplog.records
    assert split.name in record.message and "\n" not in record.message
    assert feed.choose_bank("device", split, CANVAS, device)
    assert not feed.choose_bank("loader", split, 1, device)


def test_an_unknown_kind_of_bank_is_named(split):
    with pytest.raises(ValueError, match="unknown config.bank 'disk'; expected auto, device or"):
        feed.choose_bank("disk", split, CANVAS, jax.devices()[0])
