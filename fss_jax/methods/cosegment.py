"""Co-segmentation by composition (Faktor and Irani, ICCV 2013), from its description; no masks.

An object that several images share is what one image can be composed of from regions of another,
while the background's parts are found nowhere else or everywhere. Regions that match well although
they are rare vote for the cells that they cover; images exchange their votes along the matches.

Simplified, against the paper:
- regions are squares of cells that move as one, instead of regions of any shape;
- the search is PatchMatch's (random guesses, the neighbors' offsets, ever nearer random offsets) per
  ordered pair of images, without sampling across the whole collection;
- the support's images exchange among themselves, and then with the query, never with other queries;
- the last step is a color model and smoothing instead of GrabCut.
Nothing is learned.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax.methods.contract import Method
from fss_jax.methods.layers import resize

BINS = 9  # orientations of the descriptor
COLORS = 8  # bins per color channel
NEIGHBORS = ((0, 1), (0, -1), (1, 0), (-1, 0))


class CoSegmentation(Method):
    """Segments what a query has in common with the support images. Support masks are not looked at.

    An image without any gradient has no descriptors, so nothing in it is found.

    Attributes:
      cell: pixels per side of a descriptor's cell.
      radius: a region reaches so many cells to each side.
      rounds: of the search.
      words: size of the codebook that says how rare a descriptor is.
      exchanges: how often images pass on their votes.
      color: weight of the color model against the votes.
      seed: of the search.
      preprocessing: only its mean color is used, by callers, to fill borders.
      dtype, axis_name: unused; everything is float32.
    """

    cell: int = 8
    radius: int = 2
    rounds: int = 6
    words: int = 64
    exchanges: int = 3
    color: float = 0.5
    seed: int = 0
    preprocessing: str = "unit"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    trained = False
    any_shots = False
    takes_undecided = True  # it looks at no mask
    order_matters = True  # a region of one image is searched for in the others
    toy = {"words": 8, "rounds": 1, "exchanges": 1}

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Float[Array, "b k rows cols ..."]]:
        """The support's 'descriptor' map and the 'votes' that its images give each other."""
        return jax.vmap(self._condition)(support_image)

    def segment(
        self,
        task: dict[str, Float[Array, "b k rows cols ..."]],
        query_image: Float[Array, "b q h w 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits: votes above the level that parts them best (Otsu), sharpened by color."""
        each = jax.vmap(self._segment, (None, 0))
        return jax.vmap(each)(task, query_image)

    def _condition(self, images: Float[Array, "k h w 3"]) -> dict[str, Array]:
        maps = jax.vmap(lambda image: descriptors(image, self.cell))(images)
        shots = len(maps)
        votes = jnp.zeros(maps.shape[:3])
        if shots > 1:
            others = jnp.asarray([[j for j in range(shots) if j != i] for i in range(shots)])
            own, match = jax.vmap(lambda one, rest: self._votes(one, maps[rest]))(maps, others)
            votes = own
            for _ in range(self.exchanges):
                votes = jax.vmap(lambda o, m, rest, votes=votes: exchange(o, m, votes[rest]))(
                    own, match, others
                )
        return {"descriptor": maps, "votes": votes}

    def _segment(self, task: dict[str, Array], image: Float[Array, "h w 3"]) -> Array:
        query = descriptors(image, self.cell)
        own, match = self._votes(query, task["descriptor"])
        votes = own
        if len(task["votes"]) > 1:
            votes = exchange(own, match, task["votes"])
        level = votes - otsu(votes)
        level = level / jnp.maximum(jnp.abs(level).max(), 1e-6)
        height, width = image.shape[:2]
        stretched = _stretch(level, height, width, self.cell)
        return stretched + self.color * color_model(image, stretched, 2 * self.cell + 1)

    def _votes(
        self, one: Float[Array, "rows cols d"], others: Float[Array, "n rows2 cols2 d"]
    ) -> tuple[Float[Array, "rows cols"], Int[Array, "n rows cols 2"]]:
        """What an image's regions that recur in other images say of its cells, and where they recur."""
        key = jax.random.key(self.seed)
        book = codebook(
            jnp.concatenate([one.reshape(-1, one.shape[-1]), _flat(others)]), self.words
        )
        rarity = jnp.square(one[..., None, :] - book[None, None]).sum(-1).min(-1)

        def pair(other):
            match, error = search(one, other, key, self.radius, self.rounds)
            inside = box_area(one.shape[:2], self.radius)
            saved = jnp.maximum(box(rarity, self.radius) - error, 0.0)
            return box(saved / inside, self.radius) / inside, match

        votes, match = jax.vmap(pair)(others)
        return votes.mean(0), match


def descriptors(image: Float[Array, "h w 3"], cell: int) -> Float[Array, "rows cols 36"]:
    """Histograms of oriented gradients (Dalal and Triggs 2005): 2x2 cells, 9 orientations, L2.

    Args:
      image: RGB in 0..255.
      cell: pixels per side; the image is continued by its border to whole cells.
    """
    pads = [(0, -size % cell) for size in image.shape[:2]]
    image = jnp.pad(image / 255.0, [*pads, (0, 0)], mode="edge")
    down, across = jnp.gradient(image, axis=(0, 1))
    size = jnp.hypot(down, across)
    best = size.argmax(-1, keepdims=True)
    size, down, across = (jnp.take_along_axis(x, best, -1)[..., 0] for x in (size, down, across))
    # Two orientations share a gradient according to its angle.
    angle = jnp.mod(jnp.arctan2(down, across), jnp.pi) * (BINS / jnp.pi)
    turn = jnp.abs(angle[..., None] - jnp.arange(BINS)[None, None])
    share = jnp.maximum(1.0 - jnp.minimum(turn, BINS - turn), 0.0) * size[..., None]
    rows, cols = (length // cell for length in image.shape[:2])
    cells = share.reshape(rows, cell, cols, cell, BINS).mean((1, 3))
    cells = jnp.pad(cells, ((0, 1), (0, 1), (0, 0)), mode="edge")
    corners = (cells[i : i + rows, j : j + cols] for i in (0, 1) for j in (0, 1))
    block = jnp.concatenate(list(corners), -1)
    # Weak gradients stay weak: noise is not to look like structure.
    return block * jax.lax.rsqrt(jnp.square(block).sum(-1, keepdims=True) + 1e-4)


def codebook(vectors: Float[Array, "n d"], words: int, rounds: int = 5) -> Float[Array, "m d"]:
    """k-means from evenly spaced vectors: frequent descriptors lie near a word, rare ones do not."""
    picks = np.linspace(0, len(vectors) - 1, min(words, len(vectors))).astype(int)
    book = vectors[picks]
    for _ in range(rounds):
        square = jnp.square(book).sum(-1)[None, :] - 2 * vectors @ book.T
        member = jax.nn.one_hot(square.argmin(-1), len(book))
        count = member.sum(0)[:, None]
        book = jnp.where(count > 0, member.T @ vectors / jnp.maximum(count, 1.0), book)
    return book


def box(values: Float[Array, "rows cols"], radius: int) -> Float[Array, "rows cols"]:
    """Sums over squares of 2 radius + 1; outside is zero."""
    rows, cols = (jnp.asarray(_band(size, radius)) for size in values.shape)
    return jnp.einsum("ab,bc,cd->ad", rows, values, cols, precision=jax.lax.Precision.HIGHEST)


def box_area(shape: tuple[int, int], radius: int) -> Float[Array, "rows cols"]:
    """How many places inside each of `box`'s squares has."""
    rows, cols = (_band(size, radius).sum(0) for size in shape)
    return jnp.asarray(np.outer(rows, cols))


def _band(size: int, radius: int) -> np.ndarray:
    index = np.arange(size)
    return (np.abs(index[:, None] - index) <= radius).astype(np.float32)


def region_error(
    one: Float[Array, "rows cols d"],
    other: Float[Array, "rows2 cols2 d"],
    match: Int[Array, "rows cols 2"],
    radius: int,
) -> Float[Array, "rows cols"]:
    """The summed squared error of each cell's region, laid over `other` at the cell's match.

    Cells that leave `other` are compared with its border, those that leave `one` do not count.
    """
    rows, cols = one.shape[:2]
    shifts = [(i, j) for i in range(-radius, radius + 1) for j in range(-radius, radius + 1)]
    limit = jnp.asarray(other.shape[:2]) - 1

    def tap(total, shift):
        at = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij"), -1)
        at = at + shift[None, None, :]
        inside = ((at >= 0) & (at < jnp.asarray([rows, cols])[None, None, :])).all(-1)
        mine = one[at[..., 0] % rows, at[..., 1] % cols]
        there = jnp.clip(match + shift[None, None, :], 0, limit[None, None, :])
        error = jnp.square(mine - other[there[..., 0], there[..., 1]]).sum(-1)
        return total + jnp.where(inside, error, 0.0), None

    return jax.lax.scan(tap, jnp.zeros((rows, cols)), jnp.asarray(shifts))[0]


def search(
    one: Float[Array, "rows cols d"],
    other: Float[Array, "rows2 cols2 d"],
    key: Array,
    radius: int,
    rounds: int,
) -> tuple[Int[Array, "rows cols 2"], Float[Array, "rows cols"]]:
    """Where in `other` each cell's region recurs best, by randomized search; and its error there."""
    shape, limit = one.shape[:2], jnp.asarray(other.shape[:2])
    start = jax.random.randint(jax.random.fold_in(key, 0), (*shape, 2), 0, limit[None, None, :])
    state = (start, region_error(one, other, start, radius))

    def better(state, candidate):
        match, error = state
        candidate = jnp.clip(candidate, 0, limit[None, None, :] - 1)
        found = region_error(one, other, candidate, radius)
        closer = found < error
        return jnp.where(closer[..., None], candidate, match), jnp.where(closer, found, error)

    def turn(state, number):
        for shift in NEIGHBORS:
            # What fits the cell beside this one fits here, one cell further.
            beside = jnp.roll(state[0], shift, (0, 1)) + jnp.asarray(shift)[None, None, :]
            state = better(state, beside)
        reach = jnp.maximum(limit * 0.5**number, 1.0)[None, None, :]
        noise = jax.random.uniform(jax.random.fold_in(key, number + 1), (*shape, 2), minval=-1.0)
        return better(state, state[0] + jnp.round(noise * reach).astype(jnp.int32)), None

    return jax.lax.scan(turn, state, jnp.arange(rounds))[0]


def exchange(
    own: Float[Array, "rows cols"],
    match: Int[Array, "n rows cols 2"],
    votes: Float[Array, "n rows2 cols2"],
) -> Float[Array, "rows cols"]:
    """An image's votes, averaged with those of the places in other images that its regions match."""
    theirs = jax.vmap(lambda vote, to: vote[to[..., 0], to[..., 1]])(votes, match)
    return (own + theirs.mean(0)) / 2


def otsu(values: Float[Array, "rows cols"]) -> Float[Array, ""]:
    """The level that splits values into the two groups that differ most (Otsu 1979)."""
    ordered = jnp.sort(values.ravel())
    below = jnp.arange(1, len(ordered))
    low = jnp.cumsum(ordered)[:-1] / below
    high = (ordered.sum() - jnp.cumsum(ordered)[:-1]) / (len(ordered) - below)
    cut = (below * (len(ordered) - below) * jnp.square(high - low)).argmax()
    return (ordered[cut] + ordered[cut + 1]) / 2


def color_model(
    image: Float[Array, "h w 3"], level: Float[Array, "h w"], window: int
) -> Float[Array, "h w"]:
    """How much more frequent a pixel's color is where the level is positive, smoothed; -1 to 1."""
    index = jnp.clip(image * (COLORS / 256.0), 0, COLORS - 1).astype(jnp.int32)
    index = ((index[..., 0] * COLORS + index[..., 1]) * COLORS + index[..., 2]).ravel()
    weight = jnp.stack([jnp.maximum(level, 0.0), jnp.maximum(-level, 0.0)], -1).reshape(-1, 2)
    count = jnp.zeros((COLORS**3, 2)).at[index].add(weight)
    share = count / jnp.maximum(count.sum(0, keepdims=True), 1e-6)
    ratio = (share[:, 0] - share[:, 1]) / jnp.maximum(share.sum(-1), 1e-6)
    radius = window // 2
    return box(ratio[index].reshape(level.shape), radius) / box_area(level.shape, radius)


def _stretch(level: Float[Array, "rows cols"], height: int, width: int, cell: int) -> Array:
    whole = (level.shape[0] * cell, level.shape[1] * cell)
    return resize(level[..., None], whole, align_corners=False)[:height, :width, 0]


def _flat(maps: Float[Array, "n h w d"]) -> Float[Array, "m d"]:
    return maps.reshape(-1, maps.shape[-1])


METHOD = CoSegmentation
