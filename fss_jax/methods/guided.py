"""Guided networks with late global fusion (Rakelly et al., ICLR workshop 2018; Shelhamer's revolver).

The support's annotations, positive and negative, pool its features into one vector each; the vector
is tiled beside the query's features and a small head scores how well each cell matches it. Positive
against negative score decides. Annotations may be dense masks or a few points; vectors of any number
of shots are averaged, and more can be added later (`update`).

The text leaves the network open; this is the released few-shot model: an FCN-32s VGG-16 up to fc6,
256 channels ("lite"), and a head of fc7 and score shared by both annotations.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.methods import backbones
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import Conv, Window, cells, he_fan_out, masked_average, scaled, split

# The release pads conv1_1 by 81, so that the first cell of fc6 lies over the image's corner.
GEOMETRIES = {
    "release": cells.Geometry(stride=32, pad=81),
    "dilated8": cells.GEOMETRIES["dilated8"],
    "dilated4": cells.GEOMETRIES["dilated4"],
}
FC6_SIZE = 7
EPSILON = 1e-6 * 32**2  # the release adds 1e-6 to an area in cells


class GuidedNetwork(Method):
    """Guided networks; see the module's text.

    Attributes:
      backbone: 'vgg16' as released, or another whose cells cover an image: 'squeezenet1_0' is light
        enough for a CPU.
      geometry: how features lie over an image: 'release' (stride 32), 'dilated8' or 'dilated4' of
        vgg16; 'covering' for others ('squeezenet' is the same in configs of earlier versions).
      norm, batch_norm: of the backbone vgg16 only; see vgg.VGG.
      width: channel multiplier, also of `hidden`.
      hidden: channels of fc6 and so of a guide: 256 in the release's "lite" models, 4096 in others.
      init_std: of fc6 and fc7 at the start, the release's 0.001; 0: He's, for training from scratch.
        The score starts at zero.
      dropout: rate at which channels of fc6 and fc7 are dropped.
      preprocessing: a name in imaging.PREPROCESSING.
      dtype: compute type of features and head; guides and logits are float32.
      axis_name: pmap axis of BatchNorm in training.

    Raises:
      ValueError: an unknown backbone or geometry, or two that do not go together.
    """

    backbone: str = "vgg16"
    geometry: str = "release"
    norm: str = "none"
    batch_norm: str = "running"
    width: float = 1.0
    hidden: int = 256
    init_std: float = 0.001
    dropout: float = 0.5
    preprocessing: str = "caffe"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    takes_undecided = True
    toy = {"width": 1 / 32, "hidden": 256}

    def setup(self):
        light = self.backbone != "vgg16"
        if light:
            backbone = backbones.get(self.backbone, "covering")
            if self.geometry not in ("squeezenet", cells.COVERING) or self.norm != "none":
                raise ValueError(
                    f"backbone {self.backbone!r} with geometry {self.geometry!r} and norm "
                    f"{self.norm!r}: it goes with geometry {cells.COVERING} and norm none"
                )
            self.layout = cells.geometry(cells.COVERING, backbone.stride)
            self.encoder = backbone.covering(
                width=self.width, dtype=self.dtype, axis_name=self.axis_name
            )
        else:
            if self.geometry not in GEOMETRIES:
                raise ValueError(
                    f"geometry {self.geometry!r}: choose one of {', '.join(GEOMETRIES)}"
                )
            self.layout = GEOMETRIES[self.geometry]
            self.encoder = VGG(
                width=self.width,
                norm=self.norm,
                batch_norm=self.batch_norm,
                stride=self.layout.stride,
                pad=self.layout.pad,
                hidden=0,
                dtype=self.dtype,
                axis_name=self.axis_name,
            )
        channels = scaled(self.hidden, self.width)
        init = nn.initializers.normal(self.init_std) if self.init_std else he_fan_out
        # FCN-32s' windows stay inside the map; dilated ones keep its size.
        inside = not light and self.layout.stride == 32
        dilation = max(1, 32 // self.layout.stride)
        self.fc6 = Window(
            channels, FC6_SIZE, dilation, same=not inside, kernel_init=init, dtype=self.dtype
        )
        self.fc7 = Conv(2 * channels, 1, kernel_init=init, dtype=self.dtype)
        self.score = Conv(1, 1, kernel_init=nn.initializers.zeros, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(-3, -2))

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Array]:
        """What the support says about background and object.

        Args:
          support_image: RGB in 0..255.
          support_mask: 1 object, 0 background, -1 undecided (sparse annotation).
        Returns:
          'guide' [b, 2, c]: mean features of (background, object) over the shots that mark any of
          it; 'shots' [b, 2]: their number.
        """
        features = self._encode(support_image, train)
        center = self._first_center()
        rows, cols = (
            cells.interpolation(size, count, self.layout, center)
            for size, count in zip(support_mask.shape[-2:], features.shape[-3:-1], strict=True)
        )
        foreground, background = split(support_mask)
        annotation = jnp.stack([background, foreground], 1)  # [b, 2, k, h, w]
        tiled = jnp.broadcast_to(features[:, None], (features.shape[0], 2, *features.shape[1:]))
        pooled = masked_average(tiled, annotation, rows, cols, EPSILON)
        marked = (annotation.sum((-1, -2)) > 0).astype(jnp.float32)
        shots = marked.sum(2)
        guide = (marked[..., None] * pooled).sum(2) / jnp.maximum(shots, 1.0)[..., None]
        return {"guide": guide, "shots": shots}

    def update(
        self,
        task: dict[str, Array],
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
    ) -> dict[str, Array]:
        """The task with more annotated images, or with more annotation of a query seen meanwhile."""
        new = self.condition(support_image, support_mask)
        shots = task["shots"] + new["shots"]
        total = sum(t["guide"] * t["shots"][..., None] for t in (task, new))
        return {"guide": total / jnp.maximum(shots, 1.0)[..., None], "shots": shots}

    def segment(
        self,
        task: dict[str, Array],
        query_image: Float[Array, "b q h w 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits of the object: the score with its guide minus the score with the background's."""
        x = self._encode(query_image, train)[:, :, None]
        shape = (*x.shape[:2], 2, *x.shape[3:])
        guide = task["guide"].astype(x.dtype)[:, None, :, None, None]
        x = jnp.concatenate([jnp.broadcast_to(x, shape), jnp.broadcast_to(guide, shape)], -1)
        x = self.drop(nn.relu(self.fc7(x)), deterministic=not train)
        scores = self.score(x)[..., 0].astype(jnp.float32)
        score = scores[:, :, 1] - scores[:, :, 0]
        return cells.upsample(score, self.layout, self._first_center(), query_image.shape[2:4])

    def _encode(self, image: Array, train: bool) -> Array:
        x, _ = self.encoder(imaging.normalize(image, self.preprocessing), train=train)
        return self.drop(nn.relu(self.fc6(x)), deterministic=not train)

    def _first_center(self) -> float:
        """Where the first cell of fc6 lies, in pixels: past the trunk's by half a window inside."""
        inside = self.backbone == "vgg16" and self.layout.stride == 32
        trunk = backbones.first_center(self.encoder, self.layout.stride)
        return trunk + (32 * (FC6_SIZE - 1) / 2 if inside else 0.0)


METHOD = GuidedNetwork
