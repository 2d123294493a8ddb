"""A workdir of the toy config that holds a checkpoint, without any training."""

import json
from pathlib import Path

import jax.numpy as jnp
import toy
from ml_collections import ConfigDict

from fss_jax import methods
from fss_jax.runtime import checkpoints
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.training.optimizers import make_optimizer


def save(folder: Path, **changes) -> Path:
    """Writes data and a checkpoint of fresh variables under `folder`; returns the workdir.

    Args:
      changes: config settings, 'model' among them replaces single fields, 'model_fields' all.
    """
    config = toy.get_config()
    config.data_dir = str(folder / "data")
    config.dataset = toy.prepare(folder / "data")
    config.model = ConfigDict(changes.pop("model_fields", config.model))
    config.model.update(changes.pop("model", {}))
    config.update(changes)
    variables = methods.init_variables(methods.build_from(config), config)
    params = variables.pop("params")
    state = TrainState(jnp.int32(0), params, variables, make_optimizer(config).init(params))
    workdir = folder / "run"
    with checkpoints.Checkpoints(workdir) as store:
        store.save(state, {"config": json.loads(config.to_json())}, 0.5)
        store.wait()
    return workdir
