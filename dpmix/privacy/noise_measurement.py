"""Statistical tests of a run's noise: is what was added independent Gaussian noise of the size that the run says?

A faulty noise source may forget a parameter or use a key twice. So the noise that was really added is held against its
distribution by χ² tests, which are exact for independent Gaussian numbers, and valid for every number of entries and
steps. A correct run fails about once in 10¹² calls of `verify`.

With few numbers, one parameter or one step, small faults go unnoticed. And a source that was made to deceive can
compute noise that passes: these tests find mistakes of a program, not an adversary in it.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpmix.errors import PrivacyError

if TYPE_CHECKING:
    from torch import Tensor

# Of each kind of test, of noise and of samples; there are fewer than ten.
CHANCE = 1e-13
MOST_STEPS = 1e6
_DISCARD = "; discard the model and mend the noise source"


@dataclass
class _Entries:
    """What is kept of one parameter's noise, in units of its standard deviation.

    Attributes:
        energy: float32 [entries], squares summed over steps.
        total: float32 [entries], noise summed over the steps that were whitened.
        columns, rows: squares of the sums along either axis of a matrix, each over its variance, summed over steps.
        shape: rows and columns of that matrix; one of them is 1 where there is none.
        steps, whitened: steps in `energy`, and in everything else.
    """

    energy: "Tensor"
    total: "Tensor"
    columns: "Tensor"
    rows: "Tensor"
    shape: tuple[int, int]
    steps: int = 0
    whitened: int = 0


class NoiseMeasurement:
    """Measures the noise of one model, entry by entry, and tests whether it is independent standard Gaussian.

    Correlated noise y is whitened first: z_t = Σ_j c_j y_{t-j} should be independent (see
    `dpmix.privacy.matrix_factorization`). Where earlier steps are unknown, because another process took them, only the
    energy of y is tested, which is no less than that of z.

    Args:
        column: c, the first column of the strategy; (1,) for independent noise.
        fresh: whether the first step that is measured is the run's first.

    >>> import torch
    >>> zeros, drawn = torch.zeros(10_000), torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    >>> good, weak = NoiseMeasurement(), NoiseMeasurement()
    >>> good.add("weight", zeros, 2.0 * drawn, std=2.0)
    >>> good.verify()
    >>> weak.add("weight", zeros, 1.0 * drawn, std=2.0)
    >>> weak.verify()
    Traceback (most recent call last):
    dpmix.errors.PrivacyError: the noise that was added has ... of the standard deviation that was asked for; ...
    """

    def __init__(self, column: Sequence[float] = (1.0,), fresh: bool = True) -> None:
        self._column, self._fresh = tuple(column), fresh
        self._past: dict[str, deque[Tensor]] = {}
        self._entries: dict[str, _Entries] = {}
        self._step: list[Tensor] = []  # the present step's noise, by parameter
        self._together: Tensor | float = 0.0  # squares of sums over parameters, over their variance, over steps
        self._freedom = 0
        self._quietest: dict[int, Tensor | float] = {}  # least energy of a step, by its number of entries
        self._along: Tensor | float = 0.0  # Σ ⟨z, sum⟩ and Σ |sum|², the sum in units of the standard deviation
        self._squares: Tensor | float = 0.0
        self._whitened = True
        self._rounding: Tensor | float = 0.0  # the most that float32 can have moved an entry, in the same units

    @property
    def count(self) -> int:
        """Entries measured, all steps together."""
        return sum(len(one.energy) * one.steps for one in self._entries.values())

    def add(self, name: str, total: "Tensor", noisy: "Tensor", std: float) -> None:
        """Measure one parameter's noise at one step.

        Args:
            name: the parameter's name.
            total: the clipped sum before the noise.
            noisy: after it, of the same shape.
            std: the standard deviation > 0 that the noise is said to have.
        """
        import torch

        exact = total.detach().double() / std
        drawn = noisy.detach().double() / std - exact
        past = self._past.setdefault(name, deque(maxlen=max(1, len(self._column) - 1)))
        whitened = self._whitened = self._fresh or len(past) >= len(self._column) - 1
        noise = drawn
        if whitened and self._column != (1.0,):
            noise = drawn * self._column[0]
            for coefficient, earlier in zip(self._column[1:], past, strict=False):
                noise = noise + coefficient * earlier
        if len(self._column) > 1:
            past.appendleft(drawn)
        kept = self._entries.get(name)
        if kept is None:
            zeros, zero = torch.zeros(noise.numel(), device=noise.device), noise.new_zeros(())
            rows = noise.shape[0] if noise.dim() > 1 else 1
            shape = (rows, noise.numel() // max(1, rows))
            kept = self._entries[name] = _Entries(zeros, zeros.clone(), zero, zero.clone(), shape)
        squares = noise.flatten().square()
        kept.energy += squares
        kept.steps += 1
        self._step.append(noise.flatten())
        largest = noisy.detach().abs().max().double() / std if noisy.numel() else noise.new_zeros(())
        self._rounding = torch.maximum(largest * 2.0**-23, torch.as_tensor(self._rounding, device=largest.device))
        if whitened:
            kept.whitened += 1
            kept.total += noise.flatten()
            matrix = noise.reshape(kept.shape)
            kept.columns += matrix.sum(dim=0).square().sum() / max(1, kept.shape[0])
            kept.rows += matrix.sum(dim=1).square().sum() / max(1, kept.shape[1])
            self._along = self._along + (noise * exact).sum()
            self._squares = self._squares + exact.square().sum()

    def close_step(self) -> None:
        """Call this once all parameters of a step have been measured: tests that compare parameters follow."""
        import torch

        step, self._step = sorted(self._step, key=len), []
        entries = sum(map(len, step))
        if not entries:
            return
        energy = torch.stack([noise.square().sum() for noise in step]).sum()
        self._quietest[entries] = torch.minimum(
            energy, torch.as_tensor(self._quietest.get(entries, math.inf)).to(energy)
        )
        if len(step) > 1 and self._whitened:
            # Noise from one key begins with the same numbers whatever its shape.
            size = len(step[-2])
            total = torch.zeros(size, dtype=energy.dtype, device=energy.device)
            variance = torch.zeros_like(total)
            for noise in step:
                total[: len(noise)] += noise[:size]
                variance[: len(noise)] += 1
            self._together = self._together + (total.square() / variance).sum()
            self._freedom += size

    def verify(self) -> None:
        """Test all that was measured.

        Raises:
            PrivacyError: if the noise is too small, altogether or in a step, a parameter or an entry; if it repeats or
                cancels over steps, within a parameter or between two; or if it correlates with the clipped sum.
        """
        if not self.count:
            return
        self._verify_energy()
        # A mixture of exponential supermartingales (de la Peña et al., 2004): for any sums that depend on the past.
        along, squares = float(self._along), float(self._squares)
        if along**2 > (squares + 1) * (2 * math.log(1 / CHANCE) + math.log(squares + 1)):
            raise PrivacyError(f"the noise goes with the sum that it was added to{_DISCARD}")
        for name, one in self._entries.items():
            if one.whitened and len(one.energy):
                self._verify_independence(name, one)
        if self._freedom and not _expected(float(self._together), self._freedom, CHANCE):
            raise PrivacyError(f"two parameters have had the same noise, or noises that cancel{_DISCARD}")

    def _verify_energy(self) -> None:
        # Rounding makes the noise of an entry exactly zero now and then; where it is coarser than this, too often.
        rounding = min(max(1e-6, float(self._rounding)), 0.1) ** 2
        energies = {name: float(one.energy.double().sum()) for name, one in self._entries.items()}
        energy = sum(energies.values())
        if not energy >= _least(self.count, CHANCE) - self.count * rounding:
            raise PrivacyError(
                f"the noise that was added has {math.sqrt(max(energy, 0) / self.count):.3g} of the standard deviation "
                f"that was asked for{_DISCARD}"
            )
        for entries, least in self._quietest.items():
            if not float(least) >= _least(entries, CHANCE / MOST_STEPS) - entries * rounding:
                raise PrivacyError(f"the noise that was added in some step is less than was asked for{_DISCARD}")
        everywhere = sum(len(one.energy) for one in self._entries.values())
        for name, one in self._entries.items():
            freedom = len(one.energy) * one.steps
            enough = energies[name] >= _least(freedom, CHANCE / len(self._entries)) - freedom * rounding
            least = _least(one.steps, CHANCE / everywhere) - one.steps * rounding
            if not (enough and bool((one.energy >= least).all())):
                raise PrivacyError(f"the noise that was added to {name}, or to a part of it, is too little{_DISCARD}")

    def _verify_independence(self, name: str, one: _Entries) -> None:
        chance = CHANCE / len(self._entries)
        if not _expected(float(one.total.double().square().sum()) / one.whitened, len(one.total), chance):
            raise PrivacyError(f"the noise of {name} repeats or cancels from step to step{_DISCARD}")
        rows, columns = one.shape
        for energy, sums in ((one.columns, columns), (one.rows, rows)):
            if not _expected(float(energy), sums * one.whitened, chance):
                raise PrivacyError(f"the noise of {name} repeats or cancels within it{_DISCARD}")


def _least(freedom: int, chance: float) -> float:
    """The quantile of the χ² distribution with `freedom` degrees of freedom below which lies probability `chance`."""
    from scipy.special import gammaincinv

    # Of nothing, nothing; and sums are kept in float32.
    return 2 * float(gammaincinv(freedom / 2, chance)) * (1 - 1e-6) if freedom else 0.0


def _expected(energy: float, freedom: int, chance: float) -> bool:
    """Whether `energy` is between the quantiles of χ² that leave probability `chance` at either end."""
    from scipy.special import gammainccinv

    return _least(freedom, chance) <= energy <= 2 * float(gammainccinv(freedom / 2, chance)) * (1 + 1e-3)
