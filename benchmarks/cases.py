"""What is timed: methods at published sizes or smaller, on random images that lie on the device."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fss_jax import configs
from fss_jax.data.bank import Bank
from fss_jax.data.records import EpisodeSampler
from fss_jax.reports import model_summary
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.training.loop import Learner
from fss_jax.training.optimizers import make_optimizer

IMAGES, CLASSES = 64, 4  # of the bank of random images
OSLSM_QUERY = 500  # pixels: PASCAL's longer side, and what the protocol scores at


@dataclasses.dataclass(frozen=True)
class Case:
    """A method as a published config trains it.

    Attributes:
      config: METHOD/NAME of fss_jax/configs.
      changes: of the config, 'model.width' for a field of the model.
    """

    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# Running averages normalize the relation network at test: what lets each image be encoded once.
_RUNNING = {"model.batch_norm": "running", "model.momentum": 0.9}


CASES = {
    "oslsm": Case("oslsm/release", {"query_size": OSLSM_QUERY}),
    "oslsm_pad100": Case("oslsm/paper", {"query_size": OSLSM_QUERY}),
    "relation": Case("relation/release", _RUNNING),
    "relation_paper": Case("relation/paper", _RUNNING),
    "panet": Case("panet/vgg16"),
    "canet": Case("canet/resnet50"),
    "guided": Case("guided/vgg16"),
    "siamese": Case("siamese/vgg16"),
    "nearest": Case("nearest/vgg16"),
    "logistic": Case("logistic/vgg16"),
    "svm": Case("logistic/svm_vgg16"),
    "finetune": Case("finetune/vgg16"),
    "cosegment": Case("cosegment/vocabulary"),
}


def get_config(
    name: str,
    *,
    shots: int,
    dtype: str = "float32",
    width: float = 1.0,
    size: int = 0,
    remat: bool = False,
) -> ConfigDict:
    """A case's config.

    Args:
      width: channel multiplier.
      size: sides of support (not OSLSM's) and query in pixels; 0: as published.

    Raises:
      ValueError: an unknown case.
    """
    if name not in CASES:
        raise ValueError(f"unknown case {name!r}; expected one of {', '.join(CASES)}")
    case = CASES[name]
    config = configs.get(case.config)
    for key, value in case.changes.items():
        owner, key = (config.model, key[6:]) if key.startswith("model.") else (config, key)
        owner[key] = value
    config.shots, config.dtype, config.remat = shots, dtype, remat
    if width != 1.0 and config.method != "cosegment":  # it has no channels
        config.model.width = width
    if size:
        config.query_size = size
        if config.method != "oslsm":  # its classifier is made for 224 pixels
            config.support_size = size
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
