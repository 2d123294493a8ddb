"""The adapted relation network of FSS-1000 (Li et al., CVPR 2020), as printed and as released.

One encoder reads RGB plus a fourth channel: the mask of a support image, zeros for a query. Deep
maps of both meet in a relation module; a decoder with skip connections draws the query's mask.
The paper and the release differ in almost every module (protocols.md B.3), so both are here:

  | form     | relation convs | upsampling             | convs a block | skips             | K shots |
  | paper    | 1x1            | nearest                | one           | support and query | mean    |
  | release  | 3x3            | bilinear align_corners | two           | query             | sum     |

The paper's main text is silent on BatchNorm; here both forms normalize after every convolution.
Because the release sums over shots, its feature grows with K: a model serves the K it was trained
with. Its BatchNorm never leaves training mode: support and query are each normalized by their own
batch, at test too. `batch_norm` says whose batch that is:
  'episode' (default): the K support, or Q query, images of one episode. What the release computes,
    at any number of episodes per step, since the release has one.
  'batch': all support, or query, images on this device: B * K or B * Q. A prediction then depends
    on the episodes that share its step, padding included.
  'running': batch statistics in training, running averages at test. The release keeps only the last
    batch's statistics in relation and decoder (`momentum` 0); set 0.9 for useful averages.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.methods import backbones
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import (
    Conv,
    ConvNorm,
    nearest_x2,
    recomputed,
    resize,
    scaled,
)

FORMS = ("paper", "release")
SOURCES = ("torchvision", "keras")
STRIDE = 32


class Plan(NamedTuple):
    """How wide things are.

    Attributes:
      relation: channels of the two relation convolutions.
      blocks: channels of each decoder block's convolutions; the paper form keeps the last.
    """

    relation: tuple[int, int]
    blocks: tuple[tuple[int, ...], ...]


# Of ResNet-101, in the co-author's repository of 2018. InceptionV3's was never released, and the
# supplement that describes it is not available: it has the same, as any other backbone.
DEEP = Plan((2048, 1024), ((512, 512), (256, 256), (128, 64), (64, 64), (64,)))
PLANS = {
    "vgg16": Plan((512, 512), ((512, 512), (256, 256), (128, 128), (64, 64), (64,))),
}


class RelationNetwork(Method):
    """The adapted relation network; see the module's text.

    Attributes:
      backbone: 'vgg16' (with BatchNorm), 'resnet101', or another that has a `pyramid`.
      form: 'paper' or 'release'.
      source: 'torchvision' or 'keras', whose weights the backbone is for: Keras' ResNet strides in a
        block's first 1x1 and its InceptionV3 averages without the padding.
      width: channel multiplier of everything.
      batch_norm: 'episode', 'batch' or 'running'.
      momentum: of the running averages in relation and decoder; the encoder's is 0.9.
      preprocessing: a name in imaging.PREPROCESSING.
      axis_name: pmap axis over which training statistics are averaged (see layers.BatchNorm).
      dtype: compute type.
      remat: whether the gradient computes each block of VGG-16 and ResNet-101, and each layer of
        relation and decoder, again instead of keeping its activations.

    Raises:
      ValueError: unknown backbone, form or source; sizes that are no multiples of 32; support and
        query of different sizes.
    """

    backbone: str = "vgg16"
    form: str = "release"
    source: str = "torchvision"
    width: float = 1.0
    batch_norm: str = "episode"
    momentum: float = 0.0
    preprocessing: str = "unit"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    toy = {"width": 1 / 32}
    published_parameters = {"": 32_833_025}  # protocols.md B.1

    @property
    def serves_its_shots_only(self) -> bool:
        """The release sums over shots."""
        return self.form == "release"

    @property
    def built_for(self) -> str:
        """VGG-16 is the same everywhere."""
        return "" if self.backbone == "vgg16" else self.source

    def setup(self):
        if self.form not in FORMS:
            raise ValueError(f"relation network form {self.form!r}: choose {' or '.join(FORMS)}")
        if self.source not in SOURCES:
            raise ValueError(
                f"relation network source {self.source!r}: choose {' or '.join(SOURCES)}"
            )
        shared = {
            "batch_norm": self.batch_norm,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }
        backbone = backbones.get(self.backbone, "pyramid")
        self.skips = backbone.skips
        self.encoder = backbone.pyramid(
            width=self.width, remat=self.remat, source=self.source, **shared
        )

        def block(channels, kernel):
            return [
                ConvNorm(scaled(c, self.width), kernel, momentum=self.momentum, **shared)
                for c in channels
            ]

        plan = PLANS.get(self.backbone, DEEP)
        paper = self.form == "paper"
        self.relation = block(plan.relation, 1 if paper else 3)
        self.decoder = [block(c[-1:] if paper else c, 3) for c in plan.blocks]
        self.score = Conv(1, 1, dtype=self.dtype)

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Any]:
        """Encodes the support set once.

        Args:
          support_image: RGB in 0..255.
          support_mask: 1 on the object, 0 elsewhere.
          train: whether to update the running averages.
        Returns:
          'feature' [b, h/32, w/32, c], merged over shots; 'skips', the support's maps averaged over
          shots for each decoder block, in the paper form (empty in the release form).
        """
        feature, skips = self._encode(support_image, support_mask, train)
        skips = [] if self.form == "release" else [s for s in skips if s is not None]
        return self.merge({"feature": feature, "skips": skips})

    def merge(self, tasks: dict[str, Any]) -> dict[str, Any]:
        """The task of K supports from their tasks: every leaf [b, k, ...] becomes [b, ...].

        Each support's own task is that of `condition` with it alone, unless they are normalized
        together (batch_norm 'episode' or 'batch').
        """
        over = jnp.sum if self.form == "release" else jnp.mean
        return jax.tree.map(lambda leaf: over(leaf, axis=1), tasks)

    def segment(
        self, task: dict[str, Any], query_image: Float[Array, "b q h w 3"], *, train: bool = False
    ) -> Float[Array, "b q h w"]:
        """Logits (before the sigmoid) of the object in each query image, RGB in 0..255."""
        empty = jnp.zeros(query_image.shape[:-1], query_image.dtype)
        feature, skips = self._encode(query_image, empty, train)
        if feature.shape[2:] != task["feature"].shape[1:]:
            support = [STRIDE * n for n in task["feature"].shape[1:3]]
            raise ValueError(
                f"query images of {query_image.shape[2]}x{query_image.shape[3]} pixels with support "
                f"images of {support[0]}x{support[1]}: warp both to one size"
            )
        x = _join(task["feature"], feature)
        x = self._layers(lambda net: net.relation, x, train)
        support_skips = list(task["skips"])
        for number, skip in enumerate(skips):
            if self.form == "paper":
                x = nearest_x2(x)
            else:
                x = resize(x, (2 * x.shape[-3], 2 * x.shape[-2]), align_corners=True)
            if skip is not None:
                if support_skips:
                    skip = _join(support_skips.pop(0), skip)
                x = jnp.concatenate([x, skip], -1)
            x = self._layers(lambda net, number=number: net.decoder[number], x, train)
        return self.score(x)[..., 0].astype(jnp.float32)

    def _layers(
        self, block: Callable[[nn.Module], list[nn.Module]], x: Array, train: bool
    ) -> Array:
        """x through a block's layers."""
        for index in range(len(block(self))):

            def layer(net, x, index=index):
                return block(net)[index](x, train=train)

            x = recomputed(layer, self.remat)(self, x)
        return x

    def _encode(self, image: Array, mask: Array, train: bool) -> tuple[Array, list[Array | None]]:
        """The deepest map and the maps for the decoder's skips, all [b, n, ...]."""
        height, width = image.shape[2:4]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"images of {height}x{width} pixels: the relation network needs multiples of "
                f"{STRIDE}, for instance 224x224"
            )
        image = imaging.normalize(image, self.preprocessing)
        mask = mask[..., None].astype(image.dtype)
        feature, maps = self.encoder(jnp.concatenate([image, mask], -1), train=train)
        return feature, [maps[name] if name else None for name in self.skips]


def _join(task: Float[Array, "b h w c"], query: Float[Array, "b q h w d"]) -> Array:
    """Puts a task's map before each query's own channels."""
    task = jnp.broadcast_to(task[:, None], query.shape[:-1] + task.shape[-1:])
    return jnp.concatenate([task, query], -1)


METHOD = RelationNetwork
