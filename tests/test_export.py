"""Exported methods: the same masks without fss_jax, and weights that come back bit for bit."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from fss_jax import export, weights
from fss_jax.models.oslsm import OSLSM
from fss_jax.models.relation import RelationNetwork

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


@pytest.fixture(scope="module", params=MODELS)
def written(request, tmp_path_factory):
    model, out = MODELS[request.param], tmp_path_factory.mktemp("exports") / request.param
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *episode(1, 1, 1))
    variables = jax.tree.map(lambda leaf: rng.random(leaf.shape).astype(leaf.dtype) - 0.4, shapes)
    if "hash" in shapes:
        variables["hash"] = jax.jit(model.init)(jax.random.key(0), *episode(1, 1, 1))["hash"]
    export.write(
        out, model, variables, support_size=SIZE, query_size=SIZE, about={"method": request.param}
    )
    return out, model, variables


def test_a_fresh_process_without_fss_jax_gives_the_same_masks(written, tmp_path):
    out, model, variables = written
    inputs = episode(2, 3, 2, seed=2)  # other numbers than anything was traced with
    names = [str(tmp_path / f"{name}.npy") for name in ("support", "mask", "query", "out")]
    for name, array in zip(names, inputs, strict=False):
        np.save(name, array)
    example = (out / "example.py").read_text()
    assert "fss_jax" not in example and len(example.split('"""', 2)[2].strip().splitlines()) <= 20
    forbid = "import sys; sys.modules['fss_jax'] = None; sys.modules['flax'] = None; "
    run = f"sys.argv[1:] = {names!r}; import runpy; runpy.run_path({str(out / 'example.py')!r})"
    subprocess.run([sys.executable, "-c", forbid + run], check=True, cwd=tmp_path)
    logits = np.asarray(jax.jit(model.apply)(variables, *inputs))
    mask = np.load(tmp_path / "out.npy")
    clear = np.abs(logits) > 1e-5 * np.abs(logits).max()
    assert mask.shape == logits.shape and 0.01 < mask.mean() < 0.99
    np.testing.assert_array_equal(mask[clear], logits[clear] > 0)


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


def test_a_folder_that_is_not_empty_is_left_alone(written, tmp_path):
    _, model, variables = written
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        export.write(tmp_path, model, variables, support_size=SIZE, query_size=SIZE, about={})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(written, tmp_path):
    _, model, variables = written
    with pytest.raises(ValueError, match="--query_size"):
        export.write(tmp_path / "x", model, variables, support_size=SIZE, query_size=0, about={})
    with pytest.raises(TypeError):  # not JSON
        export.write(
            *(tmp_path / "x", model, variables),
            support_size=SIZE,
            query_size=SIZE,
            about={"x": object()},
        )
    assert list(tmp_path.iterdir()) == []


def test_safetensors_of_others_are_refused(tmp_path, shared):
    path = f"{shared}/weights/squeezenet1_0.safetensors"
    with pytest.raises(ValueError, match="not written by fss_jax.export"):
        weights.load(f"fss_jax:{path}", {"params": {}})
