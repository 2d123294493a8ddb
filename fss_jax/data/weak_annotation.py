"""Weak annotation made from a dense mask: clicks, scribbles, a box (Guided Networks, PANet 4.4).

A mask is 1 on the object and 0 elsewhere. Clicks and scribbles leave the other pixels undecided: -1,
which methods leave out that say so (`takes_undecided`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

UNDECIDED = -1.0
KINDS = ("mask", "points", "scribble", "box")
POINTS = 5  # clicks on the object, and as many beside it


def annotate(
    kind: str, mask: Float[Array, "b k h w"], item: Int[Array, "b k"]
) -> Float[Array, "b k h w"]:
    """The support annotation of a kind, made from dense masks; the same for an item every time.

    Args:
      kind: of KINDS; 'mask' changes nothing.
      item: numbers of the items that the masks are of: their random streams.
    """
    if kind == "mask":
        return mask
    if kind == "box":
        return box(mask)

    def one(mask, item):
        key = jax.random.fold_in(jax.random.key(0), item)
        return points(key, mask, POINTS) if kind == "points" else scribble(key, mask)

    return jax.vmap(jax.vmap(one))(mask, item)


def box(mask: Float[Array, "*b h w"]) -> Float[Array, "*b h w"]:
    """The object's bounding box filled, everything around it background; a dense mask."""
    marked = mask > 0.5

    def spanned(hit: Array) -> Array:
        after = jnp.flip(jnp.cumsum(jnp.flip(hit, -1), -1), -1)
        return (jnp.cumsum(hit, -1) > 0) & (after > 0)

    rows, cols = spanned(marked.any(-1)), spanned(marked.any(-2))
    return (rows[..., :, None] & cols[..., None, :]).astype(mask.dtype)


def points(key: Key[Array, ""], mask: Float[Array, "h w"], count: int) -> Float[Array, "h w"]:
    """`count` random pixels of the object and of the background (all of either, if it has fewer)."""
    annotation = jnp.full(mask.shape, UNDECIDED)
    for side_key, value in zip(jax.random.split(key), (1.0, 0.0), strict=True):
        where, found = _draw(side_key, jnp.abs(mask - value) < 0.5, count)
        old = annotation[where[:, 0], where[:, 1]]
        annotation = annotation.at[where[:, 0], where[:, 1]].set(jnp.where(found, value, old))
    return annotation


def scribble(
    key: Key[Array, ""], mask: Float[Array, "h w"], strokes: int = 3, width: float = 3.0
) -> Float[Array, "h w"]:
    """Straight strokes between random pixels of the object, and of the background, cut at its border.

    PANet's scribbles follow skeletons of the objects; these are simpler.

    Args:
      strokes: on either side.
      width: of a stroke, in pixels.
    """
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, mask.shape), indexing="ij"), -1)
    annotation = jnp.full(mask.shape, UNDECIDED)
    for side_key, value in zip(jax.random.split(key), (1.0, 0.0), strict=True):
        inside = jnp.abs(mask - value) < 0.5
        ends, found = _draw(side_key, inside, 2 * strokes)
        near = jnp.zeros(mask.shape, bool)
        for start, end, there in zip(ends[::2], ends[1::2], found[1::2], strict=True):
            near |= (_distance(grid, start, end) <= width / 2) & there
        annotation = jnp.where(near & inside, value, annotation)
    return annotation


def _draw(key: Array, inside: Array, count: int) -> tuple[Int[Array, "count 2"], Array]:
    """`count` different random pixels of a region, and which of them the region really had."""
    noise = jnp.where(inside, jax.random.uniform(key, inside.shape), -1.0)
    value, index = jax.lax.top_k(noise.ravel(), count)
    return jnp.stack(jnp.unravel_index(index, inside.shape), -1), value >= 0


def _distance(grid: Float[Array, "h w 2"] | Int[Array, "h w 2"], start: Array, end: Array) -> Array:
    """Distance of every pixel to a straight stroke."""
    along = (end - start).reshape(1, 1, 2).astype(jnp.float32)
    offset = (grid - start.reshape(1, 1, 2)).astype(jnp.float32)
    length = jnp.maximum(jnp.square(along).sum(), 1e-6)
    place = jnp.clip((offset * along).sum(-1, keepdims=True) / length, 0.0, 1.0)
    return jnp.sqrt(jnp.square(offset - place * along).sum(-1))
