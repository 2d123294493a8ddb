"""Every config in fss_jax/configs: its names are known, its model builds, and it trains a step."""

import hashlib
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import published_configs
import pytest
from flax import traverse_util

from fss_jax import configs, methods
from fss_jax.configs import base
from fss_jax.data import imaging
from fss_jax.data.bank import Bank
from fss_jax.data.records import RULES
from fss_jax.methods.backbones.resnet import ResNet
from fss_jax.methods.backbones.squeezenet import SqueezeNet
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS
from fss_jax.scoring import protocols
from fss_jax.training import base_network, loop
from fss_jax.training.losses import LOSSES
from fss_jax.training.optimizers import leaf_names, make_optimizer
from fss_jax.weights import torchvision
from fss_jax.weights.layouts import Imported
from fss_jax.weights.placing import compare

NAMES = configs.names()


def get(name):
    return configs.get(name)


# One of each method, a small one where there is one; deep networks take up to a minute to trace.
FAST = ("oslsm/quickstart", "panet/small", "fitted/efficientnet_lite2")  # the others compile longer


def test_settings_are_what_they_were():
    """`settings.json` holds the SHA-256 of each config's JSON from before the files became flat.

    A changed experiment is a changed hash: write the new one, and say in the changelog why.
    """
    known = json.loads(Path(__file__).with_name("settings.json").read_text())
    now = {
        name: hashlib.sha256(
            json.dumps(json.loads(get(name).to_json()), sort_keys=True).encode()
        ).hexdigest()
        for name in NAMES
    }
    assert now == known


def test_a_misspelt_name_proposes_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'oslsm/release'"):
        configs.get("oslsm/relase")


def shapes(config, episodes=1):
    side = config.query_size or 224
    support = (episodes, config.shots, config.support_size, config.support_size)
    return (*support, 3), support, (episodes, config.queries, side, side, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_known_in_all_its_names(name):
    config = get(name)
    assert set(config) == set(base.get_config())
    assert config.loss in (*LOSSES, *methods.get(config.method).own_losses)
    assert config.rule in RULES
    assert config.model.get("preprocessing", "caffe") in imaging.PREPROCESSING
    protocols.get(config.protocol)
    protocols.get(config.val_protocol)
    for setting in ("steps", "eval_every", "log_every"):
        assert config[setting] % config.steps_per_dispatch == 0


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_a_config_builds_its_model_and_trains_a_step(name):
    """At full size, by shapes alone: nothing is computed."""
    config = get(name)
    learner = base_network.learner_of(config)
    model, optimizer = learner.build(config), make_optimizer(config)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes(config)]
    if not methods.get(config.method).few_shot:
        inputs = [jax.ShapeDtypeStruct(shapes(config)[2][1:], jnp.float32)]
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    params = variables.pop("params", {})
    variables.pop("losses", None)
    names = jax.tree.leaves(leaf_names(params))
    if not methods.get(config.method).trained:
        return
    for pattern in [*config.clip_groups, *(rule[0] for rule in config.lr_multipliers)]:
        assert any(re.fullmatch(pattern, leaf) for leaf in names), f"{pattern} matches no leaf"
    if name in published_configs.NAMES:
        return  # its step is traced by tests/training/test_dry_run.py

    step = loop.make_train_step(model, optimizer, config, learner.loss)
    state = TrainState(jnp.int32(0), params, variables, jax.eval_shape(optimizer.init, params))
    side = config.canvas
    bank = Bank(
        images=np.zeros((2, side, side, 3), np.uint8),
        labels=np.zeros((2, side, side), np.uint8),
        sizes=np.zeros((2, 2), np.int32),
        item_image=np.zeros(2, np.int32),
        item_value=np.zeros(2, np.int32),
    )
    support = jax.ShapeDtypeStruct((1, 1, config.shots), jnp.int32)
    query = jax.ShapeDtypeStruct((1, 1, config.queries), jnp.int32)
    arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), state)
    one_device = jax.vmap(step, in_axes=(0, None, None, None), axis_name=AXIS)
    after, measured = jax.eval_shape(one_device, arguments, bank, support, query)
    assert after.params == arguments.params and measured["loss"].shape == (1, 1)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("guided/vgg16", "vgg16"),
        ("panet/vgg16", "vgg16"),
        ("canet/resnet50", "resnet50"),
        ("nearest/squeezenet", "squeezenet1_0"),
        ("logistic/squeezenet", "squeezenet1_0"),
        ("siamese/squeezenet", "squeezenet1_0"),
        ("guided/squeezenet", "squeezenet1_0"),
        ("panet/squeezenet", "squeezenet1_0"),
        ("canet/squeezenet", "squeezenet1_0"),
    ],
)
@pytest.mark.slow
def test_published_weights_fit_but_for_what_the_config_skips(name, arch):
    config = get(name)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes(config)]
    variables = jax.eval_shape(methods.build_from(config).init, jax.random.key(0), *inputs)
    backbone = {"vgg16": VGG(), "resnet50": ResNet(50), "squeezenet1_0": SqueezeNet()}[arch]
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    theirs = traverse_util.flatten_dict(
        jax.eval_shape(backbone.init, jax.random.key(0), image), sep="/"
    )
    zeros = {leaf: np.broadcast_to(np.float32(0), x.shape) for leaf, x in theirs.items()}
    if arch == "resnet50":
        zeros["params/fc/kernel"] = np.zeros((2048, 1000), np.float32)
    table = torchvision.TABLES[arch]
    imported = Imported(zeros, table.preprocessing, table.landmarks)
    pairs, problems = compare(imported, variables, config.init_skip.split(","))
    assert not problems and len(pairs) >= 26
