"""OSLSM, one-shot learning for semantic segmentation (Shaban et al., BMVC 2017).

A conditioning branch looks at a support image and its mask and puts out the weights of a pixel-wise
logistic regression, which the segmentation branch applies to its features of the query image.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.methods.backbones import first_center, vgg
from fss_jax.methods.contract import Method
from fss_jax.methods.contract.branches import build_backbone, layout
from fss_jax.methods.layers import ClassifierHash, cells, scaled, unit

LOGIT_SCALES = ("none", "sqrt", "cosine")
COSINE = 20.0  # PANet 3.2


class OSLSM(Method):
    """Both branches, their hash and the k-shot rule.

    Variables: params {conditioning, segmentation}, hash {hashing}, and batch_stats with BatchNorm.

    Attributes:
      backbone: of both branches, which share no weights: a name of backbones.table.
      geometry: how the segmentation branch's features lie over the query; see cells.GEOMETRIES.
      blocks, norm: of the backbone vgg16 only; see vgg.VGG.
      width: channel multiplier, also of `hidden`.
      hidden: channels of fc6 and fc7 of both branches, and so of the classifier; SqueezeNet has 512.
      fc6_size: window of the segmentation branch's fc6, in cells; 0: as in the classifier at 224
        pixels, 7 for VGG-16 and 6 for AlexNet.
      num_outputs: what the conditioning branch puts out (fc8) before hashing.
      hash_form, hash_seed: see hashing.ClassifierHash.
      logit_scale: 'none' as published; 'sqrt' divides the logits by the root of the number of
        features, with which small networks train from scratch; 'cosine' compares directions only,
        times 20, for pretrained features of any size.
      preprocessing: a key of imaging.PREPROCESSING.
      dropout: rate after fc6 and fc7 in both branches.
      dtype: compute type; parameters, tasks and logits are float32.
      axis_name: pmap axis of BatchNorm in training.
      remat: whether the gradient computes each block again; of the backbone vgg16 only.

    Raises:
      ValueError: an unknown name in a field; support images of another size than in training.
    """

    backbone: str = "vgg16"
    geometry: str = "release"
    blocks: tuple[tuple[int, int], ...] = vgg.VGG16
    norm: str = "none"
    width: float = 1.0
    hidden: int = 4096
    fc6_size: int = 0
    num_outputs: int = 1000
    hash_form: str = "separate"
    hash_seed: int = 0
    logit_scale: str = "none"
    preprocessing: str = "caffe"
    dropout: float = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    toy = {"width": 1 / 32, "hidden": 256}
    published_parameters = {"conditioning": 138_357_544, "segmentation": 134_260_544}

    def setup(self):
        if self.logit_scale not in LOGIT_SCALES:
            raise ValueError(
                f"logit_scale {self.logit_scale!r}: choose one of {', '.join(LOGIT_SCALES)}"
            )
        self.layout = layout(self)
        self.conditioning = build_backbone(self, dense=False, outputs=self.num_outputs)
        self.segmentation = build_backbone(
            self, outputs=0, stride=self.layout.stride, pad=self.layout.pad
        )
        self.hashing = ClassifierHash(
            scaled(self.hidden, self.width), self.hash_form, self.hash_seed
        )

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Float[Array, "b k ..."]]:
        """Each support image's classifier of pixels: {'w': [b, k, features], 'b': [b, k]}.

        Args:
          support_image: RGB in 0..255.
          support_mask: 1 on the object, 0 elsewhere. What it hides becomes the mean color, since it
            is applied after the mean is subtracted (protocols.md A.4).
        """
        x = imaging.normalize(support_image, self.preprocessing) * support_mask[..., None]
        x, _ = self.conditioning(x, train=train)
        w, b = self.hashing(x[:, :, 0, 0].astype(jnp.float32))
        return {"w": w, "b": b}

    def merge(self, tasks: dict[str, Float[Array, "b k 1 ..."]]) -> dict[str, Array]:
        """The task of K supports from their tasks, which are `condition`'s with each alone."""
        return {name: leaf.squeeze(2) for name, leaf in tasks.items()}

    def segment(
        self,
        task: dict[str, Float[Array, "b k ..."]],
        query_image: Float[Array, "b q height width 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q height width"]:
        """Logits of the object at every pixel, positive inside; features are computed once.

        The maximum over the shots' logits is the union of the masks that each shot alone would give
        (OSLSM 4.4). It is taken after upsampling, with which it does not commute.
        """
        x = imaging.normalize(query_image, self.preprocessing)
        x, _ = self.segmentation(x, train=train)
        w = task["w"].astype(x.dtype)
        if self.logit_scale == "cosine":
            x, w = unit(x), COSINE * unit(w)
        score = jnp.einsum("bqhwc,bkc->bkqhw", x, w, preferred_element_type=jnp.float32)
        score = score + task["b"][:, :, None, None, None]
        if self.logit_scale == "sqrt":
            score = score / x.shape[-1] ** 0.5
        center = first_center(self.segmentation, self.layout.stride)
        return cells.upsample(score, self.layout, center, query_image.shape[2:4]).max(axis=1)


METHOD = OSLSM
