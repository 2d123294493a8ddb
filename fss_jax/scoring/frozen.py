"""A frozen backbone's features in place of images, where a config asks for them (`config.features`)."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import feature_bank
from fss_jax.data.datasets import Split
from fss_jax.data.view import fill_color
from fss_jax.methods import Method
from fss_jax.runtime import digests


def wanted(config: ConfigDict) -> bool:
    """Whether a config asks for features; older checkpoints' do not know the question."""
    return bool(config.get("features", ""))


def stays(config: ConfigDict, model: Method) -> tuple[str, ...]:
    """The modules that a training leaves as they are, for which its optimizer keeps nothing."""
    return model.frozen if wanted(config) else ()


def planned(config: ConfigDict, model: Method, variables: Any) -> feature_bank.Stored | None:
    """What `features_of` would give a training, from the shapes of variables, without its file.

    Returns, raises: as `features_of`.
    """
    if not wanted(config):
        return None
    entries = _entries(config, model, more=True)
    side = config.query_size
    image = jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32)
    encode = functools.partial(model.apply, method="encoded")
    maps = jax.eval_shape(encode, variables, image).maps
    shapes = {name: x.shape[2:] for name, x in maps.items()}
    return feature_bank.Stored(Path(), shapes, config.features, (side, side), entries)


def features_of(
    config: ConfigDict, model: Method, variables: Any, split: Split, *, more: bool = False
) -> feature_bank.Stored | None:
    """The features of all images of a split, from config.data_dir/features or computed now.

    Args:
      variables: of one device, those of the backbone as they will stay.
      more: with the further entries that training asks for.

    Returns:
      None if the config asks for none.

    Raises:
      ValueError: a method whose backbone learns; support and query of different sizes.
    """
    if not wanted(config):
        return None
    entries = _entries(config, model, more=more)
    kept = {
        name: {part: tree[part] for part in model.frozen if part in tree}
        for name, tree in variables.items()
    }

    @jax.jit
    def encode(images):
        return model.apply(variables, images, method="encoded")

    return feature_bank.stored(
        Path(config.data_dir) / "features",
        split,
        encode,
        canvas=config.canvas,
        size=config.query_size,
        fill=fill_color(config),
        entries=entries,
        dtype=config.features,
        depends_on=[
            config.method,
            config.model.preprocessing,
            _forms(model, variables),
            digests.describe(kept),
        ],
    )


def _entries(config: ConfigDict, model: Method, *, more: bool) -> tuple[feature_bank.Look, ...]:
    if not model.frozen:
        raise ValueError(
            f"config.features {config.features!r}: the backbone of method {config.method!r} learns with "
            "these fields, so that its features change; set config.features=''"
        )
    if config.support_size != config.query_size:
        raise ValueError(
            f"config.features {config.features!r} with support_size {config.support_size} and "
            f"query_size {config.query_size}: expected one size"
        )
    return feature_bank.looks(more and config.feature_flips, config.feature_zooms if more else ())


def _forms(model: Method, variables: Any) -> list:
    """The frozen modules' classes and fields: what they compute, given their weights."""
    bound = model.bind(variables)
    modules = [getattr(bound, name) for name in model.frozen]
    return [
        [
            type(module).__name__,
            {
                field.name: repr(getattr(module, field.name))
                for field in dataclasses.fields(module)
                if field.name not in ("parent", "name", "axis_name")
            },
        ]
        for module in modules
    ]
