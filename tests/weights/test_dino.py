"""DINO's files: what the importer says of those that it cannot use, and what `inspect` shows.

That it reads both layouts right is tests/parity's to show, against transformers.
"""

import json

import jax
import numpy as np
import pytest

from fss_jax import weights
from fss_jax.cli import main
from fss_jax.methods.backbones import convnext, vit
from fss_jax.weights import dino

safetensors = pytest.importorskip("safetensors.numpy")


def write(path, state):
    path.write_bytes(safetensors.save(state))
    return path


def block(n=0, dim=4):
    return {
        f"layer.{n}.norm1.weight": np.ones(dim, np.float32),
        f"layer.{n}.attention.k_proj.weight": np.ones((dim, dim), np.float32),
    }


def test_a_folder_or_an_index_stands_for_its_files(tmp_path):
    write(tmp_path / "a.safetensors", block(0))
    write(tmp_path / "b.safetensors", block(1))
    places = {name: "a.safetensors" for name in block(0)}
    places |= {name: "b.safetensors" for name in block(1)}
    index = tmp_path / dino.INDEX
    index.write_text(json.dumps({"weight_map": places}))
    found = weights.read(f"dino:{tmp_path}")
    assert set(found.leaves) == set(weights.read(f"dino:{index}").leaves)
    assert set(found.leaves) == {
        f"params/blocks_{n}/{leaf}" for n in (0, 1) for leaf in ("norm1/scale", "attn/k/kernel")
    }
    assert found.preprocessing == "torchvision"

    index.write_text(json.dumps({"weight_map": places | {"norm.weight": "b.safetensors"}}))
    with pytest.raises(ValueError, match="its files lack norm.weight"):
        weights.read(f"dino:{tmp_path}")
    index.write_text(json.dumps({"weight_map": {"norm.weight": "../b.safetensors"}}))
    with pytest.raises(ValueError, match="names files outside its folder"):
        weights.read(f"dino:{tmp_path}")
    index.write_text('{"metadata": {}}')
    with pytest.raises(ValueError, match="damaged or truncated index"):
        weights.read(f"dino:{tmp_path}")
    index.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        weights.read(f"dino:{tmp_path}")


def test_other_models_are_refused_by_their_names(tmp_path):
    path = write(tmp_path / "x.safetensors", {"conv1.weight": np.ones((1, 1, 3, 3), np.float32)})
    with pytest.raises(ValueError, match="holds conv1.weight, .*expected DINOv2 or DINOv3"):
        weights.read(f"dino:{path}")


def test_a_keys_bias_is_dropped_where_its_mask_is_zero_only(tmp_path):
    fused = {
        "blocks.0.norm1.weight": np.ones(4, np.float32),
        "blocks.0.attn.qkv.bias": np.arange(1, 13, dtype=np.float32),
        "blocks.0.attn.qkv.bias_mask": np.repeat([1.0, 0.0, 1.0], 4).astype(np.float32),
    }
    found = dino.load(write(tmp_path / "masked.safetensors", fused)).leaves
    assert set(found) == {
        f"params/blocks_0/{n}" for n in ("norm1/scale", "attn/q/bias", "attn/v/bias")
    }
    assert found["params/blocks_0/attn/v/bias"].tolist() == [9, 10, 11, 12]
    del fused["blocks.0.attn.qkv.bias_mask"]
    found = dino.load(write(tmp_path / "bare.safetensors", fused)).leaves
    assert found["params/blocks_0/attn/k/bias"].tolist() == [5, 6, 7, 8]


def empty(model):
    """Names of a model's leaves, with arrays of its shapes that hold no memory."""
    shape = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), shape)
    return {
        "params/" + "/".join(k.key for k in path): np.broadcast_to(np.float32(0), leaf.shape)
        for path, leaf in jax.tree.flatten_with_path(variables["params"])[0]
    }


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["dinov2_vits14_reg", "dinov2_vitb14", "dinov3_vits16plus"])
def test_a_model_is_recognized_by_its_leaves(arch):
    assert dino.recognize(empty(vit.VARIANTS[arch]())) == arch


def test_the_convnexts_are_recognized_by_depth_and_width():
    for arch, make in convnext.VARIANTS.items():
        model = make()
        leaves = {"params/norm/scale": np.zeros(model.dims[-1])}
        for stage, depth in enumerate(model.depths):
            leaves |= {f"params/stages_{stage}_{n}/gamma": np.zeros(1) for n in range(depth)}
        assert dino.recognize(leaves) == arch
    assert dino.recognize({}) is None


@pytest.mark.slow
def test_inspect_names_the_model_and_what_is_missing(tmp_path, capsys):
    state = {f"blocks.{n}.norm1.weight": np.ones(384, np.float32) for n in range(12)}
    state |= {"norm.weight": np.ones(384, np.float32), "norm.bias": np.ones(384, np.float32)}
    state["patch_embed.proj.weight"] = np.ones((384, 3, 16, 16), np.float32)
    state["storage_tokens"] = np.ones((1, 4, 384), np.float32)
    main(["weights", "inspect", str(write(tmp_path / "x.safetensors", state))])
    out = capsys.readouterr().out
    assert f"read as dino:{tmp_path}/x.safetensors" in out
    assert "would load: 16 of 16 leaves" in out  # of dinov3_vits16
    assert "missing: params/blocks_11/attn/q/kernel\n" in out and "mis-shaped" not in out
    main(["weights", "inspect", str(tmp_path / "x.safetensors"), "--as", "dinov3_vitb16"])
    out = capsys.readouterr().out
    assert "mis-shaped: params/blocks_0/norm1/scale is 384 in the file, 768 in the model" in out


def test_list_says_size_license_and_use(capsys):
    main(["weights", "list"])
    lines = capsys.readouterr().out.splitlines()
    (small,) = (line for line in lines if line.startswith("hub:facebook/dinov2-small "))
    assert "22 M parameters, 88 MB" in small and "Apache-2.0" in small
    gated = [line for line in lines if "dinov3" in line]
    assert len(gated) == 9 and all("bring your own copy" in line for line in gated)
    assert any(line.startswith("torchvision:vgg16 ") for line in lines)
    known = {source.arch for source in dino.SOURCES.values()}
    assert known == set(vit.VARIANTS) | set(convnext.VARIANTS)
