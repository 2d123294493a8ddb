"""Where to cut a picture's scores, so that the mask has the highest IoU to expect.

Of all masks, the one whose expected intersection is the largest part J of its expected union
(Nowozin, "Optimal decisions from probabilistic models: the intersection-over-union case", CVPR
2014). It holds the cells of a probability above J / (1 + J), whose logit is log J: a fixed cut takes
too little of a picture whose cells are all unsure.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# A cell as unlikely as this is background: where every cell is, taking all of them would have the
# highest IoU to expect, and be no answer.
LEAST = 0.1
ROUNDS = 10  # of Dinkelbach's method, which nears the best ratio faster than linearly


def of(
    logits: Float[Array, "*b m"], mask: Bool[Array, "*b m"], area: Float[Array, "*b m"] | float
) -> Float[Array, "*b"]:
    """The IoU to expect of a mask, if the logits are true; `area` is how much each cell counts."""
    likely = jax.nn.sigmoid(logits) * area
    inside = jnp.where(mask, likely, 0.0).sum(-1)
    union = jnp.where(mask, area, likely).sum(-1)
    return inside / jnp.maximum(union, 1e-6)


def cut(
    logits: Float[Array, "*b m"], area: Float[Array, "*b m"] | float = 1.0
) -> Float[Array, "*b"]:
    """Above it the mask's logits lie; 0 where the mask takes nothing."""

    def better(_, ratio):
        return of(logits, logits > jnp.log(ratio)[..., None], area)

    everything = of(logits, jnp.ones_like(logits, bool), area).clip(1e-6)
    best = jax.lax.fori_loop(0, ROUNDS, better, everything).clip(1e-6)
    value = jnp.maximum(jnp.log(best), jnp.log(LEAST / (1 - LEAST)))
    return jnp.where((logits > value[..., None]).any(-1), value, 0.0)
