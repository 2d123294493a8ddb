"""FCN-32s for several classes at once: the base network of OSLSM's comparison methods (OSLSM 6).

Not a few-shot method: it knows its classes. 1-NN, the linear classifiers and fine-tuning take its
features. `fss train` trains it.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.contract.dense import DenseMethod
from fss_jax.methods.layers import Conv, cells


class FCN(DenseMethod):
    """`features` up to fc7 as all dense methods have them, and `score`, one output per class.

    Attributes:
      classes: outputs; 16 for a fold of PASCAL-5i, whose first is the background.
    """

    classes: int = 16

    few_shot = False

    def setup(self):
        super().setup()
        self.score = Conv(self.classes, 1, kernel_init=nn.initializers.zeros)  # as FCN-32s begins

    def __call__(
        self, image: Float[Array, "b h w 3"], *, train: bool = False
    ) -> Float[Array, "b h w classes"]:
        """Logits of the classes at every pixel of RGB images in 0..255."""
        scores = self.score(self.encode(image[:, None], train=train))
        maps = jnp.moveaxis(scores[:, 0], -1, 1)
        size = image.shape[1:3]
        return jnp.moveaxis(cells.upsample(maps, self.layout, self.first_center, size), 1, -1)


METHOD = FCN
