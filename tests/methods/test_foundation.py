"""Every method that takes a DINO backbone, on tiny ones whose weights come from files as released."""

import functools
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
from flax import traverse_util
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from fss_jax import methods, weights
from fss_jax.configs import base
from fss_jax.data import imaging
from fss_jax.methods import backbones, fitted
from fss_jax.methods.backbones import Backbone, convnext, vit
from fss_jax.methods.heads import subspaces
from fss_jax.methods.layers import hashing

SIDE, STRIDE, DIM = 32, 8, 16
SIDES = {"tiny_convnext": 64}  # two cells a side
VIT = functools.partial(
    vit.ViT, DIM, 2, 2, patch=STRIDE, grid=3, registers=2, antialias=True, offset=0.0
)
ROTARY = functools.partial(
    vit.ViT, DIM, 2, 2, patch=STRIDE, grid=0, registers=2, key_bias=False, epsilon=1e-5
)
PYRAMID = functools.partial(convnext.ConvNeXt, (1, 1, 1, 1), (4, 8, 8, DIM))


def tiny(make, name, stride, compared, epsilon):
    """An entry of the table, made as the full ones are."""
    return Backbone(
        network=make,
        stride=stride,
        channels=DIM,
        covering=functools.partial(backbones.of_one_width, make),
        compared=compared,
        takes=("remat",),
        tail=vit.last_norm(epsilon),
    )


TABLE = {
    "tiny_dinov2": tiny(VIT, "tiny_dinov2", STRIDE, ("block1",), 1e-6),
    "tiny_dinov3": tiny(ROTARY, "tiny_dinov3", STRIDE, ("block1",), 1e-5),
    "tiny_convnext": tiny(PYRAMID, "tiny_convnext", 32, ("stage2", "stage3", "stage4"), 1e-6),
}
DENSE = {"geometry": "covering", "hidden": DIM}
WIRINGS = {
    "fitted": {"components": 8, "object_cells": 16, "background_cells": 16},
    "panet": {"projection": 8},
    "ssp": {"projection": 8},
    "nearest": DENSE,
    "logistic": DENSE | {"iterations": 3},
    "finetune": DENSE | {"steps": 2, "learning_rate": 0.1},
    "oslsm": DENSE | {"num_outputs": 8, "logit_scale": "cosine"},
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for name, entry in TABLE.items():
        monkeypatch.setitem(backbones.table(), name, entry)
        level = fitted.Backbone(functools.partial(entry.covering, width=1.0), entry.compared)
        monkeypatch.setitem(fitted.BACKBONES, name, level)


def metas_names(params):
    """The arrays of a backbone as Meta's files name and lay them out."""
    state, fused = {}, {}
    for path, leaf in traverse_util.flatten_dict(params).items():
        *layers, leaf_name = path
        layer = ".".join(layers)
        for ours, theirs in (("blocks_", "blocks."), ("patch_embed", "patch_embed.proj")):
            layer = layer.replace(ours, theirs)
        if layer.startswith(("downsample_layers_", "stages_")):
            head, _, rest = layer.partition(".")
            kind, a, b = head.rsplit("_", 2)
            layer = f"{kind}.{a}.{b}" + (f".{rest}" if rest else "")
        array = np.asarray(leaf)
        if leaf_name == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        name = {"kernel": "weight", "scale": "weight"}.get(leaf_name, leaf_name)
        if layer.rpartition(".")[2] in ("q", "k", "v") and ".attn." in layer:
            fused.setdefault((layer.rpartition(".")[0], name), {})[layer[-1]] = array
        else:
            state[f"{layer}.{name}" if layer else name] = array
    for (layer, name), parts in fused.items():
        missing = np.zeros_like(parts["q"])  # DINOv3's bias of the keys, masked
        state[f"{layer}.qkv.{name}"] = np.concatenate([parts.get(p, missing) for p in "qkv"])
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of random weights for each tiny backbone, and the parameters that it holds."""
    made = {}
    for name, entry in TABLE.items():
        x = jnp.zeros((1, SIDE, SIDE, 3))
        shapes = jax.eval_shape(entry.network().init, jax.random.key(0), x)
        params = reference_layers.random_variables(shapes)["params"]
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        save_file(metas_names(params), path)
        made[name] = path, params
    return made


def episode(k=2, q=1, side=SIDE):
    rng = np.random.default_rng(0)
    support, query = (rng.uniform(0, 255, (1, n, side, side, 3)) for n in (k, q))
    mask = np.zeros((1, k, side, side))
    mask[:, :, side // 8 : 5 * side // 8, side // 4 : 7 * side // 8] = 1
    return tuple(jnp.asarray(x, jnp.float32) for x in (support, mask, query))


def variables_of(model, inputs):
    """Random ones, but for OSLSM's hash tables, which are indices."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    shapes.pop("losses", None)
    made = reference_layers.random_variables(shapes, seed=1)
    for name, table in shapes.get("hash", {}).get("hashing", {}).items():
        kappa, zeta = hashing.draw(1, table["kappa"].size, 8)
        made["hash"]["hashing"][name] = {"kappa": kappa, "zeta": zeta}
    return made


def config_of(method, backbone, path):
    c = base.get_config()
    c.method, c.init, c.support_size, c.query_size = method, f"dino:{path}", SIDE, SIDE
    c.model = ConfigDict(WIRINGS[method] | {"backbone": backbone, "preprocessing": "unit"})
    return c


FEW = {("panet", "tiny_dinov2"), ("nearest", "tiny_dinov3")}  # the others take longer to compile


@pytest.mark.parametrize(
    ("method", "backbone"),
    [
        pytest.param(m, b, marks=[] if (m, b) in FEW else pytest.mark.slow)
        for m in WIRINGS
        for b in TABLE
    ],
)
def test_a_method_answers_on_released_files(method, backbone, files):
    """The file's arrays are where the method computes; its answer is finite and depends on them."""
    path, params = files[backbone]
    config = config_of(method, backbone, path)
    model = methods.build_from(config)
    side = SIDES.get(backbone, SIDE)
    inputs = episode(side=side)
    variables = weights.start(config, variables_of(model, inputs))
    assert config.model.preprocessing == "torchvision"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(config.origin) == {"sha256": {path.name: digest}}
    held = traverse_util.flatten_dict(variables["params"], sep="/")
    for name, array in traverse_util.flatten_dict(params, sep="/").items():
        found = [leaf for path, leaf in held.items() if f"/{path}".endswith(f"/{name}")]
        assert any(np.array_equal(leaf, array) for leaf in found), name
    model = methods.build_from(config)
    run = reference_layers.compiled(model.apply)
    logits = run(variables, *inputs)
    assert logits.shape == (1, 1, side, side) and np.isfinite(logits).all()
    other = weights.start(config, variables_of(model, inputs))
    name = next(iter(other["params"]))
    other["params"][name] = jax.tree.map(lambda x: 0.5 * x, other["params"][name])
    assert np.abs(run(other, *inputs) - logits).max() > 1e-4


@pytest.mark.slow
def test_features_are_the_backbones(files):
    """PANet's cells, as the network alone computes them from the same file."""
    path, params = files["tiny_dinov2"]
    model = methods.build("panet", backbone="tiny_dinov2", projection=8)
    _, _, query = episode()
    seen = model.apply({"params": {"encoder": params}}, query, method="encoded")
    alone, _ = VIT().apply({"params": params}, imaging.normalize(query, "torchvision"))
    np.testing.assert_allclose(seen.maps["last"], alone, atol=1e-5)


def test_directions_are_left_out():
    """What differs along two axes alone is nothing without them; the rest is as it was."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    content = rng.standard_normal((40, 4)) @ axes[:, 2:].T
    places = 9.0 * rng.standard_normal((40, 2)) @ axes[:, :2].T
    found = subspaces.leading(jnp.asarray(content + places, jnp.float32), 2)
    left = subspaces.without(
        jnp.asarray(places, jnp.float32), jnp.asarray(axes[:, :2], jnp.float32)
    )
    assert found.shape == (6, 2) and np.abs(left).max() < 1e-4
    kept = subspaces.without(
        jnp.asarray(content, jnp.float32), jnp.asarray(axes[:, :2], jnp.float32)
    )
    np.testing.assert_allclose(kept, content, atol=1e-4)


def test_background_takes_directions_by_its_share():
    """Of 100 cells half are background: 0.05 of them are three directions, the rest columns zero."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((100, 8)), jnp.float32)
    outside = jnp.asarray(np.arange(100) < 50, jnp.float32)
    found = subspaces.background(x, outside, 0.05)
    assert found.shape == (8, 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), [1, 1, 1, 0, 0], atol=1e-5)
    alone = np.linalg.svd(np.asarray(x[:50]), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(alone @ found[:, :3]), np.eye(3), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("option", [{"unplaced": 3}, {"unbacked": 0.1}])
def test_an_option_of_fitted_is_one_switch(option, files):
    """It changes the answer, and off it is the plain one."""
    path, _ = files["tiny_dinov3"]
    inputs = episode()
    answers = []
    off = {name: type(value)() for name, value in option.items()}
    for change in ({}, option, off):
        config = config_of("fitted", "tiny_dinov3", path)
        config.model.update(change)
        model = methods.build_from(config)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
        variables = weights.start(config, reference_layers.random_variables(shapes))
        answers.append(reference_layers.compiled(model.apply)(variables, *inputs))
    assert np.isfinite(answers[1]).all() and np.abs(answers[1] - answers[0]).max() > 1e-3
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.mark.slow
def test_fine_tuning_moves_the_classifier_alone(files):
    """Its BatchNorm takes up whatever the last norm's scale and shift are."""
    path, params = files["tiny_dinov2"]
    config = config_of("finetune", "tiny_dinov2", path)
    model = methods.build_from(config)
    support, mask, query = episode()
    shapes = jax.eval_shape(model.init, jax.random.key(0), support, mask, query)
    variables = weights.start(config, reference_layers.random_variables(shapes))
    model = methods.build_from(config)
    condition = functools.partial(model.apply, method="condition")
    task = reference_layers.compiled(condition)(variables, support, mask)
    assert set(task["params"]) == {"norm", "bn7", "fc8"}
    moved = np.abs(task["params"]["norm"]["scale"][0] - params["norm"]["scale"])
    assert moved.max() < 1e-4 < np.abs(task["params"]["fc8"]["kernel"]).max()
