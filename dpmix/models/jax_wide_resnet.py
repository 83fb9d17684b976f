"""The network of `dpmix.models.wide_resnet` in JAX, as a function of the same parameters.

Names and shapes of the parameters are those of the torch module, so that either's weights are the other's. Imported for
`engine: jax` alone, because JAX may not be installed.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpmix.params.models import WideResNetSpec

Array = Any
Parameters = Mapping[str, Array]

# The constant that torch.nn.GroupNorm adds to variances.
_EPSILON = 1e-5


def logits(spec: WideResNetSpec, params: Parameters, images: Array) -> Array:
    """Images [m, channels, R, R] in [0, 1] to logits [m, classes], as `WideResNet.forward` computes them.

    Args:
        spec: of the network.
        params: by the names of the torch module's `named_parameters()`.
        images: float32.
    """
    blocks = (spec.depth - 4) // 6
    x = _convolution(params, "stem", jnp.transpose(images, (0, 2, 3, 1)) * 2 - 1, spec.stem_stride)
    for index in range(3 * blocks):
        stride = 2 if index in (blocks, 2 * blocks) else 1
        x = _block(params, f"blocks.{index}", x, stride, spec.groups)
    x = jax.nn.relu(_group_norm(params, "norm", x, spec.groups)).mean(axis=(1, 2))
    return x @ params["head.weight"].T + params["head.bias"]


def _block(params: Parameters, name: str, x: Array, stride: int, groups: int) -> Array:
    """A residual block [m, h, w, inputs] -> [m, h / stride, w / stride, outputs]."""
    residual = _group_norm(params, f"{name}.norm1", jax.nn.relu(x), groups)
    residual = _convolution(params, f"{name}.conv1", residual, stride)
    residual = _group_norm(params, f"{name}.norm2", jax.nn.relu(residual), groups)
    residual = _convolution(params, f"{name}.conv2", residual)
    if f"{name}.shortcut.weight" in params:
        normal = jax.nn.relu(_group_norm(params, f"{name}.shortcut_norm", x, groups))
        x = _convolution(params, f"{name}.shortcut", normal, stride)
    return x + residual


def _convolution(params: Parameters, name: str, x: Array, stride: int = 1) -> Array:
    """A convolution [m, h, w, inputs] -> [m, h', w', outputs] with odd kernels, padded by half of them.

    It is one matrix product of patches: an example's weight gradient is then a product too. As a convolution of XLA,
    the gradients of many examples become one grouped convolution, which took twice as long on a processor.
    """
    weight = params[f"{name}.weight"]
    outputs, inputs, height, width = weight.shape
    x = jnp.pad(x, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    rows, columns = _windows(x.shape[1], height, stride), _windows(x.shape[2], width, stride)
    patches = x[:, rows[:, None, :, None], columns[None, :, None, :]]  # [m, h', w', height, width, inputs]
    kernel = jnp.transpose(weight, (2, 3, 1, 0)).reshape(height * width * inputs, outputs)
    return patches.reshape(*patches.shape[:3], -1) @ kernel + params[f"{name}.bias"]


def _windows(side: int, kernel: int, stride: int) -> np.ndarray:
    """The places that each step of a kernel covers along a padded side: int64 [steps, kernel]."""
    return np.arange(0, side - kernel + 1, stride)[:, None] + np.arange(kernel)


def _group_norm(params: Parameters, name: str, x: Array, groups: int) -> Array:
    """Group norm of [m, h, w, channels], as torch.nn.GroupNorm computes it."""
    grouped = x.reshape(x.shape[0], -1, groups, x.shape[3] // groups)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    variance = jnp.square(grouped - mean).mean(axis=(1, 3), keepdims=True)
    normal = (grouped - mean) * jax.lax.rsqrt(variance + _EPSILON)
    return normal.reshape(x.shape) * params[f"{name}.weight"] + params[f"{name}.bias"]
