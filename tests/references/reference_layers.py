"""Layers in float64 numpy, written from their definitions: what the flax networks are held against.

Images are [n, h, w, c]; parameters are the flax trees of the layer at hand.
"""

import jax
import jax.numpy as jnp
import numpy as np


def compiled(function):
    """`jax.jit` with XLA's optimizer off: at toy size it costs more than it saves."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def random_variables(shapes, seed=0):
    """Variables of these shapes, none of them 0 or 1, where mistakes would hide; nothing compiles."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return jnp.asarray(noise * np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return jnp.asarray(0.1 * noise + (path[-1].key in ("scale", "var")))

    return jax.tree.map_with_path(draw, shapes)


def float64(tree):
    """The same tree of float64 numpy arrays."""
    if isinstance(tree, dict):
        return {key: float64(value) for key, value in tree.items()}
    return np.asarray(tree, np.float64)


def relu(x):
    return np.where(x > 0, x, 0.0)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def conv(x, params, stride=1, dilation=1, padding=None):
    """Sum over the kernel's taps of shifted images times the tap's matrix."""
    kernel = params["kernel"]
    kh, kw = kernel.shape[:2]
    ph, pw = (kh // 2 * dilation, kw // 2 * dilation) if padding is None else (padding, padding)
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    oh = (x.shape[1] - (kh - 1) * dilation - 1) // stride + 1
    ow = (x.shape[2] - (kw - 1) * dilation - 1) // stride + 1
    out = np.zeros((x.shape[0], oh, ow, kernel.shape[3]))
    for i in range(kh):
        for j in range(kw):
            rows = x[:, i * dilation : i * dilation + stride * (oh - 1) + 1 : stride]
            taps = rows[:, :, j * dilation : j * dilation + stride * (ow - 1) + 1 : stride]
            out += taps @ kernel[i, j]
    return out + params.get("bias", 0.0)


def norm(x, params, running=None, epsilon=1e-5):
    """BatchNorm by the batch's own statistics, or by `running` {'mean', 'var'}."""
    mean = x.mean((0, 1, 2)) if running is None else running["mean"]
    var = x.var((0, 1, 2)) if running is None else running["var"]
    return (x - mean) / np.sqrt(var + epsilon) * params["scale"] + params["bias"]


def _windows(x, size, stride, padding, fill):
    x = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return view[:, ::stride, ::stride]


def max_pool(x, size=2, stride=2, padding=0):
    return _windows(x, size, stride, padding, -np.inf).max((-1, -2))


def average_pool(x, size, stride, padding):
    """Counts the padding, as PyTorch does."""
    return _windows(x, size, stride, padding, 0.0).mean((-1, -2))


def resize(x, out_h, out_w, align_corners=True):
    """Bilinear interpolation, one output pixel at a time."""
    n, h, w, c = x.shape
    out = np.zeros((n, out_h, out_w, c))

    def source(index, size, out_size):
        if align_corners:
            return index * (size - 1) / (out_size - 1) if out_size > 1 else 0.0
        return min(max((index + 0.5) * size / out_size - 0.5, 0.0), size - 1.0)

    for i in range(out_h):
        for j in range(out_w):
            y, z = source(i, h, out_h), source(j, w, out_w)
            top, left = min(int(y), h - 1), min(int(z), w - 1)
            down, right = min(top + 1, h - 1), min(left + 1, w - 1)
            a, b = y - top, z - left
            out[:, i, j] = (1 - a) * ((1 - b) * x[:, top, left] + b * x[:, top, right]) + a * (
                (1 - b) * x[:, down, left] + b * x[:, down, right]
            )
    return out
