"""Is it there, and how good is the mask? From a picture's margins and what the supports agree on.

The weights are regressions on the development photographs: `fss_jax.studies.reliability` fits them,
and tells how well they do on sets that they were not fitted on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.heads import expected_iou

# Below this probability of being there, a picture's mask is emptied: on the development photographs
# that cost one mask in 387 worth keeping (docs/photographs.md).
NOT_HERE = 0.15
TOP = 0.01  # the part of an image's cells whose scores say whether the object is there at all
# Of `known`'s numbers, then an offset; for one support, whose agreement is its own, and for more.
EXPECTED_IOU = {
    1: (1.299, -0.193, -0.227, -0.302, 0.0, -0.497),
    2: (0.757, 0.284, -0.202, -0.152, 0.58, -0.025),
}
PRESENT = {
    1: (1.202, 1.218, -0.088, -2.906, 0.0, -0.453),
    2: (1.409, 1.458, 0.06, -2.058, -0.456, -1.055),
}


class Evidence(NamedTuple):
    """What is known of a picture's answer without its true mask.

    Attributes:
      confidence: the IoU that the mask would have if the probabilities were true.
      peak: the mean logit of the surest cells.
      likely: the mean probability of the image's cells. The mask's part says less: where nothing is
        likely, the best mask of an unlikely object may be large.
    """

    confidence: Float[Array, "*b"]
    peak: Float[Array, "*b"]
    likely: Float[Array, "*b"]


def evidence(logits: Float[Array, "*b m"]) -> Evidence:
    """Of logits per cell; the mask is cut from them by `expected_iou`."""
    mask = logits > expected_iou.cut(logits)[..., None]
    top = jax.lax.top_k(logits, max(1, round(TOP * logits.shape[-1])))[0]
    likely = jax.nn.sigmoid(logits).mean(-1)
    return Evidence(expected_iou.of(logits, mask, 1.0), top.mean(-1), likely)


def known(
    told: Evidence, agreement: Float[Array, "*b"], support_peak: Float[Array, "*b"]
) -> Float[Array, "*b 5"]:
    """What the regressions see of a picture: numbers of about one.

    Args:
      agreement: the supports' mean IoU, each found by the others.
      support_peak: their mean peak, each scored by the others.
    """

    def logit(share):
        share = share.clip(0.02, 0.98)
        return jnp.log(share) - jnp.log1p(-share)

    numbers = (
        logit(told.confidence),
        (told.peak - support_peak) / 2,
        told.peak / 4,
        jnp.log(told.likely + 1e-3) / 2,
        logit(agreement),
    )
    return jnp.stack(jnp.broadcast_arrays(*numbers), -1)


def judged(
    numbers: Float[Array, "*b 5"],
    weights: dict[int, tuple[float, ...]],
    supports: Float[Array, "*#b"] | int,
) -> Float[Array, "*b"]:
    """A regression's answer in 0..1.

    Args:
      numbers: of `known`.
      weights: EXPECTED_IOU or PRESENT.
      supports: how many there are.
    """
    one, more = (jnp.asarray(weights[n], jnp.float32) for n in (1, 2))
    chosen = jnp.where(jnp.asarray(supports)[..., None] > 1, more, one)
    return jax.nn.sigmoid((numbers * chosen[..., :-1]).sum(-1) + chosen[..., -1])
