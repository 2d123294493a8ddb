"""Pretrained weights of other frameworks, by a spec such as 'torchvision:vgg16:/path/file.pth'.

  torchvision:ARCH[:FILE]   .pth or .safetensors; see torchvision.TABLES
  caffe:ARCH[:FILE]         .caffemodel: vgg16, alexnet, fcn32s, or oslsm for a whole released snapshot
  keras:ARCH[:FILE]         .h5 of keras.applications; see keras.TABLES
  pip:ARCH                  what pip installed, its digest checked; see pip_packages.PACKAGES
  fss1000:FOLDER            the FSS-1000 release's feature_encoder.pkl and relation_network.pkl
  dino:PATH                 DINOv2 or DINOv3: .safetensors, its index, their folder, or Meta's .pth
  hub:OWNER/NAME[@REVISION] DINOv2 or DINOv3 from the Hugging Face hub; see dino.SOURCES
  fss_jax:FILE              .safetensors written by `fss export`
  workdir:FOLDER            the best checkpoint of another training

Without a file, official weights are downloaded once (registry.OFFICIAL). Which channel order, range
and mean the weights expect is a property of the weights, and comes with them.
"""

import functools
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from ml_collections import ConfigDict

from fss_jax import methods
from fss_jax.runtime import checkpoints
from fss_jax.weights.layouts import Imported
from fss_jax.weights.placing import place
from fss_jax.weights.registry import fetch

WORDS = {"arch": "ARCH[:FILE]", "name": "NAME", "path": "PATH"}  # what a format may take


@functools.cache
def formats() -> dict[str, ModuleType]:
    """The formats by the first word of a spec: every file of this folder that has a function `load`.

    A file may say `NAME`, the word if it is not the file's name, and `TAKES`, what follows it (a key
    of WORDS; otherwise a path). 'arch' is (path, arch) -> Imported, with official files fetched.
    """
    files = (
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    )
    with_load = [module for module in files if hasattr(module, "load")]
    return {getattr(m, "NAME", m.__name__.rpartition(".")[2]): m for m in with_load}


def takes(kind: str) -> str:
    """What follows a format's word in a spec, a key of WORDS; '' for an unknown format."""
    return getattr(formats()[kind], "TAKES", "path") if kind in formats() else ""


def read(spec: str) -> Imported:
    """Imports the file that a spec names, downloading official weights if it names none.

    Raises:
      ValueError: an unknown format; FileNotFoundError and ValueError as the importers.
    """
    kind, _, rest = spec.partition(":")
    if kind not in formats() or not rest:
        known = ", ".join(f"{name}:{WORDS[takes(name)]}" for name in sorted(formats()))
        raise ValueError(f"weights {spec!r}: expected one of {known}")
    importer = formats()[kind].load
    if takes(kind) == "name":
        return importer(rest)
    if takes(kind) == "path":
        path = Path(rest).expanduser()
        return _with_origin(importer(path), path)
    arch, _, path = rest.partition(":")
    path = Path(path).expanduser() if path else fetch(f"{kind}:{arch}")
    return _with_origin(importer(path, arch), path)


def _with_origin(imported: Imported, path: Path) -> Imported:
    """Says which file it was, where the importer does not."""
    if imported.origin or not path.is_file():
        return imported
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return imported._replace(origin={"sha256": {path.name: digest}})


def absent(spec: str) -> str:
    """Why the weights of a spec cannot be had, in a few words; empty if they can.

    Only files and folders that the spec names are looked for; official ones are downloaded by `read`.
    """
    kind, _, rest = spec.partition(":")
    if not spec or takes(kind) == "name":
        return ""
    named = rest if takes(kind) == "path" else rest.partition(":")[2]
    path = Path(named).expanduser()
    if kind == "workdir" and not checkpoints.finished_steps(path):
        return f"{path} holds no training"
    return f"{path} is not there" if named and not path.exists() else ""


def load(
    spec: str, variables: Mapping[str, Any], skip: str | Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """Variables of a model with pretrained weights in their places.

    Args:
      spec: see the module's text.
      variables: collections of an initialized model.
      skip: patterns of leaves to leave alone, or one string of them with commas; see placing.place.

    Returns:
      New variables, and the name of the preprocessing (imaging.PREPROCESSING) that the weights
      expect.

    Raises:
      ValueError: naming all that does not fit; FileNotFoundError.
    """
    imported = read(spec)
    return place(imported, variables, _patterns(skip), spec), imported.preprocessing


def _patterns(skip: str | Iterable[str]) -> list[str]:
    patterns = skip.split(",") if isinstance(skip, str) else skip
    return [pattern.strip() for pattern in patterns if pattern.strip()]


def start(config: ConfigDict, variables: Mapping[str, Any]) -> dict[str, Any]:
    """`load` as a config says (init, init_skip).

    The preprocessing and where the weights are from (`origin`: repository, commit, SHA-256; JSON) go
    into the config, and so into every checkpoint and result.

    Raises:
      ValueError: also for Keras' ResNet or Inception in a backbone built for torchvision's, or the
        other way round, whose shapes agree but not their answers.
    """
    kind = config.init.partition(":")[0]
    source = methods.build_from(config).built_for
    if source and takes(kind) == "arch" and kind != source:
        raise ValueError(
            f"weights {config.init!r} with a backbone built for {source}'s: set "
            f"config.model.source={kind} (see docs/weights.md)"
        )
    imported = read(config.init)
    config.model.preprocessing = imported.preprocessing
    if "origin" in config:  # not in an older checkpoint's
        config.origin = json.dumps(imported.origin) if imported.origin else ""
    return place(imported, variables, _patterns(config.init_skip), config.init)


def ready(config: ConfigDict) -> tuple[methods.Method, dict[str, Any]]:
    """A config's method with the weights of `config.init`, usable as one that was trained is.

    This is how a method that needs no training comes to its weights, if it has any. The
    preprocessing of the weights goes into the config.

    Raises:
      ValueError: it has weights, and the config names none; or as `start`.
    """
    model = methods.build_from(config)
    shapes = jax.eval_shape(lambda: methods.init_variables(model, config))
    if not config.init:
        if shapes.get("params"):
            raise ValueError(
                f"the method {config.method!r} has weights, and its config names none: set config.init"
            )
        return model, methods.init_variables(model, config)
    # Fresh values take long to compile, and most often nothing of them would be left.
    variables = start(config, shapes)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(variables)):
        variables = start(config, methods.init_variables(model, config))
    return methods.build_from(config), variables
