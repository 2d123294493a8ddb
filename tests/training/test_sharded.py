"""An optimizer's state in parts: the same updates, whole checkpoints, less room on each device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from fss_jax.configs import base
from fss_jax.runtime import checkpoints
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS, first, shard
from fss_jax.training import loop, sharded
from fss_jax.training.optimizers import make_optimizer

DEVICES = 4
CHAINS = {
    "Caffe's": {
        "optimizer": "sgd",
        "weight_decay": 0.1,
        "lr_multipliers": ((".*/bias", 2.0),),
        "accumulate": 2,
    },
    "clipped": {"optimizer": "adam", "clip": 0.5, "clip_groups": ("encoder/.*",)},
}


def tree(seed, *lead):
    """Arrays whose sizes no number of devices divides."""
    rng = np.random.default_rng(seed)
    sizes = {"encoder/conv/kernel": (3, 5), "head/fc/kernel": (7,), "head/fc/bias": (1,)}
    found = {}
    for name, size in sizes.items():
        branch, layer, leaf = name.split("/")
        values = rng.standard_normal((*lead, *size)).astype(np.float32)
        found.setdefault(branch, {}).setdefault(layer, {})[leaf] = values
    return found


def updated(changes, in_parts):
    """Parameters and optimizer state, both whole, after four updates on different gradients."""
    config = base.get_config()
    config.update(changes | {"lr": 0.1, "shard_optimizer": in_parts})
    optimizer, params = make_optimizer(config), tree(0)
    devices = jax.devices()[:DEVICES]
    state = TrainState(jnp.int32(0), params, {}, optimizer.init(params))
    kept = jax.eval_shape(lambda: state.opt_state)
    state = sharded.place(state, devices, in_parts)
    update = sharded.update if in_parts else sharded.whole_update

    def step(params, opt_state, grads):
        return update(optimizer, grads, opt_state, params)

    norms = []
    step = jax.pmap(step, axis_name=AXIS, devices=devices)
    for seed in range(1, 5):
        grads = shard(tree(seed, DEVICES), devices)
        params, opt_state, norm = step(state.params, state.opt_state, grads)
        state = state.replace(params=params, opt_state=opt_state)
        norms.append(float(first(norm)))
    return sharded.fetch(state, kept, in_parts), norms


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_updates_are_those_of_a_whole_state(chain):
    (whole, norms), (parts, same) = (updated(CHAINS[chain], split) for split in (False, True))
    np.testing.assert_allclose(same, norms, rtol=1e-5)
    assert jax.tree.structure(parts) == jax.tree.structure(whole)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_device_keeps_its_part():
    config = base.get_config()
    config.update({"optimizer": "adam", "moments": "bfloat16"})
    state = jax.eval_shape(make_optimizer(config).init, tree(0))
    whole, part = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(s))
        for s in (state, sharded.shapes(state, DEVICES))
    )
    assert whole == 4 + 4 + 23 * (2 + 4)  # two counts, bfloat16 and float32 moments
    assert part == 4 + 4 + (4 + 2 + 1) * (2 + 4)


@pytest.mark.slow
def test_a_training_in_parts_resumes_from_whole_checkpoints(toy_data, tmp_path):
    """On two devices, stopped after four steps and continued on one: as if on one from the start."""
    config = toy.get_config()
    config.data_dir, config.moments = str(toy_data), "bfloat16"
    loop.train(config, tmp_path / "one", 1)
    config.shard_optimizer, config.steps = True, 4
    loop.train(config, tmp_path / "two", 2)
    config.shard_optimizer, config.steps = False, 8
    loop.train(config, tmp_path / "two", 1)
    one, two = (checkpoints.load(tmp_path / name, "latest") for name in ("one", "two"))
    assert one.step == two.step == 8
    for a, b in zip(jax.tree.leaves(one.variables), jax.tree.leaves(two.variables), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-2)
