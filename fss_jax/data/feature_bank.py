"""A frozen backbone's features of every image of a split, computed once, in place of its pixels.

A step that gathers features from this bank trains a head without running the backbone; they are what
the backbone gives, rounded to the bank's type. They are kept on disk under a name made of everything
that they depend on, one array_record a split, and lie on the device where they fit.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from array_record.python import array_record_module
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from fss_jax.data import imaging
from fss_jax.data.bank import Episode, draw
from fss_jax.data.datasets import Split
from fss_jax.data.encoded import Encoded
from fss_jax.runtime import files

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
BATCH = 4  # images at a time through the backbone


@dataclasses.dataclass(frozen=True)
class Look:
    """How an entry shows its image: mirrored, or its middle enlarged `zoom` times."""

    flip: bool = False
    zoom: float = 1.0

    def source(self, size: int, *, across: bool) -> np.ndarray:
        """[size]: the pixel, in fractions, that each pixel of a side shows."""
        middle = (size - 1) / 2
        place = middle + (np.arange(size) - middle) / self.zoom
        return place[::-1] if self.flip and across else place


def looks(flips: bool, zooms: Sequence[float]) -> tuple[Look, ...]:
    """The entries of each image: itself first.

    Raises:
      ValueError: a zoom below 1, which would show what lies beyond the image.
    """
    if any(zoom < 1 for zoom in zooms):
        raise ValueError(f"feature_zooms {tuple(zooms)}: expected 1 or more")
    sides = (False, True) if flips else (False,)
    return tuple(Look(flip, zoom) for zoom in dict.fromkeys((1.0, *zooms)) for flip in sides)


@flax.struct.dataclass
class FeatureBank:
    """What `bank.Bank` is, with features for images.

    Attributes:
      maps: of each image and entry.
      labels, sizes, item_image, item_value: as of `bank.Bank`.
      size: height and width of the images that the features are of, in pixels.
      entries: how each entry shows its image.
    """

    maps: Mapping[str, Float[Array | np.ndarray, "*d n e _rows _cols _c"]]
    labels: UInt8[Array | np.ndarray, "*d n s s"]
    sizes: Int[Array | np.ndarray, "*d n 2"]
    item_image: Int[Array | np.ndarray, "*d m"]
    item_value: Int[Array | np.ndarray, "*d m"]
    size: tuple[int, int] = flax.struct.field(pytree_node=False)
    entries: tuple[Look, ...] = flax.struct.field(pytree_node=False)


def gather(
    bank: FeatureBank,
    support: Int[Array | np.ndarray, "b k"],
    query: Int[Array | np.ndarray, "b q"],
    *,
    score_size: int,
    void: str,
    key: Array | None = None,
) -> Episode:
    """`bank.gather` with features for images.

    Args:
      score_size: of the query's mask and valid map; 0: true size on the canvas.
      key: draws an entry for each image; without it each image is shown as it is.
    """
    side = bank.size[0]
    count = len(bank.entries) if key is not None else 1
    rows, cols = (
        jnp.asarray([np.floor(e.source(side, across=a) + 0.5) for e in bank.entries], jnp.int32)
        for a in (False, True)
    )

    def drawn(items, number):
        if count == 1:
            return jnp.zeros(items.shape, jnp.int32)
        return jax.random.randint(jax.random.fold_in(key, number), items.shape, 0, count)

    def shown(items, entry):
        index = bank.item_image[items]
        return Encoded(
            {n: x[index, entry].astype(jnp.float32) for n, x in bank.maps.items()}, bank.size
        )

    def label_of(item, entry, size):
        index = bank.item_image[item]
        label, true_size = bank.labels[index], bank.sizes[index]
        valid = imaging.inside(true_size, label.shape[0])
        if size:
            label = imaging.warp_label(label, true_size, size)
            valid = jnp.ones(label.shape, bool)
        if count > 1:
            label = label[rows[entry]][:, cols[entry]]
        if void == "ignore":
            valid &= label != imaging.VOID
        mask = label == bank.item_value[item].astype(jnp.uint8)
        return (mask & valid).astype(jnp.float32), valid.astype(jnp.float32)

    each = jax.vmap(jax.vmap(label_of, (0, 0, None)), (0, 0, None))
    of_support, of_query = drawn(support, 0), drawn(query, 1)
    query_mask, query_valid = each(query, of_query, score_size)
    return Episode(
        support_image=shown(support, of_support),
        support_mask=each(support, of_support, side)[0],
        query_image=shown(query, of_query),
        query_mask=query_mask,
        query_valid=query_valid,
        query_size=bank.sizes[bank.item_image[query]],
    )


@dataclasses.dataclass(frozen=True)
class Stored:
    """A split's features on disk.

    Attributes:
      path: of the array_record: a record an image, all maps in a row.
      shapes: [rows, cols, c] of each map.
      dtype: a key of DTYPES.
      size: height and width of the images, in pixels.
      entries: how each entry shows its image.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    size: tuple[int, int]
    entries: tuple[Look, ...]

    @property
    def bytes_each(self) -> int:
        """Of an image with all its entries."""
        numbers = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return numbers * len(self.entries) * np.dtype(DTYPES[self.dtype]).itemsize

    def read(self, images: Sequence[int]) -> dict[str, np.ndarray]:
        """[n, e, rows, cols, c] of each map, of images of the split.

        Raises:
          ValueError: the file is damaged.
        """
        maps = {n: np.empty(x.shape, x.dtype) for n, x in self.shapes_of(len(images)).items()}
        reader = array_record_module.ArrayRecordReader(str(self.path))
        try:
            for row, image in enumerate(images):
                (record,) = reader.read([int(image)])
                if len(record) != self.bytes_each:
                    raise ValueError(f"{self.path} is damaged: delete it, and it is made again")
                numbers = np.frombuffer(record, DTYPES[self.dtype])
                for x in maps.values():
                    x[row], numbers = (
                        numbers[: x[row].size].reshape(x[row].shape),
                        numbers[x[row].size :],
                    )
        finally:
            reader.close()
        return maps

    def shapes_of(self, images: int) -> dict[str, jax.ShapeDtypeStruct]:
        """What `read` gives of so many images."""
        lead, dtype = (images, len(self.entries)), DTYPES[self.dtype]
        return {n: jax.ShapeDtypeStruct((*lead, *shape), dtype) for n, shape in self.shapes.items()}

    def bank_of(self, *fields: Any) -> FeatureBank:
        """The bank of maps, labels, sizes, item_image and item_value."""
        return FeatureBank(*fields, size=self.size, entries=self.entries)

    def bank(self, split: Split, canvas: int, indices: Sequence[int] | None = None) -> FeatureBank:
        """The bank of a split in host memory, or of its images `indices`; see `bank.load_bank`."""
        wanted = list(range(len(split.image_ids)) if indices is None else indices)
        drawn = [draw(split, index, canvas) for index in wanted]
        item_image = split.item_image
        if indices is not None:
            row_of = np.full(len(split.image_ids), -1, np.int32)
            row_of[np.asarray(wanted)] = np.arange(len(wanted))
            item_image = row_of[item_image]
        return self.bank_of(
            self.read(wanted),
            np.stack([label for _, label, _ in drawn]),
            np.asarray([size for _, _, size in drawn], np.int32),
            item_image,
            split.item_value,
        )


def stored(
    folder: Path,
    split: Split,
    encode: Callable[[Float[Array, "1 n h w 3"]], Encoded],
    *,
    canvas: int,
    size: int,
    fill: tuple[float, float, float],
    entries: tuple[Look, ...],
    dtype: str,
    depends_on: Any,
) -> Stored:
    """The features of a split, read if `folder` has them, else computed and written there.

    Args:
      encode: RGB images in 0..255 to their features.
      canvas: side that images are laid on (larger ones are shrunk); `size`: side in pixels that they
        are then warped to, `fill` beyond their border.
      depends_on: what `encode` is made of, as JSON: weights by their digest.

    Raises:
      ValueError: an unknown dtype, or one that is too small for the features.
    """
    if dtype not in DTYPES:
        raise ValueError(f"features {dtype!r}: expected one of {', '.join(DTYPES)}, or '' for none")
    known = {
        "images": [split.name, *split.image_ids],
        "settings": [canvas, size, fill, dtype, [[e.flip, e.zoom] for e in entries]],
        "depends_on": depends_on,
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    stem = split.name.replace("/", "_").replace(":", "_")
    path = folder / f"{stem}_{digest[:16]}.array_record"
    image = jax.ShapeDtypeStruct((1, 1, size, size, 3), jnp.float32)
    maps = jax.eval_shape(encode, image).maps
    found = Stored(path, {n: m.shape[2:] for n, m in maps.items()}, dtype, (size, size), entries)
    if not path.is_file():
        _write(found, split, encode, canvas, fill)
    return found


def _write(found: Stored, split: Split, encode: Callable, canvas: int, fill: tuple) -> None:
    side = found.size[0]

    @jax.jit
    def run(images, sizes):
        warped = jax.vmap(lambda image, size: imaging.warp(image, size, side, fill))(images, sizes)
        each = jnp.stack([_look(warped, entry) for entry in found.entries], 1)
        seen = encode(each.reshape(1, -1, *each.shape[2:])).maps
        count = len(found.entries)
        dtype = DTYPES[found.dtype]
        return {n: m.reshape(-1, count, *m.shape[2:]).astype(dtype) for n, m in seen.items()}

    with files.replacement(found.path) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
        total = len(split.image_ids)
        with tqdm(total=total, desc=f"features {split.name}", unit="img") as progress:
            for start in range(0, total, BATCH):
                rows = np.minimum(np.arange(start, start + BATCH), total - 1).tolist()
                images, _, sizes = zip(*(draw(split, row, canvas) for row in rows), strict=True)
                maps = run(np.stack(images), np.asarray(sizes, np.int32))
                maps = {name: np.asarray(maps[name]) for name in found.shapes}
                if not all(np.isfinite(x.astype(np.float32)).all() for x in maps.values()):
                    raise ValueError(
                        f"features of {split.name} are not finite or too large for {found.dtype}; "
                        "bfloat16 has the range of float32"
                    )
                for n in range(min(BATCH, total - start)):
                    writer.write(b"".join(x[n].tobytes() for x in maps.values()))
                    progress.update()
        writer.close()
        files.put(temporary, found.path)


def _look(image: Float[Array, "n s s 3"], entry: Look) -> Float[Array, "n s s 3"]:
    side = image.shape[1]
    for axis, across in ((1, False), (2, True)):
        place = entry.source(side, across=across).clip(0, side - 1)
        low = np.floor(place).astype(int)
        shape = [-1 if n == axis else 1 for n in range(4)]
        upper = jnp.asarray(place - low, jnp.float32).reshape(shape)
        high = np.minimum(low + 1, side - 1)
        image = jnp.take(image, low, axis) * (1 - upper) + jnp.take(image, high, axis) * upper
    return image
