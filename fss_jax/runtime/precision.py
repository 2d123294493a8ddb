"""How exactly float32 products are computed: without a word, GPUs round to TF32 and TPUs to bfloat16."""

import jax
from ml_collections import ConfigDict

NAMES = ("float32", "tensorfloat32", "bfloat16")


def use(config: ConfigDict) -> None:
    """Sets this process to `config.matmul_precision`; configs of older checkpoints lack it: float32.

    Warps and coordinates ask for the highest precision themselves, whatever is set here.
    """
    jax.config.update("jax_default_matmul_precision", config.get("matmul_precision", "float32"))
