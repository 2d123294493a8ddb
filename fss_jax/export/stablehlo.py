"""A method as files that need no fss_jax: its halves in StableHLO, its weights (`fss export`)."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export
from ml_collections import ConfigDict

from fss_jax import methods, weights
from fss_jax.data.encoded import Encoded
from fss_jax.runtime import checkpoints
from fss_jax.scoring import protocols
from fss_jax.weights import exported
from fss_jax.weights.reading import need

PLATFORMS = ("cpu", "cuda", "tpu")

EXAMPLE = '''"""Finds an object in a photograph: python example.py one.jpg mask.png other.jpg found.png

Further examples are further pairs in front: one.jpg mask1.png two.jpg mask2.png other.jpg found.png.
A mask is black where the object is not. Pillow reads and writes the files; the rest is jax.
support [b, k, {support}, {support}, 3] and query [b, q, {query}, {query}, 3] are RGB in 0..255, mask
[b, k, {support}, {support}] is 1 on the object; b episodes and q queries, any numbers; {shots}.
"""

import sys
from pathlib import Path

import jax.export
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
condition, segment = (
    jax.export.deserialize((HERE / f"{{name}}.stablehlo").read_bytes())
    for name in ("condition", "segment")
)
weights = dict(np.load(HERE / "weights.npz"))
*examples, name, out = sys.argv[1:]


def pixels(name, side):
    image = Image.open(name).convert("RGB").resize((side, side), Image.BILINEAR)
    return np.asarray(image, np.float32)


support = np.stack([pixels(name, {support}) for name in examples[::2]])[None]
marks = [Image.open(name).convert("L") for name in examples[1::2]]
mask = np.stack([np.asarray(mark.resize({support_pair}, Image.NEAREST)) for mark in marks])[None] > 0
task = condition.call(weights, support, mask.astype(np.float32))  # once
logits = np.asarray(segment.call(weights, task, pixels(name, {query})[None, None]))  # any number
found = Image.fromarray(logits[0, 0]).resize(Image.open(name).size, Image.BILINEAR)
Image.fromarray(np.where(np.asarray(found) > 0, 255, 0).astype(np.uint8)).save(out)
'''


def export_halves(
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    support_size: int,
    query_size: int,
    shots: int | None = None,
) -> dict[str, bytes]:
    """Serialized jax.export artifacts of `condition` and `segment`.

    Both take the variables first, as a flat dict by 'collection/layer/.../leaf', and are compiled
    for PLATFORMS with symbolic numbers of episodes b, shots k and queries q. A method with a frozen
    backbone has three more, in which an image passes the backbone once: `backbone` (images [b, q]
    of the queries' size -> maps by name), and both halves on such maps, `condition_maps` and
    `segment_maps`.

    Args:
      model: a method.
      variables: its collections; shapes are enough.
      support_size, query_size: sides of the square images, in pixels.
      shots: k as a number; None: symbolic.

    Raises:
      ValueError: a size that is none; no shots for a method without `any_shots`; flatbuffers is not
        installed.
    """
    if min(support_size, query_size) < 1:
        raise ValueError(
            f"sizes {support_size} and {query_size}: expected pixels; name --query_size for a "
            "protocol that scores images at their own size"
        )
    if shots is None and not model.any_shots:
        raise ValueError(
            f"{type(model).__name__} is exported for one number of shots: name --shots"
        )
    need("flatbuffers", "export")
    b, k, q = export.symbolic_shape("b, k, q")
    k = shots or k

    def array(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(method):
        def half(flat, *inputs):
            return model.apply(traverse_util.unflatten_dict(flat, sep="/"), *inputs, method=method)

        return jax.jit(half)

    flat = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in traverse_util.flatten_dict(dict(variables), sep="/").items()
    }
    support = array(b, k, support_size, support_size, 3), array(b, k, support_size, support_size)
    condition, segment = run("condition"), run("segment")
    task = jax.eval_shape(condition, flat, *support)
    query = array(b, q, query_size, query_size, 3)
    halves = {
        "condition": export.export(condition, platforms=PLATFORMS)(flat, *support),
        "segment": export.export(segment, platforms=PLATFORMS)(flat, task, query),
    }
    if model.frozen and support_size == query_size:
        size = (query_size, query_size)

        @jax.jit
        def backbone(flat, image):
            variables = traverse_util.unflatten_dict(flat, sep="/")
            return model.apply(variables, image, method="encoded").maps

        @jax.jit
        def condition_maps(flat, maps, mask):
            variables = traverse_util.unflatten_dict(flat, sep="/")
            return model.apply(variables, Encoded(maps, size), mask, method="condition")

        @jax.jit
        def segment_maps(flat, task, maps):
            variables = traverse_util.unflatten_dict(flat, sep="/")
            return model.apply(variables, task, Encoded(maps, size), method="segment")

        of_support = jax.eval_shape(backbone, flat, support[0])
        of_query = jax.eval_shape(backbone, flat, query)
        halves |= {
            "backbone": export.export(backbone, platforms=PLATFORMS)(flat, query),
            "condition_maps": export.export(condition_maps, platforms=PLATFORMS)(
                flat, of_support, support[1]
            ),
            "segment_maps": export.export(segment_maps, platforms=PLATFORMS)(flat, task, of_query),
        }
    return {name: bytes(half.serialize()) for name, half in halves.items()}


def write(
    out: Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    support_size: int,
    query_size: int,
    shots: int | None = None,
    about: Mapping[str, Any],
) -> None:
    """Writes everything that `fss export --help` lists into a new folder, whole or not at all.

    Raises:
      ValueError: `out` exists and is not empty; sizes as `export_halves`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty: choose another --out")
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    halves = export_halves(
        model, variables, support_size=support_size, query_size=query_size, shots=shots
    )
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=out.name + "."))
    try:
        for name, artifact in halves.items():
            (partial / f"{name}.stablehlo").write_bytes(artifact)
        flat = traverse_util.flatten_dict(dict(variables), sep="/")
        np.savez(partial / "weights.npz", **{name: np.asarray(leaf) for name, leaf in flat.items()})
        exported.save(partial / "weights.safetensors", variables, model.preprocessing)
        (partial / "example.py").write_text(
            EXAMPLE.format(
                support=support_size,
                query=query_size,
                support_pair=(support_size,) * 2,
                shots="any number of shots" if shots is None else f"k = {shots}",
            ),
            encoding="utf-8",
        )
        known = {
            "support_size": support_size,
            "query_size": query_size,
            "shots": shots or "any",
            "preprocessing": model.preprocessing,
            "platforms": PLATFORMS,
            "jax": jax.__version__,
        }
        (partial / "about.json").write_text(json.dumps({**about, **known}, indent=1) + "\n")
        partial.chmod(0o755)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def export_workdir(
    workdir: str | Path,
    out: Path,
    checkpoint: str = "best",
    query_size: int | None = None,
    support_size: int | None = None,
    shots: int | None = None,
) -> None:
    """`write` for a checkpoint of a workdir.

    Args:
      query_size, support_size: pixels; by default what the config scores at.
      shots: how many supports the files take; by default any number, or the config's for a method
        without `any_shots`.

    Raises:
      ValueError, FileNotFoundError: no such checkpoint; or as `write`.
    """
    found = checkpoints.load(workdir, checkpoint)
    about = {"checkpoint": str(found.folder), **found.meta}
    _write(out, found.config, found.variables, query_size, support_size, shots, about)


def export_config(
    config: ConfigDict,
    out: Path,
    query_size: int | None = None,
    support_size: int | None = None,
    shots: int | None = None,
) -> None:
    """`export_workdir` for a method that needs no training, with the weights that its config names.

    Raises:
      ValueError, FileNotFoundError: weights that are not there or do not fit; or as `write`.
    """
    config = config.copy_and_resolve_references()
    _, variables = weights.ready(config)
    about = {"config": json.loads(config.to_json())}
    _write(out, config, variables, query_size, support_size, shots, about)


def _write(out, config, variables, query_size, support_size, shots, about) -> None:
    sizes = protocols.get(config.protocol).view(config)
    model = methods.build_from(config)
    write(
        out,
        model,
        variables,
        shots=shots if shots or model.any_shots else config.shots,
        support_size=support_size or sizes.support_size,
        query_size=query_size or sizes.query_size,
        about=about,
    )
