"""Single layers as we write them, as XLA's plain operation, and in PyTorch: what a CPU gains from which.

python -m benchmarks.layers --out runs/speed/layers

Where the machine is shared, compare CPU time: it sums over threads and leaves other processes out.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import flags
from torch.nn import functional as F

from benchmarks import command, machine, tables
from benchmarks.timing import in_turn
from fss_jax import weights
from fss_jax.methods import layers
from fss_jax.methods.backbones.efficientnet_lite import EfficientNetLite
from fss_jax.methods.layers import Window, depthwise_same
from fss_jax.methods.layers.depthwise import grouped
from fss_jax.runtime import messages
from fss_jax.weights import pip_packages

REPEATS = flags.DEFINE_integer("repeats", 10, "timed calls")
BUDGET = flags.DEFINE_float("budget", 30.0, "seconds for the calls of a layer; at least 3 are made")
ONLY = flags.DEFINE_multi_string("only", [], "a layer by its name, repeatable; default: all")
OUT = flags.DEFINE_string("out", "runs/speed/layers", "writes OUT.json and OUT.md")

Calls = dict[str, Callable[[], Any]]


def _array(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def _jax(fn: Callable, *args: Any) -> Callable[[], Any]:
    run = jax.jit(fn)
    return lambda: jax.block_until_ready(run(*args))


def _torch(fn: Callable, *args: jax.Array) -> Callable[[], Any]:
    """`fn` of the arrays, the second a kernel [k, k, in, out], others images [n, h, w, c]."""
    tensors = []
    for n, array in enumerate(args):
        order = (3, 2, 0, 1) if n == 1 else (0, 3, 1, 2)
        tensor = torch.tensor(np.asarray(array)).permute(order)
        tensors.append(tensor.contiguous(memory_format=torch.channels_last))

    def call():
        with torch.inference_mode():
            return fn(*tensors)

    return call


def _plain_conv(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv(side: int, inputs: int, outputs: int, size: int = 3) -> Calls:
    """A convolution with its bias left out, as layers.Conv runs it."""
    x, kernel = _array(1, side, side, inputs), _array(size, size, inputs, outputs)
    module = layers.Conv(outputs, size, use_bias=False)
    return {
        "ours": _jax(lambda x, k: module.apply({"params": {"kernel": k}}, x), x, kernel),
        "plain XLA": _jax(lambda x, k: _plain_conv(x, k, size // 2), x, kernel),
        "PyTorch": _torch(lambda x, k: F.conv2d(x, k, padding=size // 2), x, kernel),
    }


def fc6(side: int) -> Calls:
    """FCN's 7x7 fc6, 512 to 4096 channels, as fully_connected.Window runs it."""
    x, kernel = _array(1, side, side, 512), _array(7, 7, 512, 4096)
    module = Window(4096, size=7)
    zero = jnp.zeros(4096)
    apply = _jax(lambda x, k: module.apply({"params": {"kernel": k, "bias": zero}}, x), x, kernel)
    return {
        "ours": apply,
        "plain XLA": _jax(_plain_conv, x, kernel),
        "PyTorch": _torch(F.conv2d, x, kernel),
    }


def gradients(
    module: layers.Conv | Window, side: int, inputs: int, padding: int = 0, images: int = 1
) -> Calls:
    """Both gradients of a convolution without stride: of its input and of its kernel."""
    size = module.size if isinstance(module, Window) else module.kernel
    x, kernel = _array(images, side, side, inputs), _array(size, size, inputs, module.features)
    out = side + 2 * padding - size + 1
    slope = _array(images, out, out, module.features)

    def ours(x, kernel):
        params = {"bias": jnp.zeros(module.features), "kernel": kernel}
        return module.apply({"params": params}, x)

    def plain(x, kernel):
        return _plain_conv(x, kernel, padding)

    def both(fn):
        return _jax(lambda slope, kernel, x: jax.vjp(fn, x, kernel)[1](slope), slope, kernel, x)

    def theirs(slope, kernel, x):
        options = ([1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [True, True, False])
        return torch.ops.aten.convolution_backward(slope, x, kernel, None, *options)

    return {
        "ours": both(ours),
        "plain XLA": both(plain),
        "PyTorch": _torch(theirs, slope, kernel, x),
    }


def _products(x: jax.Array, out: int) -> jax.Array:
    weights = layers.interpolation(x.shape[1], out, align_corners=True)
    weights = jnp.asarray(weights, x.dtype)
    return jnp.einsum("nhwc,oh,pw->nopc", x, weights, weights)


def resize(gradient: bool) -> Calls:
    """The decoder's last upsampling, 112 to 224 pixels, 64 channels; 'plain XLA': two products."""
    x = _array(1, 112, 112, 64)

    def ours(x):
        return layers.resize(x, (224, 224), align_corners=True)

    def plain(x):
        return _products(x, 224)

    def theirs(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    if not gradient:
        return {"ours": _jax(ours, x), "plain XLA": _jax(plain, x), "PyTorch": _torch(theirs, x)}
    return {
        name: _jax(jax.grad(lambda x, fn=fn: jnp.square(fn(x)).sum()), x)
        for name, fn in (("ours", ours), ("plain XLA", plain))
    }


def pool() -> Calls:
    """2x2 pooling of 224 pixels, 64 channels, with its gradient; 'plain XLA': its window reduction."""
    x = _array(1, 224, 224, 64)

    def plain(x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    return {
        name: _jax(jax.grad(lambda x, fn=fn: jnp.square(fn(x)).sum()), x)
        for name, fn in (("ours", lambda x: layers.max_pool(x, 2, 2)), ("plain XLA", plain))
    }


def tuning(side: int, inputs: int, outputs: int, steps: int = 10) -> Calls:
    """Gradient steps on a 3x3 kernel inside a loop, as fine-tuning takes."""
    x, start = _array(1, side, side, inputs), 0.01 * _array(3, 3, inputs, outputs)
    module = layers.Conv(outputs, 3, use_bias=False)

    def tuned(conv):
        def run(x, kernel):
            def step(kernel, _):
                slope = jax.grad(lambda kernel: jnp.square(conv(x, kernel)).mean())(kernel)
                return kernel - 0.1 * slope, None

            return jax.lax.scan(step, kernel, length=steps)[0]

        return _jax(run, x, start)

    return {
        "ours": tuned(lambda x, kernel: module.apply({"params": {"kernel": kernel}}, x)),
        "plain XLA": tuned(lambda x, kernel: _plain_conv(x, kernel, 1)),
    }


def depthwise(side: int, channels: int, size: int) -> Calls:
    """A channel at a time, as EfficientNet-Lite has it."""
    x, kernel = _array(1, side, side, channels), _array(size, size, 1, channels)
    pads = [(size // 2, size // 2)] * 2
    return {
        "ours": _jax(depthwise_same.depthwise, x, kernel),
        "plain XLA": _jax(functools.partial(grouped, stride=1, pads=pads), x, kernel),
        "PyTorch": _torch(
            lambda x, k: F.conv2d(x, k, padding=size // 2, groups=channels), x, kernel
        ),
    }


def efficientnet_lite2(side: int) -> Calls:
    """The whole network on ImageNet's weights; PyTorch's is the package that these come with."""
    x = 0.1 * _array(1, side, side, 3)
    from efficientnet_lite_pytorch import EfficientNet

    weights_path = str(pip_packages.find("efficientnet_lite2"))
    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite2", weights_path=weights_path, image_size=None
    )
    network = EfficientNetLite(2, outputs=1000)
    empty = jax.eval_shape(network.init, jax.random.key(0), x)
    variables, _ = weights.load("pip:efficientnet_lite2", empty)
    # Channels last, which PyTorch's depthwise kernels for CPUs want, as our own.
    theirs = theirs.eval().to(memory_format=torch.channels_last)
    return {
        "ours": _jax(lambda x: network.apply(variables, x)[0], x),
        "PyTorch": _torch(theirs, x),
    }


LAYERS: dict[str, Callable[[], Calls]] = {
    "3x3, 4 to 64 channels, 224 px": lambda: conv(224, 4, 64),
    "3x3, 64 to 64, 224 px": lambda: conv(224, 64, 64),
    "3x3, 128 to 64, 224 px": lambda: conv(224, 128, 64),
    "3x3, 128 to 128, 112 px": lambda: conv(112, 128, 128),
    "3x3, 256 to 256, 56 px": lambda: conv(56, 256, 256),
    "3x3, 512 to 512, 28 px": lambda: conv(28, 512, 512),
    "3x3, 512 to 512, 14 px": lambda: conv(14, 512, 512),
    "3x3, 1024 to 512, 7 px": lambda: conv(7, 1024, 512),
    "1x1, 4096 to 4096, 12 px (fc7)": lambda: conv(12, 4096, 4096, 1),
    "7x7, 512 to 4096, 12 px (fc6)": lambda: fc6(12),
    "3x3, 64 to 64, 224 px: gradients": lambda: gradients(layers.Conv(64), 224, 64, 1),
    "3x3, 128 to 128, 112 px: gradients": lambda: gradients(layers.Conv(128), 112, 128, 1),
    "3x3, 256 to 256, 56 px: gradients": lambda: gradients(layers.Conv(256), 56, 256, 1),
    "3x3, 512 to 512, 14 px: gradients": lambda: gradients(layers.Conv(512), 14, 512, 1),
    "7x7, 512 to 4096, 12 px (fc6): gradients": lambda: gradients(Window(4096, size=7), 12, 512),
    "3x3, 64 to 128, 4 x 112 px: gradients": lambda: gradients(layers.Conv(128), 112, 64, 1, 4),
    "3x3, 16 to 32, 32 x 32 px: gradients": lambda: gradients(layers.Conv(32), 32, 16, 1, 32),
    "3x3, 16 to 64, 196 x 28 px: gradients": lambda: gradients(layers.Conv(64), 28, 16, 1, 196),
    "depthwise 3x3, 96 channels, 256 px": lambda: depthwise(256, 96, 3),
    "depthwise 5x5, 288 channels, 64 px": lambda: depthwise(64, 288, 5),
    "EfficientNet-Lite2, 512 px": lambda: efficientnet_lite2(512),
    "bilinear, 112 to 224 px": lambda: resize(gradient=False),
    "bilinear, gradient": lambda: resize(gradient=True),
    "max pooling, gradient": pool,
    "3x3, 64 to 256, 13 px (fire9): 10 steps in a loop": lambda: tuning(13, 64, 256),
}


def main() -> None:
    messages.use_compilation_cache()
    result = machine.facts() | {"torch": torch.__version__, "layers": {}}
    for name, make in LAYERS.items():
        if ONLY.value and name not in ONLY.value:
            continue
        timings = in_turn(make(), REPEATS.value, BUDGET.value)
        result["layers"][name] = {key: timing.facts() for key, timing in timings.items()}
        print(name, "done", flush=True)

    def told(times: dict | None) -> str:
        if not times:
            return ""
        return f"{1e3 * times['median_s']:.1f} ({1e3 * times['cpu_best_s']:.1f})"

    ways = ("ours", "plain XLA", "PyTorch")
    rows = [
        [name, *(told(times.get(way)) for way in ways)] for name, times in result["layers"].items()
    ]
    note = "Milliseconds: median wall time (least CPU time of all threads). One image, float32."
    lines = [note, "", *tables.markdown(["layer", *ways], rows)]
    print(tables.save(OUT.value, result, "Layers", lines))


if __name__ == "__main__":
    command.run(main)
