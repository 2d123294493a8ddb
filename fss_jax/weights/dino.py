"""DINOv2 and DINOv3: importer of Hugging Face's .safetensors and of Meta's .pth files.

Both layouts are renamed to Meta's names, with queries, keys and values apart. Which model a file
holds, the file says: the importer needs no architecture.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fss_jax.methods.backbones import convnext, vit
from fss_jax.weights.layouts import Imported, torch_leaves
from fss_jax.weights.reading import blaming, sniff
from fss_jax.weights.torch_files import read_safetensors, read_torch

INDEX = "model.safetensors.index.json"  # of a file in parts
WHOLE = "model.safetensors"

# Hugging Face's names, as its files have them and as transformers 5 has them in memory, then what
# all layouts share. Applied in turn, each to the result of those before.
_RENAMES = (
    (r"^model\.(?=layer\.|stages\.)", ""),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(?=(cls|mask|register)_token)", ""),
    (r"^storage_tokens$", "register_tokens"),
    (r"^(embeddings\.patch_embeddings(\.projection)?|patch_embed\.proj)\.", "patch_embed."),
    (r"^(encoder\.)?layer\.(?=\d+\.)", "blocks."),
    (r"\.attention\.attention\.(?=query|key|value)", ".attn."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(?=[qkv]_proj\.)", ".attn."),
    (r"\.attn\.([qkv])(uery|ey|alue|_proj)\.", r".attn.\1."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.(weights_in|w12)\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"^(layernorm|layer_norm)\.", "norm."),
    # ConvNeXt
    (r"^stages\.(\d+)\.downsample_layers\.(\d+)\.", r"downsample_layers_\1_\2."),
    (r"^stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.\2."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv([12])\.", r".pwconv\1."),
    (r"(?<=\.)layer_norm\.", "norm."),
    (r"^downsample_layers\.(\d+)\.(\d+)\.", r"downsample_layers_\1_\2."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages_\1_\2."),
    (r"^blocks\.(\d+)\.", r"blocks_\1."),
)
# Only training uses these, or they follow from the rest: the token of masked patches, the periods
# of rotary positions, a second name of ConvNeXt's last norm, the norm of DINOv3's local crops.
_UNUSED = re.compile(r"mask_token|rope_embed\.periods|norms\.\d+\..*|local_cls_norm\..*")


class Source(NamedTuple):
    """A released set of weights.

    Attributes:
      arch: a key of the backbones' VARIANTS.
      parameters: of the backbone, in millions; the model cards round otherwise.
      license: its name.
      use: what it may be used for, in a line.
    """

    arch: str
    parameters: int
    license: str
    use: str


_V2 = ("Apache-2.0", "any use, also in products; keep the notice")
_V3 = (
    "DINOv3 License (2025-08-19)",
    "bring your own copy: accept the license on its page; what is derived from it, a head trained "
    "on its features too, stays under the same license",
)
_V2_SIZES = {"small": ("s", 22), "base": ("b", 87), "large": ("l", 304), "giant": ("g", 1136)}

# By the name of the repository on the hub.
SOURCES = {
    **{
        f"facebook/dinov2-{kind}{name}": Source(f"dinov2_vit{size}14{suffix}", million, *_V2)
        for kind, suffix in (("", ""), ("with-registers-", "_reg"))
        for name, (size, million) in _V2_SIZES.items()
    },
    **{
        f"facebook/dinov3-{name}-pretrain-lvd1689m": Source(
            f"dinov3_{name.replace('-', '_')}", million, *_V3
        )
        for name, million in {
            "vits16": 22,
            "vits16plus": 29,
            "vitb16": 86,
            "vitl16": 303,
            "vith16plus": 841,
            "convnext-tiny": 28,
            "convnext-small": 49,
            "convnext-base": 88,
            "convnext-large": 196,
        }.items()
    },
}


def _split(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Fused products taken apart: qkv, with its mask of the bias, and SwiGLU's w12."""
    found = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "bias_mask":
            continue
        if layer.endswith(".qkv"):
            if f"{layer}.bias_mask" in state and leaf == "bias":
                # A mask that was never set is NaN, and shows as a bias that is not finite.
                array = array * state[f"{layer}.bias_mask"].astype(array.dtype)
            for part, piece in zip("qkv", _thirds(name, array, 3), strict=True):
                found[f"{layer.removesuffix('qkv')}{part}.{leaf}"] = piece
        elif layer.endswith(".w12"):
            for part, piece in zip(("w1", "w2"), _thirds(name, array, 2), strict=True):
                found[f"{layer.removesuffix('w12')}{part}.{leaf}"] = piece
        else:
            found[name] = array
    return found


def _thirds(name: str, array: np.ndarray, parts: int) -> list[np.ndarray]:
    if len(array) % parts:
        raise ValueError(f"{name} has {len(array)} rows, which are not {parts} equal parts")
    return np.split(array, parts)


def leaves(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state_dict of either layout as leaves of backbones.vit.ViT or backbones.convnext.ConvNeXt.

    Raises:
      ValueError: a fused weight that cannot be taken apart.
    """
    named = {}
    for name, array in state.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if not _UNUSED.fullmatch(name):
            named[name] = array
    named = _split(named)
    if "pos_embed" not in named:
        # DINOv3 has no bias of the keys; Meta's files keep it, masked to zero.
        named = {
            name: array
            for name, array in named.items()
            if not (name.endswith(".attn.k.bias") and not array.any())
        }
    swiglu = {"gate_proj": "w1", "up_proj": "w2", "down_proj": "w3"}
    plain = {"up_proj": "fc1", "down_proj": "fc2"}
    gated = any(".mlp.gate_proj." in name for name in named)
    for theirs, ours in (swiglu if gated else plain).items():
        named = {n.replace(f".mlp.{theirs}.", f".mlp.{ours}."): a for n, a in named.items()}
    found = torch_leaves(named, {}, {})
    # Tokens and positions belong to no layer.
    return {name.replace("params//", "params/"): array for name, array in found.items()}


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a released model.

    Args:
      path: a .safetensors or .pth file, the index of a .safetensors in parts, or a folder with the
        one or the other.

    Raises:
      FileNotFoundError; ValueError: a file that is no such thing, or an index whose parts lack
        what it names.
    """
    if path.is_dir():
        path = next((path / n for n in (WHOLE, INDEX) if (path / n).is_file()), path / WHOLE)
    if path.suffix != ".json":
        return read_safetensors(path) if sniff(path) == "safetensors" else read_torch(path)
    with blaming(path, "index of .safetensors files"):
        places = json.loads(path.read_text())["weight_map"]
        if any(Path(part).name != part for part in places.values()):
            raise ValueError("names files outside its folder")
    state = {}
    for part in sorted(set(places.values())):
        state |= read_safetensors(path.parent / part)
    lost = sorted(set(places) - set(state))
    if lost:
        raise ValueError(f"{path}: its files lack {', '.join(lost[:5])} ({len(lost)} in all)")
    return state


def recognize(found: dict[str, np.ndarray]) -> str | None:
    """The name in VARIANTS of the model whose `leaves` these are; None: of no size that is known."""
    norm = found.get("params/norm/scale", np.zeros(0))
    names = {name.split("/")[1] for name in found}
    depths = tuple(sum(name.startswith(f"stages_{n}_") for name in names) for n in range(4))
    for name, make in convnext.VARIANTS.items():
        model = make()
        if (model.depths, model.dims[-1]) == (depths, len(norm)):
            return name
    have = (
        len(norm),
        sum(name.startswith("blocks_") for name in names),
        "pos_embed" in names,
        "register_tokens" in names,
        "params/blocks_0/mlp/w1/kernel" in found,
    )
    for name, make in vit.VARIANTS.items():
        model = make()
        form = (model.dim, model.depth, model.grid > 0, model.registers > 0, model.gated)
        if form == have:
            return name
    return None


def load(path: Path) -> Imported:
    """Imports DINOv2's or DINOv3's weights. Raises as `read`, and for weights of another model."""
    state = read(path)
    found = leaves(state)
    vit = "params/blocks_0/norm1/scale" in found
    if not vit and "params/stages_0_0/dwconv/kernel" not in found:
        raise ValueError(
            f"{path}: holds {', '.join(list(state)[:3])}, ...; expected DINOv2 or DINOv3"
        )
    landmarks = ("patch_embed", "blocks_0") if vit else ("downsample_layers_0_0", "stages_0_0")
    return Imported(found, "torchvision", landmarks)
