"""Which part of a training step one of XLA's instructions belongs to."""

import re

from fss_jax.training import loop


def kind(name: str, op_name: str) -> str:
    """What an instruction counts as.

    Args:
      name: of the instruction, 'transpose_copy_fusion.1'.
      op_name: where it comes from, 'jit(step)/optimizer/mul'.
    """
    if f"/{loop.OPTIMIZER_SCOPE}/" in op_name:
        return "optimizer"
    if f"/{loop.DATA_SCOPE}/" in op_name:
        return "gather and warp"
    if re.match(r"(wrapped_)?(transpose|copy)", name):
        return "transposes and copies"
    way = "backward" if "transpose(" in op_name else "forward"
    for primitive, what in (("conv_general_dilated", "convolutions"), ("dot_general", "products")):
        if primitive in op_name:
            return f"{what}, {way}"
    return f"elementwise, pooling, normalization, {way}"
