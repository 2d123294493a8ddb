"""Fine-tuning: fc6 and fc7, with a new classifier, trained on each support (OSLSM 6).

The paper fine-tunes the fully connected layers of its FCN on the support and finds that BatchNorm on
the fc7 features helps. Steps and rates are not stated; ours are fields. SqueezeNet has no such
layers: there it is the last fire module.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.methods import backbones
from fss_jax.methods.backbones import Tail
from fss_jax.methods.contract.dense import DenseMethod
from fss_jax.methods.layers import cells, scaled, split

EPSILON = 1e-5  # of the BatchNorm


class FineTuning(DenseMethod):
    """A few steps of SGD per episode, on the mean cross-entropy of the support's pixels.

    A task is a whole set of fc6, fc7 (or fire9), bn7 and fc8, so episodes are adapted one after the
    other. An empty mask teaches that there is no object, a full one that all is. The convolutions and
    the first values of what is tuned are trained elsewhere.

    Attributes:
      steps: updates per support.
      learning_rate, momentum: of SGD.
    """

    steps: int = 50
    learning_rate: float = 1e-3
    momentum: float = 0.9

    trained = False
    stands_on = "fcn"
    toy = DenseMethod.toy | {"steps": 2}

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Any]:
        """The adapted {'params', 'mean', 'var'}: layers, and the statistics of fc7 that go with them."""
        if self.is_initializing():
            self.encode(support_image)
        layers = self.features.variables["params"]
        hidden = (scaled(self.hidden, self.width),)
        start = {
            **{name: layers[name] for name in self._tail.layers},
            "bn7": {"scale": jnp.ones(hidden), "bias": jnp.zeros(hidden)},
            "fc8": {"kernel": jnp.zeros(hidden), "bias": jnp.zeros(())},
        }
        maps = jax.lax.stop_gradient(self._trunk(support_image))
        return jax.lax.map(lambda one: self._adapt(start, *one), (maps, support_mask))

    def segment(
        self, task: dict[str, Any], query_image: Float[Array, "b q h w 3"], *, train: bool = False
    ) -> Float[Array, "b q h w"]:
        """Logits of the adapted layers, with the support's statistics."""
        maps = self._trunk(query_image)

        def one(pair):
            adapted, some = pair
            hidden = self._hidden(adapted["params"], some)
            return classify(adapted["params"], hidden, adapted["mean"], adapted["var"])

        return self.upsample(jax.lax.map(one, (task, maps)), query_image)

    @property
    def _tail(self) -> Tail:
        """The layers of the network that are fine-tuned."""
        return backbones.get(self.backbone, "tail").tail

    def _trunk(self, image: Float[Array, "b n h w 3"]) -> Float[Array, "b n rows cols c"]:
        """What the first of them sees."""
        trunk = self.network(**self._tail.without, parent=None)
        return trunk.apply(self.features.variables, imaging.normalize(image, self.preprocessing))[0]

    def _hidden(self, params: dict, maps: Float[Array, "n rows cols c"]) -> Array:
        """The last features, after the ReLU: float32 [n, cells high, cells wide, hidden]."""
        names = self._tail.layers
        layers = {name: params[name] for name in names} if len(names) > 1 else params[names[0]]
        return self._tail.head(self).apply({"params": layers}, maps).astype(jnp.float32)

    def _adapt(
        self, start: dict, maps: Float[Array, "k rows cols c"], mask: Float[Array, "k h w"]
    ) -> dict[str, Any]:
        optimizer = optax.sgd(self.learning_rate, self.momentum)
        foreground, background = split(mask)

        def loss(params):
            hidden = self._hidden(params, maps)
            score = classify(params, hidden, *statistics(hidden))
            logits = cells.upsample(score, self.layout, self.first_center, mask.shape[1:])
            entropy = foreground * nn.softplus(-logits) + background * nn.softplus(logits)
            return entropy.sum() / jnp.maximum((foreground + background).sum(), 1.0)

        def step(state, _):
            params, momenta = state
            updates, momenta = optimizer.update(jax.grad(loss)(params), momenta)
            return (optax.apply_updates(params, updates), momenta), None

        (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=self.steps)
        mean, var = statistics(self._hidden(params, maps))
        return {"params": params, "mean": mean, "var": var}


def statistics(hidden: Float[Array, "n h w c"]) -> tuple[Float[Array, "c"], Float[Array, "c"]]:
    """Mean and (biased) variance of each feature over all cells."""
    return hidden.mean((0, 1, 2)), hidden.var((0, 1, 2))


def classify(
    params: dict, hidden: Float[Array, "n h w c"], mean: Float[Array, "c"], var: Float[Array, "c"]
) -> Float[Array, "n h w"]:
    """bn7 with the statistics given, then fc8 with its one output."""
    gain = params["bn7"]["scale"] * jax.lax.rsqrt(var + EPSILON) * params["fc8"]["kernel"]
    bias = params["fc8"]["bias"] + params["bn7"]["bias"] @ params["fc8"]["kernel"] - mean @ gain
    return jnp.einsum("nhwc,c->nhw", hidden, gain) + bias


METHOD = FineTuning
