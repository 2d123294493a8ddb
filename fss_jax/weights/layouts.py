"""How other frameworks lay out the numbers of a layer, and how linen does.

Every importer hands over `Imported`: leaves by path, such as 'params/conv1_1/kernel' or
'batch_stats/bn1/mean', with kernels as [height, width, in, out].
"""

from typing import Any, NamedTuple

import numpy as np


class Imported(NamedTuple):
    """What an importer made of a file.

    Attributes:
      leaves: arrays by 'collection/layer/.../leaf'. A layer that the name table does not know keeps
        its own name, so that comparing it with a model names it as unexpected.
      preprocessing: the name in fss_jax.data.imaging.PREPROCESSING that these weights expect.
      landmarks: two layers by which a model's subtree of this architecture is recognized; empty if
        the file holds a whole method.
      faults: why a part of the file cannot be used, by layer ('params/upscore').
      origin: where the weights are from, for the record: JSON's types.
    """

    leaves: dict[str, np.ndarray]
    preprocessing: str
    landmarks: tuple[str, ...] = ()
    faults: dict[str, str] = {}
    origin: dict[str, Any] = {}


def conv_kernel(weight: np.ndarray) -> np.ndarray:
    """[out, in, height, width] (PyTorch, Caffe) to [height, width, in, out]."""
    return np.transpose(weight, (2, 3, 1, 0))


def dense_kernel(weight: np.ndarray, window: int = 1) -> np.ndarray:
    """[out, in] to the kernel of the convolution that does the same: [window, window, c, out].

    PyTorch and Caffe flatten a map as (channel, row, column), so fc6 of VGG-16 with its 25088
    inputs is a 7x7 window of 512 channels. Where `in` is no multiple of the window's cells, and for
    window 1, the result is [1, 1, in, out].
    """
    out, inputs = weight.shape
    if inputs % window**2:
        window = 1
    return conv_kernel(weight.reshape(out, inputs // window**2, window, window))


def torch_leaves(
    state: dict[str, np.ndarray], names: dict[str, str], windows: dict[str, int]
) -> dict[str, np.ndarray]:
    """Renames and re-orders a PyTorch state_dict.

    Args:
      state: arrays by name, e.g. 'features.0.weight'.
      names: our layer path by PyTorch's layer name ('features.0': 'conv1_1').
      windows: side of the window in cells, for layers that flatten a map (our names: {'fc6': 7}).
    """
    leaves = {}
    for name, array in state.items():
        source, _, leaf = name.rpartition(".")
        layer = names.get(source, source.replace(".", "/"))
        if leaf == "num_batches_tracked":  # only counts training steps
            continue
        if leaf == "weight" and array.ndim == 4:
            leaves[f"params/{layer}/kernel"] = conv_kernel(array)
        elif leaf == "weight" and array.ndim == 2:
            leaves[f"params/{layer}/kernel"] = dense_kernel(array, windows.get(layer, 1))
        elif leaf == "weight":
            leaves[f"params/{layer}/scale"] = array
        elif leaf in ("running_mean", "running_var"):
            leaves[f"batch_stats/{layer}/{leaf.removeprefix('running_')}"] = array
        else:
            leaves[f"params/{layer}/{leaf}"] = array
    return leaves
