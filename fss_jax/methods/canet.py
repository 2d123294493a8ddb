"""CANet, class-agnostic segmentation (Zhang et al., CVPR 2019).

Mid-level ResNet-50 features (blocks 2 and 3), frozen, are reduced to 256 channels. The support's mean
over the object is tiled beside the query's features and compared by a convolution (section 4.1). An
iterative optimization module reads the comparison and the last prediction (the history mask) and
predicts again, through residual blocks and an ASPP (4.2). With K shots an attention branch weighs
their comparisons (4.3).

Where text and released code differ or are silent, the code decides, with these exceptions:
  - Attention and multi-scale test were never released; the pooling's stride of 2 is our choice.
  - Training's history masks are the predictions that the code stored for this image an epoch before.
    A step here has no such memory: it predicts from an empty history first, without gradient, and
    reads that. As published, 7 of 10 are emptied.
  - The code normalizes frozen features by batch statistics in training; here `batch_norm` says.
Its optimizer trains the head alone: give the encoder's parameters a multiplier of 0, or weight decay
would still shrink them.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.data.encoded import Encoded, size_of
from fss_jax.methods import backbones
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import Conv, max_pool, resize, scaled

CHANNELS = 256  # CANet 4.1
RATES = (6, 12, 18)  # of the ASPP, CANet 4.2
_INIT = nn.initializers.normal(0.01)


class CANet(Method):
    """CANet; see the module's text.

    Attributes:
      backbone: 'resnet50' as published, or another that has a `middle`: 'squeezenet1_0' is light
        enough for a CPU.
      width: channel multiplier of backbone and head.
      channels: of the head at width 1, 256 as published.
      backbone_learns: whether the backbone gets a gradient, as it must from scratch; published: not.
      batch_norm: of the backbone resnet50: 'frozen' (running averages), or 'running' as in the code.
      iterations: refinements after the first prediction at test.
      history_dropout: probability of an empty history mask in training.
      dropout: rate at which channels are dropped after the head's convolutions.
      scales: of the query at test; the sigmoids are averaged. (0.7, 1.0, 1.3) is multi-scale test.
      preprocessing: a name in imaging.PREPROCESSING.
      dtype: compute type; logits are float32.
      axis_name: pmap axis of BatchNorm in training.

    Raises:
      ValueError: an unknown backbone; features where several scales of an image are wanted.
    """

    backbone: str = "resnet50"
    width: float = 1.0
    channels: int = CHANNELS
    backbone_learns: bool = False
    batch_norm: str = "frozen"
    iterations: int = 4  # CANet 5.1
    history_dropout: float = 0.7  # CANet 4.2
    dropout: float = 0.5
    scales: tuple[float, ...] = (1.0,)
    preprocessing: str = "torchvision"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    toy = {"width": 1 / 32, "iterations": 1}

    def setup(self):
        backbone = backbones.get(self.backbone, "middle")
        self.maps = backbone.middle_maps
        self.encoder = backbone.middle(
            width=self.width,
            dtype=self.dtype,
            batch_norm=self.batch_norm,
            axis_name=self.axis_name,
        )
        channels = scaled(self.channels, self.width)

        def conv(kernel=3, dilation=1, features=channels):
            return Conv(features, kernel, dilation=dilation, kernel_init=_INIT, dtype=self.dtype)

        self.reduce = conv(dilation=2)
        self.compare = conv(dilation=2)
        self.attention = [conv(), conv(features=1)]
        self.residual = [(conv(), conv()) for _ in range(3)]
        self.aspp_image = conv(1)
        self.aspp = [conv(1), *(conv(dilation=rate) for rate in RATES)]
        self.aspp_merge = conv(1)
        self.score = conv(1, features=2)
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(-3, -2))

    @property
    def frozen(self) -> tuple[str, ...]:
        """The backbone, unless it learns or normalizes by the batch at hand."""
        return () if self.backbone_learns or self.batch_norm != "frozen" else ("encoder",)

    def encoded(self, image: Float[Array, "b n h w 3"], *, train: bool = False) -> Encoded:
        """The backbone's middle maps, side by side."""
        _, maps = self.encoder(imaging.normalize(image, self.preprocessing), train=train)
        x = jnp.concatenate([maps[name] for name in self.maps], -1)
        maps = {"middle": x if self.backbone_learns else jax.lax.stop_gradient(x)}
        return Encoded(maps, image.shape[2:4])

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> Float[Array, "b k c"]:
        """The mean feature of each shot's object.

        Args:
          support_image: RGB in 0..255, or its features.
          support_mask: 1 on the object, 0 elsewhere.
        """
        features = self._encode(support_image, train).astype(jnp.float32)
        size = features.shape[2:4]
        mask = resize(support_mask[..., None], size, align_corners=True)
        return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + 0.0005)

    def segment(
        self,
        task: Float[Array, "b k c"],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits of the object in each query image, RGB in 0..255, or its features."""
        if train or self.scales == (1.0,):
            return self._segment(task, query_image, train)
        if isinstance(query_image, Encoded):
            raise ValueError(
                f"model.scales {self.scales} with features, which are of one scale: set "
                "config.features='' or model.scales=(1.0,)"
            )
        height, width = query_image.shape[2:4]
        total = 0.0
        for scale in self.scales:
            size = (round(scale * height), round(scale * width))
            query = resize(query_image, size, align_corners=True)
            logits = self._segment(task, query, train)[..., None]
            logits = resize(logits, (height, width), align_corners=True)[..., 0]
            total += jax.nn.sigmoid(logits)
        mean = jnp.clip(total / len(self.scales), 1e-6, 1 - 1e-6)
        return jnp.log(mean) - jnp.log1p(-mean)

    def _encode(self, image: Array | Encoded, train: bool) -> Array:
        encoded = image if isinstance(image, Encoded) else self.encoded(image, train=train)
        return self._block(self.reduce, encoded.maps["middle"].astype(self.dtype), train)

    def _block(self, conv: nn.Module, x: Array, train: bool) -> Array:
        return self.drop(nn.relu(conv(x)), deterministic=not train)

    def _segment(self, task: Array, query_image: Array | Encoded, train: bool) -> Array:
        x = self._compare(task, self._encode(query_image, train), train)
        history = jnp.zeros((*x.shape[:-1], 2), x.dtype)
        scores = self._predict(x, history, train)
        if train:
            shape = (*x.shape[:2], 1, 1, 1)
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.history_dropout, shape)
            history = jnp.where(kept, jax.lax.stop_gradient(nn.softmax(scores)), 0.0)
            scores = self._predict(x, history, train)
        else:
            for _ in range(self.iterations):
                scores = self._predict(x, nn.softmax(scores), train)
        logits = (scores[..., 1:] - scores[..., :1]).astype(jnp.float32)
        return resize(logits, size_of(query_image), align_corners=True)[..., 0]

    def _compare(self, task: Array, query: Array, train: bool) -> Array:
        """[b, q, h, w, c] how the query compares with the shots, weighted by attention."""
        shape = (*query.shape[:2], task.shape[1], *query.shape[2:])  # [b, q, k, h, w, c]
        tiled = jnp.broadcast_to(task.astype(query.dtype)[:, None, :, None, None], shape)
        x = jnp.concatenate([jnp.broadcast_to(query[:, :, None], shape), tiled], -1)
        compared = self._block(self.compare, x, train)
        if shape[2] == 1 and not self.is_initializing():
            return compared[:, :, 0]
        attention = max_pool(nn.relu(self.attention[0](x)), 3, 2, padding=1)
        weight = nn.softmax(self.attention[1](attention).mean((-3, -2)), axis=2)
        return (compared * weight[..., None, None, :]).sum(2)

    def _predict(self, x: Array, history: Array, train: bool) -> Array:
        """Scores [b, q, h, w, 2] of background and object, read from x and the last prediction."""
        y = jnp.concatenate([x, history], -1)
        for first, second in self.residual:
            x = x + second(nn.relu(first(nn.relu(y))))
            y = x
        image = self._block(self.aspp_image, x.mean((-3, -2), keepdims=True), train)
        branches = [self._block(conv, x, train) for conv in self.aspp]
        x = jnp.concatenate([jnp.broadcast_to(image, branches[0].shape), *branches], -1)
        return self.score(self._block(self.aspp_merge, x, train))


METHOD = CANet
