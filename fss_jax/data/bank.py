"""A split's pixels in device memory, and the gather that turns records into episodes there."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from PIL import Image
from tqdm import tqdm

from fss_jax.data import imaging
from fss_jax.data.datasets import Split
from fss_jax.data.encoded import Encoded

VOIDS = ("background", "ignore")  # what void pixels count as, see `gather`


@flax.struct.dataclass
class Bank:
    """N images on one fixed canvas, and the M items that point into them.

    Made in host memory; replicated over devices it has a leading axis *d.

    Attributes:
      images: RGB, each image in its canvas's top-left corner.
      labels: label maps (0 background, 255 void).
      sizes: true (height, width).
      item_image: index of each item's image.
      item_value: the label value that marks each item's class.
    """

    images: UInt8[Array | np.ndarray, "*d n s s 3"]
    labels: UInt8[Array | np.ndarray, "*d n s s"]
    sizes: Int[Array | np.ndarray, "*d n 2"]
    item_image: Int[Array | np.ndarray, "*d m"]
    item_value: Int[Array | np.ndarray, "*d m"]


@flax.struct.dataclass
class Episode:
    """The pixels of B records. Images are RGB in 0..255; masks and valid are 0 or 1.

    Attributes:
      support_image, query_image: from a bank of features (fss_jax.data.feature_bank), those.
      query_valid: 0 where a pixel does not count: outside the image, or void if the protocol says so.
      query_size: true (height, width) of the queries.
    """

    support_image: Float[Array | np.ndarray, "b k h w 3"] | Encoded
    support_mask: Float[Array | np.ndarray, "b k h w"]
    query_image: Float[Array | np.ndarray, "b q H W 3"] | Encoded
    query_mask: Float[Array | np.ndarray, "b q S T"]
    query_valid: Float[Array | np.ndarray, "b q S T"]
    query_size: Int[Array | np.ndarray, "b q 2"]


def draw(split: Split, index: int, canvas: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Decodes an image of a split; see `lay`."""
    return lay(*split.read(index), canvas)


def lay(
    rgb: UInt8[np.ndarray, "h w 3"], label: UInt8[np.ndarray, "h w"], canvas: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Puts an image on a canvas; one that is larger is shrunk, aspect ratio kept.

    Returns:
      uint8 [canvas, canvas, 3], uint8 [canvas, canvas], (height, width) on the canvas.
    """
    scale = canvas / max(label.shape)
    if scale < 1.0:
        height, width = (max(1, round(side * scale)) for side in label.shape)
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
        label = np.asarray(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST))
    height, width = label.shape
    image_canvas = np.zeros((canvas, canvas, 3), np.uint8)
    label_canvas = np.zeros((canvas, canvas), np.uint8)
    image_canvas[:height, :width] = rgb
    label_canvas[:height, :width] = label
    return image_canvas, label_canvas, (height, width)


def canvas_bytes(images: int, canvas: int) -> int:
    """Device memory of a bank of that many images."""
    return images * canvas * canvas * 4


def shapes(split: Split, canvas: int, rows: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The fields of a bank of `rows` images of a split, in their order, without the pixels."""
    pixels, items = (rows, canvas, canvas), split.item_image.shape
    return (
        jax.ShapeDtypeStruct((*pixels, 3), jnp.uint8),
        jax.ShapeDtypeStruct(pixels, jnp.uint8),
        jax.ShapeDtypeStruct((rows, 2), jnp.int32),
        jax.ShapeDtypeStruct(items, jnp.int32),
        jax.ShapeDtypeStruct(items, jnp.int32),
    )


def load_bank(split: Split, canvas: int, indices: Sequence[int] | None = None) -> Bank:
    """Decodes a split (or the images `indices` of it) into a bank in host memory.

    With `indices`, items keep their numbers and point at the subset; items of other images are
    invalid (image -1) and must not be gathered.
    """
    wanted = range(len(split.image_ids)) if indices is None else indices
    bank = Bank(
        images=np.empty((len(wanted), canvas, canvas, 3), np.uint8),
        labels=np.empty((len(wanted), canvas, canvas), np.uint8),
        sizes=np.empty((len(wanted), 2), np.int32),
        item_image=split.item_image,
        item_value=split.item_value,
    )

    def fill(row: int, index: int) -> None:
        bank.images[row], bank.labels[row], bank.sizes[row] = draw(split, index, canvas)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            tqdm(
                pool.map(fill, range(len(wanted)), wanted),
                total=len(wanted),
                desc=f"decode {split.name}",
                unit="img",
                disable=len(wanted) < 500,
                leave=False,
            )
        )
    if indices is not None:
        row_of = np.full(len(split.image_ids), -1, np.int32)
        row_of[np.asarray(indices)] = np.arange(len(indices))
        bank = bank.replace(item_image=row_of[split.item_image])
    return bank


def gather(
    bank: Bank,
    support: Int[Array | np.ndarray, "b k"],
    query: Int[Array | np.ndarray, "b q"],
    *,
    support_size: int,
    query_size: int,
    score_size: int,
    fill: tuple[float, float, float],
    void: str,
) -> Episode:
    """Cuts the episodes of B records out of a bank, inside a compiled function.

    Args:
      support, query: item indices.
      support_size, query_size: sides in pixels that images are warped to; query_size 0 leaves the
        query at its true size on the canvas (its surroundings filled).
      score_size: the same for the query's mask and valid map.
      fill: color outside an image, RGB in 0..255; a method's mean color.
      void: 'background' counts void pixels as background, 'ignore' leaves them out. In a support
        mask they are background either way.
    """

    def image_of(item, size):
        index = bank.item_image[item]
        image, true_size = bank.images[index], bank.sizes[index]
        if size:
            return imaging.warp(image, true_size, size, fill)
        surroundings = jnp.asarray(fill).reshape(1, 1, 3)
        known = imaging.inside(true_size, image.shape[0])[..., None]
        return jnp.where(known, image.astype(jnp.float32), surroundings)

    def label_of(item, size):
        index = bank.item_image[item]
        label, true_size = bank.labels[index], bank.sizes[index]
        if size:
            label = imaging.warp_label(label, true_size, size)
            valid = jnp.ones(label.shape, bool)
        else:
            valid = imaging.inside(true_size, label.shape[0])
        if void == "ignore":
            valid &= label != imaging.VOID
        mask = label == bank.item_value[item].astype(jnp.uint8)
        return (mask & valid).astype(jnp.float32), valid.astype(jnp.float32)

    each = jax.vmap(jax.vmap(image_of, (0, None)), (0, None))
    label_each = jax.vmap(jax.vmap(label_of, (0, None)), (0, None))
    query_mask, query_valid = label_each(query, score_size)
    return Episode(
        support_image=each(support, support_size),
        support_mask=label_each(support, support_size)[0],
        query_image=each(query, query_size),
        query_mask=query_mask,
        query_valid=query_valid,
        query_size=bank.sizes[bank.item_image[query]],
    )
