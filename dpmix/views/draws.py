"""The random parameters of views; each view's depend on its key alone, and not on what else is in the batch.

Importing this module loads no torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dpmix.random import KeyedRandom


# How many Philox blocks (of four numbers each) are made at a time, which bounds the memory for 64-bit intermediates.
_NOISE_BLOCKS = 1 << 20


class Draws:
    """The random parameters of m views, one row for each view.

    Args:
        random: keyed draws for the n examples.
        stream: the purpose of the views; draws of different streams are independent.
        views: K, views of each example. Row i K + j belongs to view j of example i.
        device: where the parameters are put. They are drawn on the CPU, so that they are the same on every device.
        rows: int64 [m], the rows to keep; None keeps all n K.
    """

    def __init__(
        self,
        random: KeyedRandom,
        stream: str,
        views: int,
        device: torch.device | str = "cpu",
        rows: Tensor | None = None,
    ) -> None:
        self._random, self._stream, self._views, self._device, self._rows = random, stream, views, device, rows

    def __len__(self) -> int:
        return len(self._random.examples) * self._views if self._rows is None else len(self._rows)

    def within(self, name: str) -> Draws:
        """Further draws for the same views, keyed by `name` and independent of these."""
        return Draws(self._random, f"{self._stream}/{name}", self._views, self._device, self._rows)

    def take(self, rows: Tensor) -> Draws:
        """The draws of some of these views only: `rows`, int64 [m'], are indices into the m views."""
        rows = rows.cpu()
        kept = rows if self._rows is None else self._rows[rows]
        return Draws(self._random, self._stream, self._views, self._device, kept)

    def uniform(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on (low, high), float32 [m, *shape]."""
        import torch

        drawn = torch.from_numpy(self._random.uniform(f"{self._stream}/{name}", self._views, *shape))
        return self._placed((low + (high - low) * drawn).float())

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """Uniform integers in [0, high), int64 [m, *shape]."""
        import torch

        drawn = self._random.integers(f"{self._stream}/{name}", high, self._views, *shape)
        return self._placed(torch.from_numpy(drawn))

    def words(self, name: str, *shape: int) -> Tensor:
        """Uniform 32-bit words, int64 [m, *shape] in [0, 2**32)."""
        import numpy as np
        import torch

        drawn = self._random.words(f"{self._stream}/{name}", self._views, *shape)
        return self._placed(torch.from_numpy(drawn.astype(np.int64)))

    def _placed(self, drawn: Tensor) -> Tensor:
        drawn = drawn.flatten(0, 1)
        return (drawn if self._rows is None else drawn[self._rows]).to(self._device)


def standard_normal(keys: Tensor, count: int) -> Tensor:
    """Standard normal pixels, float32 [m, count], from one Philox key for each view, int64 [m, 2].

    Philox-4x32-10 (Salmon et al., SC 2011) and Box and Muller's transform, on the device of `keys`: drawing this many
    numbers on the CPU would cost more than the encoder does. For augmentation only; never for privacy.
    """
    import torch

    blocks = -(-count // 4)
    drawn = torch.empty(len(keys), blocks * 4, device=keys.device)
    step = max(1, _NOISE_BLOCKS // blocks)
    for start in range(0, len(keys), step):
        words = _philox(keys[start : start + step], blocks)
        unit = [(word.float() + 0.5) * 2.0**-32 for word in words]
        for first, second in ((0, 1), (2, 3)):
            radius = (unit[first].log() * -2).clamp_(min=0).sqrt_()
            angle = unit[second] * (2 * math.pi)
            drawn[start : start + step, first * blocks : (first + 1) * blocks] = radius * angle.cos()
            drawn[start : start + step, second * blocks : (second + 1) * blocks] = radius * angle.sin()
    return drawn[:, :count]


def _philox(keys: Tensor, blocks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox-4x32-10 on counters 0 .. blocks - 1 for each key, int64 [m, 2]: four int64 [m, blocks] of 32-bit words.

    They are the same as those of `dpmix.random.philox`, computed with the signed integers that torch has: a product
    overflows without harm, and its upper half is masked after the shift, which copies the sign bit.
    """
    import torch

    mask = 0xFFFFFFFF
    c0 = torch.arange(blocks, device=keys.device).expand(len(keys), -1)
    c1 = c2 = c3 = torch.zeros_like(c0)
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & mask) ^ c1 ^ k0, p1 & mask, ((p0 >> 32) & mask) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3
