"""Weights by name, from a server that speaks the hub's protocol, through its own client."""

import hashlib
import json
import logging
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

hub_client = pytest.importorskip("huggingface_hub")
safetensors = pytest.importorskip("safetensors.numpy")

import hub_server  # noqa: E402
from huggingface_hub import constants  # noqa: E402

from fss_jax import weights  # noqa: E402
from fss_jax.methods.backbones.vit import ViT  # noqa: E402
from fss_jax.weights import dino, hub  # noqa: E402

NAME = "facebook/dinov2-with-registers-small"
MODEL = ViT(dim=16, depth=2, heads=2, grid=3, registers=4, antialias=True, offset=0.0)


def released(seed: int = 0) -> dict[str, np.ndarray]:
    """A small model's weights by the names of the hub's files."""
    rng, state = np.random.default_rng(seed), {}

    def add(name, *shape):
        state[name] = rng.standard_normal(shape).astype(np.float32)

    add("embeddings.cls_token", 1, 1, 16)
    add("embeddings.mask_token", 1, 16)
    add("embeddings.register_tokens", 1, 4, 16)
    add("embeddings.position_embeddings", 1, 10, 16)
    add("embeddings.patch_embeddings.projection.weight", 16, 3, 14, 14)
    add("embeddings.patch_embeddings.projection.bias", 16)
    for block in ("encoder.layer.0", "encoder.layer.1"):
        products = [f"attention.attention.{part}" for part in ("query", "key", "value")]
        for layer in (*products, "attention.output.dense"):
            add(f"{block}.{layer}.weight", 16, 16)
            add(f"{block}.{layer}.bias", 16)
        for n, (out, inputs) in ((1, (64, 16)), (2, (16, 64))):
            add(f"{block}.mlp.fc{n}.weight", out, inputs)
            add(f"{block}.mlp.fc{n}.bias", out)
            add(f"{block}.norm{n}.weight", 16)
            add(f"{block}.norm{n}.bias", 16)
            add(f"{block}.layer_scale{n}.lambda1", 16)
    add("layernorm.weight", 16)
    add("layernorm.bias", 16)
    return state


WHOLE = safetensors.save(released())


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub that offers NAME, an empty cache, nobody logged in."""
    with hub_server.serving() as served:
        served.publish(NAME, {"model.safetensors": WHOLE, "config.json": b"{}"})
        _configure(monkeypatch, served.address, tmp_path / "cache")
        yield served


def _configure(monkeypatch, address, cache):
    """What HF_ENDPOINT and HF_HOME set before the client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def refusal(name: str) -> str:
    """The one line of a download that is refused."""
    with pytest.raises(ValueError) as caught:
        hub.fetch(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_repository_is_downloaded_once_and_recorded(server, capsys, monkeypatch):
    monkeypatch.setenv(
        "TQDM_POSITION", "-1"
    )  # the client's way to show progress without a terminal
    commit = server.commits[f"{NAME}@main"]
    found = hub.fetch(NAME)
    assert found.path.read_bytes() == WHOLE
    assert (found.repository, found.revision, found.offline) == (NAME, commit, False)
    assert found.sha256 == {"model.safetensors": hashlib.sha256(WHOLE).hexdigest()}
    assert "model.safetensors" in capsys.readouterr().err  # progress
    assert hub.fetch(f"{NAME}@{commit}") == found
    assert len(server.downloads()) == 1

    x = jax.ShapeDtypeStruct((1, 28, 28, 3), np.float32)
    variables = jax.eval_shape(MODEL.init, jax.random.key(0), x)
    placed, preprocessing = weights.load(f"hub:{NAME}", variables)
    assert preprocessing == "torchvision"
    scale = placed["params"]["blocks_1"]["ls2"]["gamma"]
    assert (scale == released()["encoder.layer.1.layer_scale2.lambda1"]).all()
    origin = weights.read(f"hub:{NAME}").origin
    assert json.loads(json.dumps(origin)) == {
        "source": f"hub:{NAME}",
        "revision": commit,
        "sha256": found.sha256,
        "offline": False,
    }


def test_a_revision_and_a_model_that_moves(server):
    first = hub.fetch(NAME)
    second = safetensors.save(released(seed=1))
    tagged = server.publish(NAME, {"model.safetensors": second}, "v2")
    assert hub.fetch(f"{NAME}@v2").revision == tagged
    assert hub.fetch(f"{NAME}@v2").path.read_bytes() == second
    assert hub.fetch(NAME) == first
    server.publish(NAME, {"model.safetensors": second}, "main")
    assert hub.fetch(NAME).path.read_bytes() == second
    assert "no revision 'v3'; leave it out" in refusal(f"{NAME}@v3")


def test_a_broken_connection_goes_on_where_it_was(server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what is kept of a part, 10 MB
    server.breaks = 2
    assert hub.fetch(NAME).path.read_bytes() == WHOLE
    first = len(WHOLE) // 2 // 1000 * 1000
    second = first + (len(WHOLE) - first) // 2 // 1000 * 1000
    ranges = [asked for _, _, asked, _ in server.downloads()]
    assert ranges == [None, f"bytes={first}-", f"bytes={second}-"]


def test_a_connection_that_keeps_breaking_is_one_line(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits before it tries again
    server.breaks = 100
    assert "downloading model.safetensors failed" in refusal(NAME)
    server.breaks = 0
    assert hub.fetch(NAME).path.read_bytes() == WHOLE


def test_a_file_in_parts_comes_from_one_commit(server, tmp_path):
    state = released()
    parts = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    places = {name: list(parts)[n % 2] for n, name in enumerate(state)}
    for name, part in places.items():
        parts[part][name] = state[name]
    files = {part: safetensors.save(arrays) for part, arrays in parts.items()}
    index = {"metadata": {}, "weight_map": places}
    name = "facebook/dinov2-with-registers-giant"
    server.publish(name, files | {dino.INDEX: json.dumps(index).encode()})
    found = hub.fetch(name)
    assert set(found.sha256) == {dino.INDEX, *parts}
    (tmp_path / "whole.safetensors").write_bytes(WHOLE)
    whole = dino.load(tmp_path / "whole.safetensors").leaves
    leaves = weights.read(f"hub:{name}").leaves
    assert set(leaves) == set(whole)
    assert all((leaves[key] == whole[key]).all() for key in whole)


def test_a_gated_repository_says_what_to_accept(server, monkeypatch):
    gated = "facebook/dinov3-vits16-pretrain-lvd1689m"
    server.publish(gated, {"model.safetensors": WHOLE})
    server.gated.add(gated)
    for token in (None, "hf_wrong"):  # 401 and 403
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        told = refusal(gated)
        assert f"gated: accept its license at {server.address}/{gated}" in told
        assert "hf auth login" in told and "dino:/path/" in told
    assert not server.downloads()
    monkeypatch.setenv("HF_TOKEN", server.token)
    assert hub.fetch(gated).path.read_bytes() == WHOLE
    assert [token for *_, token in server.downloads()] == [None]  # the storage is another host


def test_names_that_are_none(server):
    assert "did you mean hub:facebook/dinov2-small?" in refusal("facebook/dinov2-smal")
    assert "hf auth login" in refusal("somebody/private")
    assert "expected hub:OWNER/NAME" in refusal("dinov2")
    assert "expected hub:OWNER/NAME" in refusal("facebook/../dinov2")
    server.publish("somebody/other", {"pytorch_model.bin": b"x"})
    assert f"neither model.safetensors nor {dino.INDEX}" in refusal("somebody/other")


def test_without_a_network_the_cache_is_used_and_said(server, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(logging.getLogger("fss_jax"), "propagate", True)
    caplog.set_level(logging.INFO, logger="fss_jax")
    online = hub.fetch(NAME)
    _configure(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    found = hub.fetch(NAME)
    assert found == online._replace(offline=True)
    assert "using the cached revision" in caplog.text and online.revision in caplog.text
    told = refusal("facebook/dinov2-base")
    assert "cannot be asked" in told and "dino:/path/model.safetensors" in told


def test_offline_mode_asks_nobody(server, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("fss_jax"), "propagate", True)
    caplog.set_level(logging.INFO, logger="fss_jax")
    online = hub.fetch(NAME)
    server.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(NAME) == online._replace(offline=True)
    assert "offline mode (HF_HUB_OFFLINE)" in caplog.text
    assert "facebook/dinov2-base@main is not in the cache" in refusal("facebook/dinov2-base")
    assert not server.requests


def test_a_forged_file_is_not_kept(server):
    server.forged = True
    assert "its SHA-256 is" in refusal(NAME)
    server.forged = False
    assert hub.fetch(NAME).path.read_bytes() == WHOLE


@pytest.mark.slow
def test_the_clients_own_variables_are_what_sets_it(server, monkeypatch, tmp_path):
    """In a process of its own, since the client reads them once."""
    _configure(monkeypatch, server.address, tmp_path / "home" / "hub")
    online = hub.fetch(NAME)
    server.requests.clear()
    done = subprocess.run(
        [sys.executable, "-c", f"from fss_jax.weights import hub; print(hub.fetch({NAME!r}))"],
        env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(online._replace(offline=True)), done.stderr
    assert "offline mode (HF_HUB_OFFLINE); using the cached revision" in done.stderr
    assert not server.requests
