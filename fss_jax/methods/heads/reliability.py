"""Is it there, and how good is the mask? From a picture's margins and what the supports agree on.

The constants are regressions on the development photographs: `fss_jax.studies.photos` prints what
they are fitted to, and how well they do on sets that they were not fitted on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TOP = 0.01  # the part of an image's cells whose scores say whether the object is there at all


class Evidence(NamedTuple):
    """What is known of a picture's answer without its true mask.

    Attributes:
      confidence: the IoU that the mask would have if the probabilities were true.
      peak: the mean logit of the surest cells.
      area: the mask's part of the image.
    """

    confidence: Float[Array, "*b"]
    peak: Float[Array, "*b"]
    area: Float[Array, "*b"]


def evidence(logits: Float[Array, "*b m"]) -> Evidence:
    """Of logits per cell."""
    probability = jax.nn.sigmoid(logits)
    chosen = logits > 0
    inside = jnp.where(chosen, probability, 0.0).sum(-1)
    union = chosen.sum(-1) + jnp.where(chosen, 0.0, probability).sum(-1)
    top = jax.lax.top_k(logits, max(1, round(TOP * logits.shape[-1])))[0]
    return Evidence(inside / jnp.maximum(union, 1e-6), top.mean(-1), chosen.mean(-1))
