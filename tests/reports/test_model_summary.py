"""Counts of parameters and multiply-accumulates against the published ones, and the command."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from fss_jax import methods
from fss_jax.reports import model_summary
from fss_jax.runtime.flops import gmacs, macs_by_scope

CONFIG = """
from fss_jax.configs import base

def get_config():
    c = base.get_config()
    c.model.geometry, c.model.hash_form, c.model.preprocessing = "release", "separate", "caffe"
    c.support_size, c.query_size = 224, 0
    return c
"""


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


@pytest.mark.parametrize(
    "fields,query,shots,support_gmac,query_gmac",
    [
        ({"geometry": "paper"}, (500, 500), 1, 15.47, 180.9),
        ({"geometry": "release"}, (500, 500), 5, 5 * 15.47, 207.3),
        ({"geometry": "paper"}, (375, 500), 1, 15.47, 146.3),
        ({"geometry": "release"}, (375, 500), 1, 15.47, 170.1),
    ],
)
@pytest.mark.slow
def test_oslsm_costs_what_was_computed_by_hand(fields, query, shots, support_gmac, query_gmac):
    """Convolutions and products of both branches, from their sizes (one digit more is rounding)."""
    model = methods.build("oslsm", **fields)
    support = (1, shots, 224, 224)
    episode = shape(*support, 3), shape(*support), shape(1, 1, *query, 3)
    variables = model_summary.variable_shapes(model, episode)
    assert model_summary.count(variables["params"]) == 138_357_544 + 134_260_544
    halves = model_summary.macs_of_halves(model, variables, episode)
    assert halves[0] / 1e9 == pytest.approx(support_gmac, abs=0.01)
    assert halves[1] / 1e9 == pytest.approx(query_gmac, abs=0.06)
    assert sum(halves) == macs_by_scope(model.apply, variables, *episode).total()


@pytest.mark.slow
@pytest.mark.parametrize(
    "method,fields",
    [("oslsm", {"norm": "batch", "width": 1 / 32}), ("relation", {"width": 1 / 32})],
)
def test_rows_hold_every_parameter_and_product_once(method, fields):
    model = methods.build(method, **fields)
    episode = model_summary.episode_shapes(shots=2, queries=3, support_size=64, query_size=64)
    variables = model_summary.variable_shapes(model, episode)
    rows = model_summary.layer_rows(model, variables, episode)
    assert sum(row[2] for row in rows) == model_summary.count(variables["params"])
    assert sum(row[3] for row in rows) == macs_by_scope(model.apply, variables, *episode).total()
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)
    if method == "oslsm":
        assert names[:2] == ["conditioning/conv1_1", "conditioning/bn1_1"]
        assert rows[0][1] == "1x2x64x64x8" and rows[-1][0] == "(other)"


def test_counts_by_hand():
    x, kernel = shape(2, 10, 12, 3), shape(3, 3, 3, 5)

    def conv(x, kernel, **fields):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, fields.pop("strides", (1, 1)), "SAME", dimension_numbers=numbers, **fields
        )

    once = 2 * 10 * 12 * 27 * 5
    assert gmacs(conv, x, kernel) * 1e9 == pytest.approx(once)
    gradient = jax.grad(lambda x, kernel: (conv(x, kernel) ** 2).sum(), (0, 1))
    assert gmacs(gradient, x, kernel) * 1e9 == pytest.approx(3 * once)
    strided = jax.grad(lambda x, k: (conv(x, k, strides=(2, 2)) ** 2).sum(), (0, 1))
    assert gmacs(strided, x, kernel) * 1e9 == pytest.approx(3 * once / 4)
    grouped = shape(3, 3, 1, 6)
    assert gmacs(lambda x, k: conv(x, k, feature_group_count=3), x, grouped) * 1e9 == pytest.approx(
        2 * 10 * 12 * 9 * 6
    )

    a, b = shape(4, 7, 8), shape(4, 8, 9)
    product = 4 * 7 * 8 * 9
    assert gmacs(jnp.matmul, a, b) * 1e9 == pytest.approx(product)
    assert gmacs(jax.checkpoint(jax.jit(jnp.matmul)), a, b) * 1e9 == pytest.approx(product)

    def turns(a, b):
        return lax.map(lambda _: jnp.matmul(a, b), jnp.arange(6))

    def either(a, b):
        return lax.cond(a[0, 0, 0] > 0, jnp.matmul, lambda a, b: a[:, :, :1] + b[:, :1], a, b)

    assert gmacs(turns, a, b) * 1e9 == pytest.approx(6 * product)
    assert gmacs(either, a, b) * 1e9 == pytest.approx(product)


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "full.py"
    path.write_text(CONFIG)
    return path


def run(*args):
    command = [sys.executable, "-m", "fss_jax", "models", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_command_describes_the_full_model(config_file):
    done = run("--config", config_file, "--config.shots=5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "5 support of 224 px, 1 query of 500 px (in place of each image's own size)" in lines[0]
    assert [line.split() for line in lines if line.startswith("segmentation/fc6")] == [
        ["segmentation/fc6", "1x1x18x18x4096", "102,764,544", "33.294"]
    ]
    assert "parameters of conditioning: 138,357,544" in lines
    assert "parameters: 272,618,088" in lines
    gflop = float(lines[-1].removeprefix("GFLOP per episode: ").split()[0])
    assert gflop == pytest.approx(2 * 284.6, abs=0.2)


@pytest.mark.slow
def test_describing_makes_no_weights(config_file):
    namespace = {}
    exec(config_file.read_text(), namespace)
    before = sum(array.nbytes for array in jax.live_arrays())
    model_summary.describe(namespace["get_config"]())
    assert sum(array.nbytes for array in jax.live_arrays()) - before < 2**20


def test_misspelt_flag_is_one_line(config_file):
    done = run("--config", config_file, "--confg.shots=5")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "confg" in done.stderr
