"""Exported methods: the same masks without fss_jax, and weights that come back bit for bit."""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fss_jax import cli, methods, weights
from fss_jax.configs.oslsm import quickstart
from fss_jax.export import stablehlo
from fss_jax.methods.layers import hashing
from fss_jax.methods.oslsm import OSLSM
from fss_jax.methods.relation import RelationNetwork
from fss_jax.methods.ssp import SSP
from fss_jax.runtime import checkpoints

SIZE = 32
MODELS = {
    "oslsm": OSLSM(
        blocks=((1, 8), (1, 16), (1, 16)),
        geometry="dilated4",
        hidden=16,
        fc6_size=3,
        num_outputs=8,
        logit_scale="sqrt",
    ),
    "relation": RelationNetwork(width=1 / 32),
}


def episode(b, k, q, seed=0):
    rng = np.random.default_rng(seed)
    support = rng.uniform(0, 255, (b, k, SIZE, SIZE, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (b, q, SIZE, SIZE, 3)).astype(np.float32)
    mask = (rng.random((b, k, SIZE, SIZE)) < 0.5).astype(np.float32)
    return support, mask, query


def filled(model):
    """Random variables of a method, not the zeros and ones that many leaves start with."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *episode(1, 1, 1))
    variables = jax.tree.map(lambda leaf: rng.random(leaf.shape).astype(leaf.dtype) - 0.4, shapes)
    for name, table in shapes.get("hash", {}).get("hashing", {}).items():
        kappa, zeta = hashing.draw(1, table["kappa"].size, 8)
        variables["hash"]["hashing"][name] = {"kappa": kappa, "zeta": zeta}
    return variables


@pytest.fixture(scope="module", params=MODELS)
def written(request, tmp_path_factory):
    model, out = MODELS[request.param], tmp_path_factory.mktemp("exports") / request.param
    variables = filled(model)
    stablehlo.write(
        out, model, variables, support_size=SIZE, query_size=SIZE, about={"method": request.param}
    )
    return out, model, variables


@pytest.mark.slow
@pytest.mark.parametrize("written", ["oslsm"], indirect=True)
def test_a_fresh_process_without_fss_jax_gives_the_same_masks(written, tmp_path):
    out, model, variables = written
    rng = np.random.default_rng(2)
    support, query = (rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 50), (61, 45)))
    mask = (rng.random((40, 50)) < 0.5).astype(np.uint8) * 255
    names = [str(tmp_path / f"{name}.png") for name in ("support", "mask", "query", "out")]
    for name, array in zip(names, (support, mask, query), strict=False):
        Image.fromarray(array).save(name)
    example = (out / "example.py").read_text()
    assert "fss_jax" not in example and len(example.split('"""', 2)[2].strip().splitlines()) <= 30
    forbid = "import sys, runpy; sys.modules['fss_jax'] = sys.modules['flax'] = None; "
    run = f"sys.argv[1:] = {names!r}; found = runpy.run_path({str(out / 'example.py')!r}); "
    keep = "found['np'].save('logits.npy', found['logits'])"
    subprocess.run([sys.executable, "-c", forbid + run + keep], check=True, cwd=tmp_path)
    side = (SIZE, SIZE)
    inputs = (
        np.asarray(Image.fromarray(array).resize(side, how), np.float32)[None, None]
        for array, how in (
            (support, Image.BILINEAR),
            (mask // 255, Image.NEAREST),
            (query, Image.BILINEAR),
        )
    )
    expected = np.asarray(jax.jit(model.apply)(variables, *inputs))
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    with Image.open(tmp_path / "out.png") as found:
        shown = Image.fromarray(logits[0, 0]).resize((45, 61), Image.BILINEAR)
        np.testing.assert_array_equal(np.asarray(found) > 0, np.asarray(shown) > 0)


@pytest.mark.slow
@pytest.mark.parametrize("written", ["oslsm"], indirect=True)
def test_any_number_of_episodes_shots_and_queries(written):
    out, model, variables = written
    inputs = episode(2, 3, 2, seed=2)  # other numbers than anything was traced with
    halves = [
        jax.export.deserialize((out / f"{name}.stablehlo").read_bytes())
        for name in ("condition", "segment")
    ]
    flat = dict(np.load(out / "weights.npz"))
    logits = halves[1].call(flat, halves[0].call(flat, *inputs[:2]), inputs[2])
    expected = np.asarray(jax.jit(model.apply)(variables, *inputs))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_a_frozen_backbone_is_a_file_of_its_own(tmp_path):
    """Both halves on its maps answer as the method does on images, at a grid that is no usual one."""
    model = SSP(backbone="squeezenet1_0", width=1 / 16, projection=8)
    side = 48
    images = [np.random.default_rng(n).uniform(0, 255, (1, 2, side, side, 3)) for n in (0, 1)]
    support, query = (x.astype(np.float32) for x in images)
    mask = np.zeros((1, 2, side, side), np.float32)
    mask[:, :, 10:30, 8:40] = 1
    variables = jax.jit(model.init)(jax.random.key(0), support, mask, query)
    out = tmp_path / "out"
    stablehlo.write(out, model, variables, support_size=side, query_size=side, about={})
    backbone, condition, segment = (
        jax.export.deserialize((out / f"{name}.stablehlo").read_bytes()).call
        for name in ("backbone", "condition_maps", "segment_maps")
    )
    flat = dict(np.load(out / "weights.npz"))
    task = condition(flat, backbone(flat, support), mask)
    found = segment(flat, task, backbone(flat, query))
    expected = jax.jit(model.apply)(variables, support, mask, query)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_to_export_is_one_of_two(tmp_path, capsys):
    for given in ([], ["--workdir", "w", "--config", "nearest/squeezenet"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["export", "--out", str(tmp_path / "out"), *given])
        assert "--workdir of a training, or --config" in capsys.readouterr().err


@pytest.mark.slow
def test_artifacts_are_for_every_platform(written):
    out, _, _ = written
    for name in ("condition", "segment"):
        artifact = jax.export.deserialize((out / f"{name}.stablehlo").read_bytes())
        assert set(artifact.platforms) == {"cpu", "cuda", "tpu"}


def test_torch_style_weights_come_back_bit_for_bit(written):
    out, model, variables = written
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    loaded, preprocessing = weights.load(f"fss_jax:{out}/weights.safetensors", blank)
    assert preprocessing == model.preprocessing
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    for new, old in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        assert new.dtype == old.dtype and np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_the_file_has_pytorchs_names_and_layouts(written):
    out, model, variables = written
    found = weights.torch_files.read_safetensors(out / "weights.safetensors")
    branch = "encoder" if "encoder" in variables["params"] else "segmentation"
    kernel = np.asarray(variables["params"][branch]["conv2_1"]["kernel"])
    np.testing.assert_array_equal(found[f"{branch}.conv2_1.weight"], kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("written", ["oslsm"], indirect=True)
def test_a_folder_that_is_not_empty_is_left_alone(written, tmp_path):
    _, model, variables = written
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        stablehlo.write(tmp_path, model, variables, support_size=SIZE, query_size=SIZE, about={})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("written", ["oslsm"], indirect=True)
def test_a_failed_export_leaves_nothing(written, tmp_path):
    _, model, variables = written
    with pytest.raises(ValueError, match="--query_size"):
        stablehlo.write(tmp_path / "x", model, variables, support_size=SIZE, query_size=0, about={})
    with pytest.raises(TypeError):  # not JSON
        stablehlo.write(
            *(tmp_path / "x", model, variables),
            support_size=SIZE,
            query_size=SIZE,
            about={"x": object()},
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir with one checkpoint of the quickstart's method, made small."""
    config = quickstart.get_config()
    config.model.update(blocks=((1, 8), (1, 8), (1, 8)), hidden=8, num_outputs=8)
    config.support_size = config.query_size = SIZE
    model = methods.build_from(config)
    variables = filled(model)
    params = variables.pop("params")
    folder = tmp_path_factory.mktemp("workdir")
    with checkpoints.Checkpoints(folder) as store:
        state = checkpoints.TrainState(jnp.int32(3), params, variables, {})
        store.save(state, {"config": json.loads(config.to_json())}, 0.5)
    return folder, {"params": params, **variables}


def test_the_command_exports_a_workdir(workdir, tmp_path, capsys):
    folder, variables = workdir
    cli.main(["export", "--workdir", str(folder), "--out", str(tmp_path / "out")])
    assert "example.py" in capsys.readouterr().out
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["config"]["method"] == "oslsm" and about["query_size"] == SIZE
    for name, leaf in np.load(tmp_path / "out" / "weights.npz").items():
        expected = functools.reduce(lambda tree, key: tree[key], name.split("/"), variables)
        np.testing.assert_array_equal(leaf, expected)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", "--workdir", str(folder), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().err.count("\n") == 1


def test_another_workdir_is_a_starting_point(workdir):
    folder, variables = workdir
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    loaded, preprocessing = weights.load(f"workdir:{folder}", blank)
    assert preprocessing == "centered"
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_safetensors_of_others_are_refused(tmp_path, shared):
    path = f"{shared}/weights/squeezenet1_0.safetensors"
    with pytest.raises(ValueError, match="not written by fss_jax.export.stablehlo"):
        weights.load(f"fss_jax:{path}", {"params": {}})
