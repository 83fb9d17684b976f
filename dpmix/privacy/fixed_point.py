"""Sums that are the same to the last bit in whatever order, and by how many processes, their terms are added.

Floating-point addition is not associative: a step whose sum is cut another way differs in the last bits, and training
makes of that another model. Here each term is rounded to whole multiples of one quantum, and int64 adds these exactly.

A term is rounded to the nearest multiple, so that it may come out longer than it was: by half a quantum in each entry,
which is √d / 2 · 2⁻³⁹ C or less in L2 norm, 10⁻⁹ of C for a million entries. The float32 numbers that are rounded have
errors many times larger, from the norm and the scaling of each gradient; neither is charged to ε, here or elsewhere.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# A quantum is 2⁻⁴⁰ of C or more: what float32 itself leaves of an entry of 2⁻¹⁷ C. A sum fits into int64 with 4 million
# terms of C; where there may be more, the quantum is coarser.
_BITS, _INT64 = 40, 62


class FixedPoint:
    """Writes sums of clipped gradients as int64, and reads them again.

    Args:
        like: tensors by name, whose shapes and device the sums have.
        clip_norm: C, which no entry of one unit's part in a term exceeds.
        terms: the most units whose sum it will be.

    Attributes:
        quantum: what 1 stands for, a power of two.

    >>> fixed = FixedPoint({"weight": torch.zeros(2)}, clip_norm=1.0, terms=1000)
    >>> one, other = (fixed.write({"weight": torch.tensor(values)}) for values in ([0.5, 1e-3], [-0.25, 1.0]))
    >>> fixed.read(one + other)
    {'weight': tensor([0.2500, 1.0010])}
    """

    def __init__(self, like: Mapping[str, Tensor], clip_norm: float, terms: int) -> None:
        self._shapes = {name: value.shape for name, value in like.items()}
        self._device = next(iter(like.values())).device
        bits = min(_BITS, _INT64 - math.ceil(math.log2(terms + 1)))
        self.quantum = 2.0 ** (math.ceil(math.log2(clip_norm)) - bits)

    def zero(self) -> Tensor:
        """The sum of nothing, int64 [all entries]."""
        entries = sum(shape.numel() for shape in self._shapes.values())
        return torch.zeros(entries, dtype=torch.int64, device=self._device)

    def write(self, total: Mapping[str, Tensor]) -> Tensor:
        """Float32 tensors by name, in the order of `like`, to the nearest multiples of the quantum, int64."""
        flat = torch.cat([total[name].flatten() for name in self._shapes])
        return (flat.double() / self.quantum).round_().to(torch.int64)

    def read(self, multiples: Tensor) -> dict[str, Tensor]:
        """Multiples of the quantum, int64 [all entries], to new float32 tensors by name."""
        flat = (multiples.double() * self.quantum).float()
        parts = flat.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}
