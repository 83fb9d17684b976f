"""Gaussian noise for the clipped sum: reproducible for research, from the operating system's entropy for release.

A trainer takes a `NoiseSource` and calls `add(total, std, step=…, name=…)` once per parameter tensor and logical
batch. Adding is part of the source because, for a release, how the two numbers are added matters as much as how the
noise is drawn.
"""

import math
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dpmix.errors import ParamsError
from dpmix.random import generator

_CHUNK = 1 << 20
_DRAWS = 4
_GRID_BITS = 20


class NoiseSource(Protocol):
    """Adds N(0, std²) to every entry of a tensor, independently for every entry, name and step."""

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """`total` plus noise, with the shape, dtype and device of `total`; `total` itself where `std` is 0.

        Args:
            total: the clipped sum of one parameter, over the whole logical batch.
            std: standard deviation of the noise, in units of `total`: noise multiplier × sensitivity. A tensor that
                broadcasts against `total` gives each entry its own, as for several heads with an ε each.
            step: the logical step, from 0.
            name: the parameter's name.

        Raises:
            ParamsError: a standard deviation that is negative or not finite, or a total that is neither float32 nor
                float64.
        """
        ...


class SeededNoise:
    """Gaussian noise that the run's seed determines, the same on every device: for experiments that can be repeated.

    A model that was trained with it must not be released as private: whoever knows the seed can subtract the noise.

    >>> noise = SeededNoise(seed=0)
    >>> one, again = (noise.add(torch.zeros(1000), 2.0, step=3, name="weight") for _ in range(2))
    >>> torch.equal(one, again), round(float(one.std()))
    (True, 2)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `NoiseSource.add`."""
        check_dtype(total)
        if is_zero(std):
            return total
        return total + gaussian(total.shape, 1.0, seed=self.seed, step=step, name=name).to(total) * _like(std, total)


class SecureNoise:
    """Gaussian noise that nobody can reproduce, for a model that is released: from the operating system's entropy.

    Draws are those of `secure_gaussian`. Floating-point addition could undo them: where a sum and its noise nearly
    cancel, or differ in scale, the low bits of the result are those of the sum (Mironov, CCS 2012). So `add_on_grid`
    adds in float64 and rounds the result to a grid that depends on `std` alone, 2**-20 of it or less: some 2**30 times
    coarser than float64's arithmetic. That is rounding of an already private number, and moves it by at most 10⁻⁶
    standard deviations.

    The same `step` and `name` give fresh noise at every call; nothing is kept, written or logged.

    >>> noise = SecureNoise()
    >>> one, again = (noise.add(torch.zeros(1000), 2.0, step=3, name="weight") for _ in range(2))
    >>> torch.equal(one, again)
    False
    """

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `NoiseSource.add`. Runs on the CPU, as not every device has float64."""
        check_dtype(total)
        return total if is_zero(std) else add_on_grid(total, secure_gaussian(total.shape, 1.0), std)


def add_on_grid(total: Tensor, noise: Tensor, std: float | Tensor) -> Tensor:
    """`total` + `std` × `noise`, computed in float64 on the CPU and rounded to a grid; `SecureNoise` says why.

    Args:
        total: a clipped sum.
        noise: standard Gaussian noise of its shape, float64 on the CPU.
        std: standard deviation, >= 0, a number or a tensor that broadcasts; entries where it is 0 stay as they are.

    Returns:
        Multiples of 2**-20 × the largest power of two that is not above `std`, with the dtype and device of `total`.

    >>> add_on_grid(torch.tensor([1e-9]), torch.tensor([0.5], dtype=torch.float64), 1.0)
    tensor([0.5000])
    """
    exact = total.detach().cpu().double()
    scale = _like(std, exact)
    grid = torch.where(scale > 0, torch.exp2(torch.floor(torch.log2(scale)) - _GRID_BITS), 1.0)
    noisy = exact + noise * scale
    noisy = torch.where(scale > 0, torch.round(noisy / grid) * grid, exact)
    return noisy.to(device=total.device, dtype=total.dtype)


def gaussian(shape: Sequence[int], std: float, *, seed: int, step: int, name: str) -> Tensor:
    """N(0, std²) for one parameter at one step of a research run, float32 `shape` on the CPU.

    Determined by (seed, step, name, shape), through a key of 128 bits; different steps and names are independent.

    Raises:
        ParamsError: a standard deviation that is negative or not finite.

    >>> one, other = (gaussian((2, 3), 1.0, seed=0, step=step, name="weight") for step in (0, 1))
    >>> one.shape, bool((one == other).any())
    (torch.Size([2, 3]), False)
    """
    _check(std)
    if std == 0:
        return torch.zeros(tuple(shape))
    drawn = generator(seed, "noise", step, name).standard_normal(tuple(shape), dtype=np.float32)
    return torch.from_numpy(np.asarray(drawn)) * std


def secure_gaussian(shape: Sequence[int], std: float) -> Tensor:
    """N(0, std²) from the operating system's entropy, float64 `shape` on the CPU.

    Each value is half the sum of four Box-Muller draws of 53-bit uniforms that come straight from `os.urandom`, so no
    seed exists. The double-precision outputs of a single draw have holes that betray what noise was added; four
    independent radii and angles leave an attacker more than 2**400 combinations to invert (Holohan and Braghin,
    ESORICS 2021).

    Raises:
        ParamsError: a standard deviation that is negative or not finite.

    >>> secure_gaussian((2, 3), 1.0).dtype
    torch.float64
    """
    _check(std)
    count = math.prod(shape)
    values = torch.zeros(count, dtype=torch.float64)
    if std > 0:
        for start in range(0, count, _CHUNK):
            part = values[start : start + _CHUNK]
            for _ in range(_DRAWS):
                part += _box_muller(len(part))
        values *= std / math.sqrt(_DRAWS)
    return values.reshape(tuple(shape))


def _box_muller(count: int) -> Tensor:
    pairs = -(-count // 2)
    # bytearray: a tensor over read-only memory would warn.
    words = torch.frombuffer(bytearray(os.urandom(16 * pairs)), dtype=torch.int64) if pairs else torch.empty(0)
    uniform = ((words.long() & ((1 << 53) - 1)).double() + 1) * 2.0**-53  # (0, 1]: its logarithm is finite
    radius, angle = torch.sqrt(-2 * torch.log(uniform[:pairs])), 2 * math.pi * uniform[pairs:]
    return torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])[:count]


def check_dtype(total: Tensor) -> None:
    """Check that a sum can hold its noise: it is float32 or float64.

    Integers would cut the noise off at the point. Float16 and bfloat16 have 11 and 8 significant bits: beside a sum of
    1000, a bfloat16 rounds noise of standard deviation 1 away. Clipped sums are float32, whatever the precision of the
    passes.

    Raises:
        ParamsError: for any other type.

    >>> check_dtype(torch.zeros(2))
    >>> check_dtype(torch.zeros(2, dtype=torch.int64))
    Traceback (most recent call last):
    dpmix.errors.ParamsError: noise would be lost in a sum of torch.int64; add it to float32 or float64: total.float()
    """
    if total.dtype not in (torch.float32, torch.float64):
        raise ParamsError(f"noise would be lost in a sum of {total.dtype}; add it to float32 or float64: total.float()")


def is_zero(std: float | Tensor) -> bool:
    """Whether a standard deviation, or every entry of a tensor of them, is zero: there is no noise to add.

    Raises:
        ParamsError: a standard deviation that is negative or not finite.

    >>> is_zero(0.0), is_zero(torch.tensor([0.0, 1.0]))
    (True, False)
    """
    if isinstance(std, Tensor):
        if not bool(((std >= 0) & torch.isfinite(std)).all()):
            raise ParamsError("a standard deviation of the noise is negative or not finite; give numbers >= 0")
        return bool((std == 0).all())
    _check(std)
    return std == 0


def _check(std: float) -> None:
    if not 0 <= std < math.inf:
        raise ParamsError(f"standard deviation {std} of the noise is not a finite number >= 0; use plan.noise_std")


def _like(std: float | Tensor, tensor: Tensor) -> Tensor:
    return torch.as_tensor(std, dtype=tensor.dtype, device=tensor.device)
