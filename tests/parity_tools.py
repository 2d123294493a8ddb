"""How the parity tests run one network in both frameworks."""

import jax
import numpy as np
import torch
from torch import nn

from fss_jax import weights

# XLA's optimizer costs more than it saves at these sizes, and rounds less predictably.
OPTIONS = {"xla_backend_optimization_level": 0}


def close(ours, theirs, tolerance=1e-4):
    """Within the tolerance of the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def close_in_norm(ours, theirs, tolerance=2e-2):
    """The whole within the tolerance, for gradients through ReLUs.

    Rounding may put a unit on the other side of its kink, and then a few values are others: half a
    percent of the norm in the relation network, on machines without AVX-512.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)


def to_nhwc(tensor: torch.Tensor) -> np.ndarray:
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array[:, None, None, :]


def image(size, seed=0):
    """A normalized image [1, h, w, 3]."""
    return np.random.default_rng(seed).standard_normal((1, *size, 3)).astype(np.float32)


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that keep activations alive, and BatchNorm statistics far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like, scale):
        return torch.randn(like.shape, generator=generator) * scale

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(normal(layer.weight, (2 / layer.weight[0].numel()) ** 0.5))
                if layer.bias is not None:
                    layer.bias.copy_(normal(layer.bias, 0.1))
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(1 + normal(layer.weight, 0.2))
                layer.bias.copy_(normal(layer.bias, 0.2))
                layer.running_mean.copy_(normal(layer.running_mean, 0.3))
                layer.running_var.copy_(torch.exp(normal(layer.running_var, 0.3)))
    return module.eval()


def imported(model, spec, x, skip=""):
    """Our network's variables from a foreign file alone: nothing is initialized."""
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    variables, _ = weights.load(spec, variables, skip)
    return variables


def compare(model, variables, forward, x, gradient=True):
    """Asserts equal outputs, and gradients of the squared sum in the image.

    Args:
      forward: PyTorch's function of [b, c, h, w].
      x: our image [b, h, w, c].
    """

    def loss(x):
        out, _ = model.apply(variables, x)
        return (out**2).sum(), out

    image = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=gradient)
    expected = forward(image)
    run = jax.grad(loss, has_aux=True) if gradient else loss
    found, out = jax.jit(run, compiler_options=OPTIONS)(x)
    close(out, to_nhwc(expected))
    if gradient:
        expected.square().sum().backward()
        close(found, to_nhwc(image.grad))
