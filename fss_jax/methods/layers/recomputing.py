"""Gradients that compute a block again instead of keeping what it held."""

from collections.abc import Callable

import flax.linen as nn


def recomputed(function: Callable, remat: bool) -> Callable:
    """A function of (module, x) whose gradient keeps x and computes again.

    What is no array, such as `train`, must be bound to it before: arguments are traced. Sums over
    devices are kept: they are small, and a second round of messages is not.
    """

    def kept(primitive, *_, **__) -> bool:
        return primitive.name.startswith("psum")

    return nn.remat(function, policy=kept) if remat else function
