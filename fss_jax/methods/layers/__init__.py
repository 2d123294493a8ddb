"""What methods and backbones are built of.

Every layer takes any number of leading axes: methods hand over [episode, image, height, width,
channel], which is how BatchNorm can tell one episode from another. How a layer is made fast (products
in place of convolutions, Winograd's filtering, gradients of our own) is its own file's business.
"""

from fss_jax.methods.layers.convolution import Conv, he_fan_out, scaled
from fss_jax.methods.layers.directions import unit
from fss_jax.methods.layers.fully_connected import Head, Window, fully_connected, head_of
from fss_jax.methods.layers.hashing import ClassifierHash
from fss_jax.methods.layers.masked_pooling import masked_average, split
from fss_jax.methods.layers.normalization import BatchNorm, ConvNorm, local_response
from fss_jax.methods.layers.pooling import max_pool
from fss_jax.methods.layers.recomputing import recomputed
from fss_jax.methods.layers.resizing import interpolation, nearest_x2, resize

__all__ = [
    "BatchNorm",
    "ClassifierHash",
    "Conv",
    "ConvNorm",
    "Head",
    "Window",
    "fully_connected",
    "head_of",
    "he_fan_out",
    "interpolation",
    "local_response",
    "masked_average",
    "max_pool",
    "nearest_x2",
    "recomputed",
    "resize",
    "scaled",
    "split",
    "unit",
]
