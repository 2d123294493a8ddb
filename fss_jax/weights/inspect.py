"""Says what a weights file holds and what of it would load: `fss weights inspect FILE`."""

from pathlib import Path

import jax
import numpy as np

from fss_jax import methods, weights
from fss_jax.data import imaging
from fss_jax.methods import backbones
from fss_jax.methods.backbones import convnext, vit
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.weights import caffe, dino, fss1000, keras, torchvision
from fss_jax.weights.caffe_files import read_caffe
from fss_jax.weights.keras_files import read_keras
from fss_jax.weights.placing import compare
from fss_jax.weights.reading import sniff
from fss_jax.weights.registry import OFFICIAL
from fss_jax.weights.torch_files import read_safetensors, read_torch

READERS = {
    "torch": read_torch,
    "safetensors": read_safetensors,
    "caffe": read_caffe,
    "keras": read_keras,
}
KINDS = {"torch": "torchvision", "safetensors": "torchvision", "caffe": "caffe", "keras": "keras"}
DINO = {**vit.VARIANTS, **convnext.VARIANTS}
WHOLE = {
    **caffe.RELEASED,
    "fss1000": fss1000.RELEASED,
}  # the method of a release of all its weights


# Layers that tell DINO's files, in Hugging Face's layout or in Meta's, from torchvision's.
_DINO = {
    *("patch_embed.proj", "embeddings.patch_embeddings", "embeddings.patch_embeddings.projection"),
    *("stages.0.0.dwconv", "stages.0.layers.0.depthwise_conv"),
}


def contents(path: Path) -> dict[str, np.ndarray]:
    """All arrays in a file; a Caffe or Keras layer's are numbered."""
    arrays = {}
    for name, found in READERS[sniff(path)](path).items():
        many = enumerate(found) if isinstance(found, list) else [("", found)]
        arrays |= {f"{name}.{n}".rstrip("."): array for n, array in many}
    return arrays


def guess(kind: str, names: list[str]) -> str | None:
    """The architecture whose layer names are most like a file's; None if fewer than half match."""
    layers = {name.rpartition(".")[0] for name in names}
    if kind == "torchvision" and _DINO & layers:
        return "dino"
    if kind == "torchvision":
        known = {arch: set(table.names) for arch, table in torchvision.TABLES.items()}
    elif kind == "keras":
        known = {arch: set(table.names(list(layers))) for arch, table in keras.TABLES.items()}
    else:
        known = {arch: set(caffe.layers(arch)) for arch in caffe.ARCHITECTURES}
    likeness = {arch: len(known[arch] & layers) / len(known[arch] | layers) for arch in known}
    best = max(likeness, key=likeness.get)
    return best if likeness[best] >= 0.5 else None


def expected(arch: str, kind: str = "") -> dict:
    """Shapes of the variables of an architecture at full size, as `kind`'s files hold it."""
    image = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), np.float32)
    mask = jax.ShapeDtypeStruct((1, 1, 224, 224), np.float32)
    if arch in WHOLE:
        return jax.eval_shape(
            methods.build(WHOLE[arch]).init, jax.random.key(0), image, mask, image
        )
    if f"{kind}_{arch}" in backbones.table():  # AlexNet, which Caffe builds its own way
        arch = f"{kind}_{arch}"
    network = VGG(outputs=0) if arch == "fcn32s" else backbones.get(arch).network()
    return jax.eval_shape(network.init, jax.random.key(0), image)


def report(path: Path, arch: str | None) -> list[str]:
    """The lines of `fss weights inspect`; the comparison is with the full-size network.

    Raises as the readers and importers."""
    if path.suffix == ".json" or (path / dino.WHOLE).is_file() or (path / dino.INDEX).is_file():
        arrays, kind, arch = dino.read(path), "dino", arch or "dino"
    elif path.is_dir():
        arrays = {n: a for file in fss1000.FILES for n, a in contents(path / file).items()}
        spec, arch = f"fss1000:{path}", "fss1000"
    else:
        arrays = contents(path)
        kind = KINDS[sniff(path)]
        arch = arch or guess(kind, list(arrays))
        spec = f"{kind}:{arch}:{path}"
    if arch in DINO or arch == "dino":
        arch = arch if arch in DINO else dino.recognize(dino.leaves(arrays))
        spec = f"dino:{path}"
    lines = [f"  {name}  {a.dtype} {'x'.join(map(str, a.shape))}" for name, a in arrays.items()]
    size = sum(array.size for array in arrays.values())
    lines.append(f"{path}: {len(arrays)} arrays, {size:,} numbers")
    if arch is None:
        return [*lines, "like no architecture that is known; name one with --as"]
    imported = weights.read(spec)
    pairs, problems = compare(imported, expected(arch, spec.partition(":")[0]))
    mean = imaging.PREPROCESSING[imported.preprocessing]
    lines.append(f"read as {spec}")
    lines.append(f"expects images preprocessed as {imported.preprocessing!r}: {mean}")
    lines.append(f"would load: {len(pairs)} of {len(imported.leaves)} leaves")
    return lines + [f"{kind}: {name}" for kind, names in problems.items() for name in names]


def listing() -> list[str]:
    """The lines that `fss weights list` prints."""
    lines = []
    for name, source in dino.SOURCES.items():
        size = f"{source.parameters} M parameters, {4 * source.parameters} MB as float32"
        lines.append(f"hub:{name}  {source.arch}, {size}; {source.license}: {source.use}")
    for name, official in OFFICIAL.items():
        lines.append(
            f"{name}  {official.url}; trained on ImageNet or PASCAL VOC: the terms are its "
            "publisher's and those of the data"
        )
    return lines
