"""DINOv2, DINOv3 and its ConvNeXt against transformers: tokens and gradients, both file layouts."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import parity_tools as tools  # noqa: E402

from fss_jax.methods.backbones import convnext, vit  # noqa: E402
from fss_jax.methods.layers.positions import bicubic  # noqa: E402
from fss_jax.weights import dino  # noqa: E402
from fss_jax.weights.layouts import Imported  # noqa: E402
from fss_jax.weights.placing import compare, place  # noqa: E402

pytestmark = pytest.mark.parity

V2 = (transformers.Dinov2Config, transformers.Dinov2Model)
REGISTERS = (transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel)
V3 = (transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel)
CONVNEXT = (transformers.DINOv3ConvNextConfig, transformers.DINOv3ConvNextModel)


# One of each structure: sizes differ in numbers only, which the test of their parameters compares.
STRUCTURES = [
    *("dinov2_vits14", "dinov2_vitg14", "dinov2_vits14_reg", "dinov2_vitg14_reg"),
    *("dinov3_vits16", "dinov3_vits16plus", "dinov3_convnext_tiny"),
]


def theirs(arch: str, model):
    """The configuration and the class that transformers has for one of our models."""
    if isinstance(model, convnext.ConvNeXt):
        fields = {"hidden_sizes": list(model.dims), "depths": list(model.depths)}
        return CONVNEXT[0](**fields), CONVNEXT[1]
    fields = {
        "hidden_size": model.dim,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.heads,
        "patch_size": model.patch,
        "layer_norm_eps": model.epsilon,
    }
    if arch.startswith("dinov3"):
        hidden = model.hidden or 4 * model.dim
        fields |= {"intermediate_size": hidden, "num_register_tokens": 4, "image_size": 224}
        fields |= {"use_gated_mlp": model.gated, "hidden_act": "silu" if model.gated else "gelu"}
        return V3[0](**fields), V3[1]
    fields |= {"image_size": model.grid * model.patch, "use_swiglu_ffn": model.gated}
    if arch.endswith("_reg"):
        return REGISTERS[0](**fields, num_register_tokens=4), REGISTERS[1]
    return V2[0](**fields), V2[1]


def small(arch: str, **fields):
    """One of our models with the structure of `arch` and few channels."""
    if arch in convnext.VARIANTS:
        return convnext.VARIANTS[arch](depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
    model = vit.VARIANTS[arch]
    fields = {"dim": 48, "depth": 2, "heads": 3, "grid": 5 * bool(model().grid)} | fields
    if model.keywords.get("gated"):
        # transformers' rule for DINOv2: two thirds of four times 48, up to a multiple of 8.
        fields["hidden"] = 128
    return model(**fields)


def randomized(network, seed=0):
    """Random weights with which every parameter matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim in (2, 4) and "token" not in name:
                value.copy_(noise / value[0].numel() ** 0.5)
            elif "norm" in name and name.endswith("weight") or "lambda" in name or "gamma" in name:
                value.copy_(1 + 0.3 * noise)
            else:
                value.copy_(0.3 * noise)
    return network.eval()


def pair(arch, model, folder):
    """transformers' network at random weights, and our variables from the files that it writes."""
    config, kind = theirs(arch, model)
    network = randomized(kind(config))
    network.save_pretrained(folder)
    return network, placed(model, dino.load(folder))


def placed(model, imported):
    side = 2 * getattr(model, "patch", 16)
    x = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    return place(imported, jax.eval_shape(model.init, jax.random.key(0), x), (), "file")


def forward(network, count, x):
    """All tokens of transformers' network as maps (last norm on): patches, class, registers."""
    tokens = network(x).last_hidden_state
    side = network.config.patch_size if hasattr(network.config, "patch_size") else 32
    rows, cols = (n // side for n in x.shape[2:])
    maps = tokens[:, 1 + count :].reshape(len(x), rows, cols, -1)
    return maps, tokens[:, 0], tokens[:, 1 : 1 + count]


def same(model, variables, network, x, gradient=True):
    """Asserts equal patches, class token and registers, and gradients in the image of their sum."""
    count = getattr(model, "registers", 0)
    image = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=gradient)
    expected = forward(network, count, image)

    def loss(x):
        out, features = model.apply(variables, x)
        found = out, features["cls"], features.get("registers", out[:, :0, 0])
        return sum((part**2).sum() for part in found), found

    run = jax.grad(loss, has_aux=True) if gradient else loss
    slope, found = jax.jit(run, compiler_options=tools.OPTIONS)(x)
    for ours, part in zip(found, expected, strict=True):
        if part.numel():
            tools.close(ours, part.detach())
    if gradient:
        sum(part.square().sum() for part in expected).backward()
        tools.close(slope, tools.to_nhwc(image.grad))


@pytest.mark.parametrize("arch", STRUCTURES)
def test_every_structure_with_few_channels(tmp_path, arch):
    # transformers asks for a size, not for Meta's scale; that has a test of its own.
    own = {"offset": 0.0} if arch in vit.VARIANTS else {}
    model = small(arch, **own)
    network, variables = pair(arch, model, tmp_path)
    patch = getattr(model, "patch", 32)
    same(model, variables, network, tools.image((5 * patch, 5 * patch)), gradient=False)
    same(model, variables, network, tools.image((8 * patch, 3 * patch)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch", ["dinov2_vits14", "dinov2_vits14_reg", "dinov3_vits16", "dinov3_vits16plus"]
)
def test_the_true_small_models(tmp_path, arch):
    model = vit.VARIANTS[arch](offset=0.0)
    config, kind = theirs(arch, model)
    assert config.hidden_size == 384 and config.num_hidden_layers == 12
    network, variables = pair(arch, model, tmp_path)
    side = model.patch
    same(model, variables, network, tools.image((4 * side, 7 * side)))
    same(model, variables, network, tools.image((518 // side * side,) * 2), gradient=False)


@pytest.mark.parametrize("arch", ["dinov2_vits14", "dinov3_vits16"])
def test_maps_of_single_blocks(tmp_path, arch):
    model = small(arch, offset=0.0)
    network, variables = pair(arch, model, tmp_path)
    x = tools.image((5 * model.patch, 5 * model.patch))
    image = torch.tensor(np.moveaxis(x, -1, 1))
    states = network(image, output_hidden_states=True).hidden_states
    final = network.layernorm if arch.startswith("dinov2") else network.norm
    _, normed = jax.jit(model.apply)(variables, x)
    _, raw = jax.jit(model.clone(normed=False).apply)(variables, x)
    first = 1 + model.registers
    for index in range(model.depth):
        state = states[index + 1]
        tools.close(raw[f"block{index}"].reshape(1, 25, -1), state[:, first:].detach())
        tools.close(normed[f"block{index}"].reshape(1, 25, -1), final(state)[:, first:].detach())


def test_stages_of_the_convnext(tmp_path):
    model = small("dinov3_convnext_tiny")
    network, variables = pair("dinov3_convnext_tiny", model, tmp_path)
    x = tools.image((70, 101))  # the last pixels of a side fill no window
    states = network(torch.tensor(np.moveaxis(x, -1, 1)), output_hidden_states=True).hidden_states
    _, features = jax.jit(model.apply)(variables, x)
    for stage in range(1, 5):
        tools.close(features[f"stage{stage}"], tools.to_nhwc(states[stage - 5]))


@pytest.mark.parametrize("grid", [(5, 5), (3, 7)])
def test_without_registers_positions_are_resized_as_meta_does(tmp_path, grid):
    """A scale of (out + 0.1) / size, where transformers asks for the size."""
    model = small("dinov2_vits14")
    assert model.offset == 0.1
    network, variables = pair("dinov2_vits14", model, tmp_path)

    def as_meta(embeddings, height, width):
        table = network.embeddings.position_embeddings
        rows, cols = height // 14, width // 14
        if (rows, cols) == (5, 5):
            return table
        places = torch.nn.functional.interpolate(
            table[:, 1:].reshape(1, 5, 5, -1).permute(0, 3, 1, 2),
            scale_factor=((rows + 0.1) / 5, (cols + 0.1) / 5),
            mode="bicubic",
        )
        return torch.cat([table[:, :1], places.flatten(2).transpose(1, 2)], 1)

    network.embeddings.interpolate_pos_encoding = as_meta
    same(model, variables, network, tools.image((grid[0] * 14, grid[1] * 14)), gradient=False)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("out", [(3, 4), (5, 7), (11, 13), (9, 2)])
def test_bicubic_is_pytorchs(antialias, out):
    x = torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"mode": "bicubic", "antialias": antialias}
    expected = torch.nn.functional.interpolate(x, size=out, **options)[0, 0]
    down, across = (bicubic(n, m, antialias=antialias) for n, m in zip((5, 7), out, strict=True))
    np.testing.assert_allclose(down @ x[0, 0].numpy() @ across.T, expected, atol=1e-12)


def meta_layout(arch: str, network) -> dict[str, torch.Tensor]:
    """A network's weights as Meta's files have them, by the names in transformers' memory."""
    state, meta = dict(network.state_dict()), {}
    pieces = {}
    for name, value in state.items():
        name = name.removeprefix("model.").removeprefix("encoder.").replace("layer.", "blocks.", 1)
        name = name.removeprefix("embeddings.").replace("layer_scale", "ls")
        name = name.replace("lambda1", "gamma").replace(".attention.o_proj", ".attn.proj")
        name = name.replace("patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("patch_embeddings", "patch_embed.proj").replace("layernorm", "norm")
        name = name.replace("position_embeddings", "pos_embed")
        if arch.startswith("dinov3"):
            name = name.replace("register_tokens", "storage_tokens")
        block, _, rest = name.partition(".attention.")
        if rest:
            part, leaf = rest.split("_proj.")
            pieces.setdefault((f"{block}.attn.qkv", leaf), {})[part] = value
        elif ".mlp." in name and "_proj" in name:
            block, rest = name.split(".mlp.")
            gated = f"{block}.mlp.gate_proj." in name or network.config.to_dict().get(
                "use_gated_mlp", network.config.to_dict().get("use_swiglu_ffn")
            )
            new = (
                {"gate": "w1", "up": "w2", "down": "w3"} if gated else {"up": "fc1", "down": "fc2"}
            )
            part, leaf = rest.split("_proj.")
            if arch.startswith("dinov2") and part != "down":
                pieces.setdefault((f"{block}.mlp.w12", leaf), {})[part] = value
            else:
                meta[f"{block}.mlp.{new[part]}.{leaf}"] = value
        else:
            meta[name] = value
    for (layer, leaf), parts in pieces.items():
        if layer.endswith("qkv") and "k" not in parts:
            # DINOv3 trained with a mask that holds the keys' bias at zero, whatever it says.
            parts["k"] = torch.full_like(parts["q"], 7.0)
            mask = torch.ones(3 * len(parts["q"]))
            mask[len(parts["q"]) : -len(parts["q"])] = 0
            meta[f"{layer}.bias_mask"] = mask
        order = "qkv" if layer.endswith("qkv") else ("gate", "up")
        meta[f"{layer}.{leaf}"] = torch.cat([parts[part] for part in order])
    if arch.startswith("dinov3"):
        meta["rope_embed.periods"] = torch.ones(4)
    return meta


def meta_convnext(network) -> dict[str, torch.Tensor]:
    meta = {}
    for name, value in network.state_dict().items():
        name = name.removeprefix("model.")
        if ".downsample_layers." in name:
            _, stage, _, rest = name.split(".", 3)
            name = f"downsample_layers.{stage}.{rest}"
        name = name.replace(".layers.", ".").replace("layer_norm", "norm")
        meta[name.replace("depthwise_", "dw").replace("pointwise_", "pw")] = value
    return meta | {f"norms.3.{leaf}": meta[f"norm.{leaf}"] for leaf in ("weight", "bias")}


@pytest.mark.parametrize("arch", STRUCTURES)
def test_metas_files_hold_the_same(tmp_path, arch):
    model = small(arch)
    network, expected = pair(arch, model, tmp_path)
    convolutional = arch == "dinov3_convnext_tiny"
    state = meta_convnext(network) if convolutional else meta_layout(arch, network)
    torch.save(state, tmp_path / "meta.pth")
    if not convolutional:
        assert "blocks.0.attn.qkv.weight" in torch.load(tmp_path / "meta.pth")
    found = placed(model, dino.load(tmp_path / "meta.pth"))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), found, expected)))
    x = tools.image((96, 96) if convolutional else (3 * model.patch, 4 * model.patch))
    run = jax.jit(model.apply)
    assert (run(found, x)[0] == run(expected, x)[0]).all()


def test_a_file_in_parts_and_any_precision(tmp_path):
    model = small("dinov3_vits16plus")
    network, expected = pair("dinov3_vits16plus", model, tmp_path / "whole")
    network.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    found = placed(model, dino.load(tmp_path / "parts"))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), found, expected)))
    network.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    half = placed(model, dino.load(tmp_path / "half" / "model.safetensors"))
    kernel = half["params"]["norm"]["scale"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, expected["params"]["norm"]["scale"], rtol=1e-2)


PUBLISHED = {  # millions: the model cards of DINOv2 (arXiv 2304.07193) and DINOv3 (2508.10104)
    **{f"dinov2_vit{size}14": n for size, n in (("s", 21), ("b", 86), ("l", 300), ("g", 1100))},
    **{"dinov3_vits16": 21, "dinov3_vits16plus": 29, "dinov3_vitb16": 86, "dinov3_vitl16": 300},
    **{"dinov3_vith16plus": 840, "dinov3_convnext_tiny": 29, "dinov3_convnext_small": 50},
    **{"dinov3_convnext_base": 89, "dinov3_convnext_large": 198},
}


@pytest.mark.parametrize("arch", [*vit.VARIANTS, *convnext.VARIANTS])
def test_every_size_has_the_published_parameters(arch):
    model = (vit.VARIANTS | convnext.VARIANTS)[arch]()
    config, kind = theirs(arch, model)
    with torch.device("meta"):
        network = kind(config)
    # Numbers without memory: only names and shapes are compared.
    state = {n: np.broadcast_to(np.float32(0), v.shape) for n, v in network.state_dict().items()}
    imported = Imported(dino.leaves(state), "torchvision", ("norm",))
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    ours = jax.eval_shape(model.init, jax.random.key(0), x)
    assert not compare(imported, ours).problems
    count = sum(leaf.size for leaf in jax.tree.leaves(ours))
    mask = 0 if arch in convnext.VARIANTS else model.dim
    assert count == sum(v.numel() for v in network.parameters()) - mask
    sources = [source for source in dino.SOURCES.values() if source.arch == arch]
    assert [source.parameters for source in sources] == [round(count / 1e6)]
    # The cards round ("21 M" is 22.06 M, "1100 M" is 1136 M), and for the ConvNeXts they count
    # ImageNet's classifier, which the files do not have.
    head = 1000 * (model.dims[-1] + 1) if arch in convnext.VARIANTS else 0
    assert (count + head) / 1e6 == pytest.approx(PUBLISHED[arch.removesuffix("_reg")], rel=0.051)


def test_what_does_not_fit_is_named(tmp_path):
    model = small("dinov2_vits14")
    network, _ = pair("dinov2_vits14", model, tmp_path)
    with pytest.raises(ValueError, match="register_tokens"):
        placed(small("dinov2_vits14_reg"), dino.load(tmp_path))
    state = meta_layout("dinov2_vits14", network)
    state["blocks.0.attn.qkv.weight"] = state["blocks.0.attn.qkv.weight"][:-1]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match="143 rows, which are not 3 equal parts"):
        dino.load(tmp_path / "cut.pth")
    torch.save({"conv1.weight": torch.zeros(1, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="conv1.weight.*expected DINOv2 or DINOv3"):
        dino.load(tmp_path / "other.pth")
