"""Which backend computes a clipped sum where none is named: the fastest for a network, its images and a device."""

import logging
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from dpmix.errors import suggestion
from dpmix.privacy.layers import unsupported_layers
from dpmix.privacy.modes import FLAT, Clipping, Scaling

_LOG = logging.getLogger(__name__)

BACKENDS = ("auto", "reference", "sequential", "vectorized", "ghost")

# The sequential backend costs a forward and backward call per example; below this many multiply-adds per example the
# calls cost more than the arithmetic, and batching the examples wins (measured on two cores).
_SEQUENTIAL_PAYS = 3e8

# Ghost clipping passes back through the network once more, and writes down no gradient of an example. Where a weight is
# used at few positions of few views, gradients cost more to write and read: up to 16 uses it took 0.2 to 0.8 of the
# others' time, and at 64 more than theirs; below a million weights it gains less (two cores, 16 examples, float32).
_GHOST_PAYS, _GHOST_WEIGHTS = 16, 500_000


def choose_backend(module: nn.Module, views: Tensor, mode: Clipping = FLAT) -> str:
    """The backend that `auto` stands for: the fastest one for this module and for views [n, K, ...] on their device.

    A layer without a per-example rule is named in the log, once for each module.

    >>> choose_backend(nn.Linear(5, 2), torch.zeros(4, 3, 5))
    'vectorized'
    """
    backend, reason, without_rule = _choice(module, views, mode)
    if without_rule and module not in _TOLD:
        _TOLD.add(module)
        _LOG.warning("clipping falls back to %s: %s", backend, reason)
    return backend


def explain_backend(module: nn.Module, views: Tensor, backend: str = "auto", mode: Clipping = FLAT) -> str:
    """Which backend computes the clipped sum of views [n, K, ...], and why, in one line for a log.

    Raises:
        ValueError: for an unknown backend.

    >>> explain_backend(nn.Linear(5, 2), torch.zeros(4, 3, 5))
    'vectorized: an example has only 3.0e+01 multiply-adds, and every layer has a per-example rule'
    """
    check_backend(backend)
    if backend != "auto":
        return f"{backend}: asked for"
    backend, reason, _ = _choice(module, views, mode)
    return f"{backend}: {reason}"


def check_backend(backend: str) -> None:
    """Refuse, by a `ValueError`, what is no name of a backend.

    >>> check_backend("gost")
    Traceback (most recent call last):
    ValueError: unknown backend 'gost'; did you mean 'ghost'?
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; {suggestion(backend, BACKENDS)}")


_TOLD: WeakSet[nn.Module] = WeakSet()


def _choice(module: nn.Module, views: Tensor, mode: Clipping) -> tuple[str, str, bool]:
    """The backend, the reason, and whether the reason is a layer without a per-example rule."""
    device = views.device.type
    image = views.new_empty(views.shape[2:])
    if layers := unsupported_layers(module, image):
        backend = "sequential" if device == "cpu" else "reference"
        names = ", ".join(layers)
        return backend, f"no per-example rule covers {names} of {type(module).__name__}", True
    if device != "cpu":
        return "vectorized", f"every layer has a per-example rule, and {device} wants large batches", False
    work = multiply_adds(module, image[None]) * views.shape[1]
    weights = sum(value.numel() for value in module.parameters() if value.requires_grad)
    if isinstance(mode, Scaling) and weights >= _GHOST_WEIGHTS and work <= _GHOST_PAYS * weights:
        few = f"an example has only {work:.1e} multiply-adds for {weights:.1e} weights, at most {_GHOST_PAYS} each"
        return "ghost", few, False
    if work > _SEQUENTIAL_PAYS:
        return "sequential", f"an example of {work:.1e} multiply-adds is batch enough for a processor", False
    return "vectorized", f"an example has only {work:.1e} multiply-adds, and every layer has a per-example rule", False


_WORK: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]] = WeakKeyDictionary()


def multiply_adds(module: nn.Module, image: Tensor) -> float:
    """Forward multiply-adds of the weights for one image [1, ...], counted once for each module and shape.

    By hand, as torch's own counter takes seconds to start.

    >>> multiply_adds(nn.Linear(3, 2), torch.zeros(1, 3))
    6
    """
    known = _WORK.setdefault(module, {})
    shape = tuple(image.shape)
    if shape not in known:
        work = [0]

        def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                work[0] += output.numel() * layer.weight[0].numel()

        handles = [layer.register_forward_hook(count) for layer in module.modules()]
        try:
            with torch.no_grad():
                module(torch.zeros_like(image))
        finally:
            for handle in handles:
                handle.remove()
        known[shape] = work[0]
    return known[shape]
