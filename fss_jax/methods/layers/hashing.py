"""Weight hashing (OSLSM 4.1; Chen et al. 2015): a few predicted numbers stand for many weights.

Weight i is zeta(i) * x(kappa(i)): a random input with a random sign, both drawn once and for all.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FORMS = ("joint", "separate")


def draw(seed: int, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """kappa (int32, uniform over the inputs) and zeta (int8, -1 or 1) of `outputs` weights.

    No paper or release states its draw (protocols.md A.6); this one is numpy's PCG64.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    kappa = rng.integers(inputs, size=outputs, dtype=np.int32)
    zeta = 2 * rng.integers(2, size=outputs, dtype=np.int8) - 1
    return kappa, zeta


class WeightHash(nn.Module):
    """A fixed map from `inputs` numbers to `outputs` signed copies of them; nothing is trained.

    The tables kappa and zeta are variables of the collection 'hash', so they travel with a
    checkpoint and weights of another draw can be imported. A gather with signs: its gradient is a
    scatter-add, and the [inputs, outputs] matrix that it stands for is never made.

    Attributes:
      outputs: how many weights.
      seed: of the draw.
    """

    outputs: int
    seed: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "*b inputs"]) -> Float[Array, "*b outputs"]:
        tables = draw(self.seed, self.outputs, x.shape[-1])
        kappa = self.variable("hash", "kappa", jnp.asarray, tables[0]).value
        zeta = self.variable("hash", "zeta", jnp.asarray, tables[1]).value
        signs = zeta.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.take(x, kappa, axis=-1) * signs


class ClassifierHash(nn.Module):
    """The weights and the bias of a linear classifier, hashed from the output of a network.

    Attributes:
      features: weights of the classifier.
      form: 'joint' draws weights and bias from one map of features + 1 outputs (OSLSM 4.1);
        'separate' from two maps (the release: rw1s and rb1s).
      seed: of the draw; the bias's own map takes the next one.

    Raises:
      ValueError: an unknown form.
    """

    features: int
    form: str = "separate"
    seed: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b inputs"]
    ) -> tuple[Float[Array, "*b {self.features}"], Float[Array, "*b"]]:
        if self.form == "joint":
            theta = WeightHash(self.features + 1, self.seed, name="theta")(x)
            return theta[..., :-1], theta[..., -1]
        if self.form == "separate":
            w = WeightHash(self.features, self.seed, name="rw1s")(x)
            return w, WeightHash(1, self.seed + 1, name="rb1s")(x)[..., 0]
        raise ValueError(f"hash form {self.form!r}: choose one of {', '.join(FORMS)}")
