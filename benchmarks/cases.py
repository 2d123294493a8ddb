"""What is timed: methods at published sizes or smaller, on random images that lie on the device."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fss_jax import configs, methods
from fss_jax.data.bank import Bank
from fss_jax.data.records import EpisodeSampler
from fss_jax.reports import model_summary
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.names import unknown
from fss_jax.training.loop import Learner
from fss_jax.training.optimizers import make_optimizer

IMAGES, CLASSES = 64, 4  # of the bank of random images
PUBLISHED = ("oslsm/release", "relation/release")  # what is timed unless another case is named


def get_config(
    name: str,
    *,
    shots: int = 0,
    dtype: str = "float32",
    width: float = 1.0,
    size: int = 0,
    remat: bool = False,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> ConfigDict:
    """A published config as it is timed: fresh weights, queries of one size, one step a dispatch.

    Where a config normalizes by an episode's own statistics, running averages take their place: only
    then can an image be encoded once for all queries.

    Args:
      name: METHOD/NAME of fss_jax/configs.
      shots: supports per episode; 0: the config's.
      width: channel multiplier, where a method has one.
      size: side of the query in pixels, and of the support where the config makes both alike (a
        classifier's support has the size that it is made for); 0: as published, and for queries of
        their own size the longer side in PASCAL.
      changes: further settings, 'model.backbone' for a field of the model.

    Raises:
      ValueError: an unknown config or setting.
    """
    config = configs.get(name)
    config.shots, config.dtype, config.remat = shots or config.shots, dtype, remat
    if "batch_norm" in config.model:
        config.model.batch_norm, config.model.momentum = "running", 0.9
    for key, value in changes.items():
        owner, field = (config.model, key[6:]) if key.startswith("model.") else (config, key)
        if owner is config and field not in config:
            raise unknown("setting", field, config.keys())
        owner[field] = value
    if width != 1.0 and "width" in methods.fields(methods.get(config.method)):
        config.model.width = width
    if size and config.support_size == config.query_size:
        config.support_size = size
    config.query_size = size or config.query_size or model_summary.NATIVE_SIZE
    config.canvas = max(config.support_size, config.query_size)
    config.init, config.steps_per_dispatch = "", 1
    return config


class Loaded:
    """A case's model with fresh weights, a bank of random images, and their episodes."""

    def __init__(self, config: ConfigDict, learner: Learner = Learner()):  # noqa: B008  frozen
        self.config = config
        self.model = learner.build(config)
        self.variables = learner.init(self.model, config)
        rng = np.random.default_rng(0)
        shape = (IMAGES, config.canvas, config.canvas)
        self.bank = Bank(
            images=rng.integers(0, 256, (*shape, 3), np.uint8),
            labels=rng.integers(0, 2, shape, np.uint8),
            sizes=np.full((IMAGES, 2), config.canvas, np.int32),
            item_image=np.arange(IMAGES, dtype=np.int32),
            item_value=np.ones(IMAGES, np.int32),
        )
        self.items = [(f"{i:02d}", i % CLASSES) for i in range(IMAGES)]

    def sampler(self) -> EpisodeSampler:
        config = self.config
        return EpisodeSampler(
            self.items, shots=config.shots, queries=config.queries, rule="class_uniform", seed=0
        )

    def state(self) -> TrainState:
        extra = dict(self.variables)
        params = extra.pop("params")
        return TrainState(jnp.int32(0), params, extra, make_optimizer(self.config).init(params))

    def gmacs(self, queries: int) -> tuple[float, float]:
        """Billions of MACs of the support of an episode, and of `queries` queries."""
        episode = model_summary.episode_shapes(
            shots=self.config.shots,
            queries=queries,
            support_size=self.config.support_size,
            query_size=self.config.query_size,
        )
        shapes = jax.eval_shape(lambda: self.variables)
        condition, segment = model_summary.macs_of_halves(self.model, shapes, episode)
        return condition / 1e9, segment / 1e9
