"""1-NN: a query's cell is what the nearest cell of the support is (OSLSM 6; protocols.md A.12)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fss_jax.methods.contract.dense import DenseMethod


class NearestNeighbor(DenseMethod):
    """Exact nearest neighbors by L2 distance between fc7 features.

    A cell's score is its distance to the nearest background cell minus that to the nearest object
    cell: positive where the nearest cell of all is the object's. A support without an object cell
    scores -1 everywhere, one without a background cell 1. The network itself is trained elsewhere.

    Attributes:
      block: support cells that a query is compared with at a time.
    """

    block: int = 2048

    trained = False
    any_shots = False
    stands_on = "fcn"

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Array]:
        """The support's cells: 'features' [b, cells, c] and 'label' [b, cells] (1, 0, -1 none)."""
        features, label = self.encode_support(support_image, support_mask, train=train)
        return {"features": features, "label": label}

    def segment(
        self,
        task: dict[str, Array],
        query_image: Float[Array, "b q h w 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits: the difference of distances, upsampled."""
        x = self.encode(query_image, train=train)
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        distance = jax.vmap(lambda *args: nearest_distances(*args, block=self.block))(
            flat, task["features"], task["label"]
        )
        return self.upsample(margin(distance).reshape(x.shape[:-1]), query_image)


def nearest_distances(
    query: Float[Array, "n c"],
    support: Float[Array, "m c"],
    label: Int[Array, "m"],
    *,
    block: int = 2048,
) -> Float[Array, "n 2"]:
    """The L2 distance of each query to the nearest support of label 0 and of label 1; inf if none.

    Args:
      label: others than 0 and 1 are left out.
      block: supports in one product; memory is n * block numbers.
    """
    # Distances do not depend on the origin, but rounding does: the mean feature is large.
    center = support.mean(0, keepdims=True)
    query, support = query - center, support - center
    block = min(block, len(support))
    surplus = -len(support) % block
    support = jnp.pad(support, ((0, surplus), (0, 0))).reshape(-1, block, support.shape[-1])
    label = jnp.pad(label, (0, surplus), constant_values=-1).reshape(-1, block)

    def closer(best, part):
        some, of = part
        product = jnp.einsum("nc,mc->nm", query, some, precision=jax.lax.Precision.HIGHEST)
        square = jnp.square(some).sum(-1)[None, :] - 2 * product
        found = [jnp.where(of[None, :] == i, square, jnp.inf).min(1) for i in (0, 1)]
        return jnp.minimum(best, jnp.stack(found, -1)), None

    best, _ = jax.lax.scan(closer, jnp.full((query.shape[0], 2), jnp.inf), (support, label))
    return jnp.sqrt(jnp.maximum(best + jnp.square(query).sum(-1, keepdims=True), 0.0))


def margin(distance: Float[Array, "*b 2"]) -> Float[Array, "*b"]:
    """Distance to the background minus distance to the object; 1 or -1 where one is not there."""
    background, found = distance[..., 0], distance[..., 1]
    alone = jnp.where(jnp.isinf(found), -1.0, 1.0)
    return jnp.where(jnp.isinf(background) | jnp.isinf(found), alone, background - found)


METHOD = NearestNeighbor
