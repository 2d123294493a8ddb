"""Nearest neighbors: the best few cosines to the object's cells minus those to the background's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fss_jax.methods.layers.directions import unit

SEGMENT = 32  # cells of a bank that give one candidate for "the best few"
SAMPLE = 1024  # of an image's cells of a side tell where the others lie
ROUNDS = 4  # of k-means; more change little
TOGETHER = 512  # query cells whose cosines stay in a CPU's cache until their best are found
ALONE = 1.0  # the score where a support shows no background; its negative where it shows no object


class Bank(NamedTuple):
    """Cells of one side, as many of each support image.

    Attributes:
      cells: unit length; an image with fewer cells of this side has some that are not valid.
      valid: which are.
    """

    cells: Float[Array, "k n d"]
    valid: Bool[Array, "k n"]


def collect(cells: Float[Array, "k m d"], member: Bool[Array, "k m"], count: int) -> Bank:
    """At most `count` cells of unit length that stand for the member cells of each image.

    Cells drawn at random, but always alike, then moved to the middle of those of `SAMPLE` that are
    nearest to them (spherical k-means, `ROUNDS` times): two thirds as many find as much as those drawn
    alone.

    Args:
      count: is rounded up to whole segments; the first ones are filled first.
    """
    count = -(-count // SEGMENT) * SEGMENT
    priority = jax.random.uniform(jax.random.key(0), cells.shape[1:2])
    priority = jnp.where(member, priority[None], -1.0)
    surplus = max(0, count - priority.shape[1])
    priority = jnp.pad(priority, ((0, 0), (0, surplus)), constant_values=-1.0)
    best, index = jax.lax.top_k(priority, min(max(count, SAMPLE), priority.shape[1]))
    valid = best >= 0

    def means(image):  # one image after another: a float a cell and center is enough memory
        own, there = image

        def again(_, centers):
            cosines = jnp.where(there[:count, None], centers @ own.T, -jnp.inf)
            nearest = (cosines == cosines.max(0, keepdims=True)) & there[None]
            taken = nearest.astype(own.dtype) @ own
            return jnp.where(nearest.any(1)[:, None], unit(taken), centers)

        rounds = jnp.where(there.sum() > count, ROUNDS, 0)  # else each cell stands for itself
        return jax.lax.fori_loop(0, rounds, again, own[:count])

    drawn = jnp.minimum(index, cells.shape[1] - 1)
    own = jnp.take_along_axis(cells, drawn[..., None], 1)
    return Bank(jax.lax.map(means, (own, valid)), valid[:, :count])


def merged(bank: Bank, count: int, images: Int[Array, ""] | int) -> Bank:
    """At most `count` cells of all images as those of one: what they cost does not depend on k.

    Args:
      count: is rounded up to whole segments.
      images: that have valid cells at all; each gives as many segments at most.
    """
    k, n, d = bank.cells.shape
    segments, room = n // SEGMENT, -(-count // SEGMENT)
    valid = bank.valid.reshape(k, segments, SEGMENT)
    each = jnp.maximum(room // jnp.maximum(images, 1), 1)
    wanted = valid.any(-1) & (jnp.arange(segments) < each)[None]
    index = jnp.nonzero(wanted.reshape(-1), size=room, fill_value=0)[0]
    there = jnp.arange(room) < wanted.sum()
    chosen = bank.cells.reshape(k * segments, SEGMENT, d)[index]
    valid = valid.reshape(k * segments, SEGMENT)[index] & there[:, None]
    return Bank(chosen.reshape(1, room * SEGMENT, d), valid.reshape(1, -1))


def candidates(query: Float[Array, "m d"], bank: Bank) -> Float[Array, "m k segments"]:
    """The best cosine of each segment of the bank; minus infinity where it has no valid cell.

    The best few of all segments stand for the best few of all cells: a sort of each query cell's
    thousands of cosines would take longer than computing them.
    """
    k, n, d = bank.cells.shape
    cells, valid = bank.cells.reshape(k * n, d), bank.valid.reshape(-1)

    def of(cell):
        cosine = jnp.where(valid, cells @ cell, -jnp.inf)
        return cosine.reshape(k, -1, SEGMENT).max(-1)

    return jax.lax.map(of, query, batch_size=TOGETHER)


def best_mean(
    found: Float[Array, "m k segments"], used: Bool[Array, "k"], few: int
) -> Float[Array, "m"]:
    """The mean of the best few candidates of the images used; minus infinity if there is none."""
    found = jnp.where(used[None, :, None], found, -jnp.inf).reshape(len(found), -1)
    best = jax.lax.top_k(found, min(few, found.shape[1]))[0]
    valid = jnp.isfinite(best)
    mean = jnp.where(valid, best, 0.0).sum(1) / jnp.maximum(valid.sum(1), 1)
    return jnp.where(valid.any(1), mean, -jnp.inf)


def margin(inside: Float[Array, "m"], outside: Float[Array, "m"]) -> Float[Array, "m"]:
    """Object minus background; see ALONE for a side that is not there."""
    alone = jnp.where(jnp.isinf(inside), -ALONE, ALONE)
    return jnp.where(jnp.isinf(inside) | jnp.isinf(outside), alone, inside - outside)


def score(
    query: Float[Array, "m d"], inside: Bank, outside: Bank, few: int = 5
) -> Float[Array, "m"]:
    """Of cells of unit length: positive where the object's cells are nearer."""
    used = jnp.ones(len(inside.cells), bool)
    sides = (best_mean(candidates(query, bank), used, few) for bank in (inside, outside))
    return margin(*sides)


def left_out(
    cells: Float[Array, "k m d"],
    inside: Bank,
    outside: Bank,
    asked: Bool[Array, "k"],
    few: int = 5,
) -> Float[Array, "k m"]:
    """`score` of each support image by the others; with one image, by itself.

    Args:
      asked: the images that are scored; zeros are the answer of others.
    """
    k = len(cells)
    others = ~jnp.eye(k, dtype=bool) if k > 1 else jnp.ones((1, 1), bool)

    def answer(query, used):
        sides = (best_mean(candidates(query, bank), used, few) for bank in (inside, outside))
        return margin(*sides)

    def one(image):  # one after another: the cosines of all would not fit
        query, used, wanted = image
        return jax.lax.cond(wanted, answer, lambda *_: jnp.zeros(len(query)), query, used)

    return jax.lax.map(one, (cells, others, asked))
