"""Checks of a network by trial on random images, before it is trained; no private record is looked at.

A user's network may do anything in its forward pass. Per-example gradients are right only if each output depends on its
own image alone, and if every use of a weight is one that the rules of `dpmix.privacy.layers` see. Both are tried with
the trainable weights moved a little, because a weight of zero hides what lies behind it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.errors import PrivacyError
from dpmix.privacy.layers import unsupported_layers
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.per_example import per_example_gradients

_MOVED = 0.02

# Rounding may differ, more so between batches of different sizes; what mixes examples changes an output by far more.
_SAME_SHAPE, _OTHER_SHAPE = 1e-4, 1e-3

# Wide, as accelerators may multiply in low precision; a use that is missed costs a good part of a gradient.
_GRADIENT = 1e-2


def check_examples_independent(module: nn.Module, image: Tensor) -> None:
    """Check that an image's output does not depend on the other images of its batch, and that no buffer remembers any.

    Otherwise the gradient of one example would depend on another, and clipping it would bound nothing; and a buffer is
    released without noise. Batch norm in training mode does both. The module is tried in the mode that it is in: one
    that passes in eval mode may fail in training mode. Buffers are restored.

    Args:
        module: from images [m, ...] to one tensor with m rows.
        image: [...], of which only the shape, type and device are used.

    Raises:
        PrivacyError: if an output depends on other images, a buffer changed, or outputs are not finite or not m rows.
        RuntimeError, TypeError: whatever the module raises for such images.

    >>> check_examples_independent(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), torch.zeros(4))
    >>> check_examples_independent(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.zeros(4))
    Traceback (most recent call last):
    dpmix.errors.PrivacyError: 1.running_mean keeps statistics of the batch, which no noise covers; use group norm, ...
    """
    random = torch.Generator().manual_seed(0)
    own, first, second = (torch.rand(image.shape, generator=random).to(image) for _ in range(3))
    params = _moved(module, [name for name, value in module.named_parameters() if value.requires_grad])

    after = []
    for images in ((own, first), (second, second)):
        with _restored_buffers(module) as changed, _seeded(0, image.device), torch.no_grad():
            functional_call(module, params, (torch.stack(images),))
        after.append(changed)
    for name in sorted(after[0].keys() | after[1].keys(), key=[name for name, _ in module.named_buffers()].index):
        one, other = after[0].get(name), after[1].get(name)
        if one is None or other is None or not torch.equal(one, other):
            raise _of_the_batch(name)
    if after[0]:
        raise PrivacyError(
            f"{next(iter(after[0]))} changes in every forward pass, whatever the images, as spectral_norm's vectors do "
            "in training mode, so that the gradients of one step are of different networks; call eval() on its layer"
        )

    def outputs(*images: Tensor, seed: int = 0) -> Tensor:
        with _seeded(seed, image.device), _unchanged_buffers(module), torch.no_grad():
            rows = functional_call(module, params, (torch.stack(images),))
        if not isinstance(rows, Tensor) or rows.shape[:1] != (len(images),):
            raise PrivacyError(
                "the model must give one tensor, with a row of logits for each image; wrap it accordingly"
            )
        if not bool(torch.isfinite(rows).all()):
            raise PrivacyError("the model's outputs for random images are not finite, so it cannot be checked; mend it")
        return rows

    rows = outputs(own, first)
    largest = float(rows.abs().max())

    def differs(other: Tensor, tolerance: float) -> bool:
        return float((rows[0] - other[0]).abs().max()) > tolerance * largest

    mixes = differs(outputs(own, second), _SAME_SHAPE)
    if not differs(outputs(own, first, seed=1), _SAME_SHAPE):
        # With dropout an image's draws depend on the size of its batch, although not on what is in it.
        mixes |= differs(outputs(own), _OTHER_SHAPE) or differs(outputs(own, first, second), _OTHER_SHAPE)
    if mixes:
        raise PrivacyError(
            "the model mixes examples: an output depends on the rest of the batch, and clipping then bounds nothing; "
            "use group norm, or freeze batch norm and call eval() on it"
        )


def tried(module: nn.Module, image: Tensor) -> object:
    """What a module gives for two black images [...] like this one, in the mode that it is in; nothing of it changes.

    >>> tried(nn.Linear(4, 3), torch.zeros(4)).shape
    torch.Size([2, 3])
    """
    with _restored_buffers(module), _seeded(0, image.device), torch.no_grad():
        return module(image.new_zeros(2, *image.shape))


def try_gradient(loss: ExampleLoss, names: Collection[str], image: Tensor, classes: int) -> None:
    """Compute the gradient of the loss of two black views [...] of one image; nothing of the module changes.

    Args:
        loss: the loss of one example.
        names: the trainable parameters.
        image: [...], of which only the shape, type and device are used.
        classes: width of the soft labels.

    Raises:
        Exception: whatever the module or the criterion raises, or torch's `RuntimeError` where there is no gradient.

    >>> module = nn.Linear(4, 3)
    >>> try_gradient(ExampleLoss(module), ["weight", "bias"], torch.zeros(4), classes=3)
    """
    params = {name: p.detach() for name, p in loss.module.named_parameters()}
    trained = {name: params[name].requires_grad_() for name in names}
    targets = image.new_full((2, classes), 1 / classes)
    with _restored_buffers(loss.module), _seeded(0, image.device), torch.enable_grad():
        value = loss({**params, **trained}, image.new_zeros(2, *image.shape), targets)
        torch.autograd.grad(value, list(trained.values()), allow_unused=True)


def rules_cover(loss: ExampleLoss, names: Collection[str], image: Tensor, classes: int) -> bool:
    """Whether `per_example_gradients` is right for this network: whether its rows average to autograd's gradient.

    They do not where a weight is used otherwise than by calling its layer, which the rules cannot see.

    Args:
        loss: the loss of one example.
        names: the trainable parameters.
        image: [...], of which only the shape, type and device are used.
        classes: width of the soft labels.

    Raises:
        PrivacyError: if a buffer remembers images.

    >>> module = nn.Linear(4, 3)
    >>> rules_cover(ExampleLoss(module), ["weight", "bias"], torch.zeros(4), classes=3)
    True
    """
    with _unchanged_buffers(loss.module), _seeded(0, image.device):
        if unsupported_layers(loss.module, image):
            return False
    random = torch.Generator().manual_seed(1)
    views = torch.rand((2, 2, *image.shape), generator=random).to(image)
    targets = torch.softmax(torch.randn((2, 2, classes), generator=random), dim=-1).to(image.device)
    leaves = {name: value.requires_grad_() for name, value in _moved(loss.module, names).items()}
    with _unchanged_buffers(loss.module):
        with _seeded(0, image.device):
            try:
                rows = per_example_gradients(loss, leaves, views, targets)
            except RuntimeError:  # whatever the rules stumble over, such as no layer that is called, they do not cover
                return False
        with _seeded(0, image.device), torch.enable_grad():
            whole = loss(leaves, views.flatten(0, 1), targets.flatten(0, 1))
            expected = torch.autograd.grad(whole, list(leaves.values()), allow_unused=True)
    return all(
        bool((rows[name].mean(dim=0) - gradient).norm() <= _GRADIENT * gradient.norm() + 1e-12)
        for name, gradient in zip(leaves, expected, strict=True)
        if gradient is not None
    )


def _moved(module: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    params = {name: module.get_parameter(name).detach() for name in names}
    return {
        name: value + _MOVED * torch.randn(value.shape, generator=random).to(value) for name, value in params.items()
    }


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """A context with torch's random numbers of `seed`; the caller's generators are as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _restored_buffers(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A context after which buffers are as before. It gives a dict, then filled with what changed ones had become."""
    kept = {name: (value, value.clone()) for name, value in module.named_buffers()}
    changed: dict[str, Tensor] = {}
    try:
        yield changed
    finally:
        for name, now in list(module.named_buffers()):
            buffer, before = kept.get(name, (None, None))
            if buffer is None or before is None:
                continue
            if now is not buffer or not torch.equal(now, before):
                changed[name] = now.clone()
                buffer.copy_(before)
                owner, _, last = name.rpartition(".")
                setattr(module.get_submodule(owner), last, buffer)


def _of_the_batch(name: str) -> PrivacyError:
    return PrivacyError(
        f"{name} keeps statistics of the batch, which no noise covers; use group norm, or freeze its layer and call "
        "eval() on it"
    )


@contextmanager
def _unchanged_buffers(module: nn.Module) -> Iterator[None]:
    with _restored_buffers(module) as changed:
        yield
    for name in changed:
        raise _of_the_batch(name)
