"""The noise source of banded matrix factorization, whose noises of neighbouring steps partly cancel."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.matrix_factorization import check_coefficients
from dpmix.privacy.noise import add_on_grid, check_dtype, gaussian, is_zero, secure_gaussian


@dataclass
class _Past:
    """The last draws of one parameter, newest first, in units of the standard deviation."""

    step: int
    draws: deque[Tensor]


class BandedNoise:
    """A `NoiseSource` whose noise is std × (C⁻¹ z)_t, with z as `SeededNoise` or `SecureNoise` would draw it.

    y = C⁻¹ z follows from its own last b - 1 rows, y_t = (z_t - Σ_j c_j y_{t-j}) / c_0. These are the state, b - 1
    tensors for each parameter, so steps must come in order. With a seed the state can be recomputed: asked for a step
    that does not follow the last one, the source draws z anew from the first step on, with the same result to the last
    bit. Without a seed it cannot, and `load_state_dict` must restore it when a run resumes.

    Args:
        coefficients: the first column of C, of norm at most 1; see `matrix_factorization.strategy`.
        seed: of a research run; None draws from the operating system's entropy, for a model meant for release.

    Raises:
        ParamsError: coefficients for which the noise would be too small.

    With one band it is fresh noise:

    >>> from dpmix.privacy.noise import SeededNoise
    >>> zeros = torch.zeros(5)
    >>> banded = BandedNoise((1.0,), seed=0).add(zeros, 1.0, step=0, name="weight")
    >>> torch.equal(banded, SeededNoise(seed=0).add(zeros, 1.0, step=0, name="weight"))
    True
    """

    def __init__(self, coefficients: Sequence[float], seed: int | None) -> None:
        self.coefficients = tuple(coefficients)
        check_coefficients(self.coefficients)
        self.seed = seed
        self._past: dict[str, _Past] = {}

    def add(self, total: Tensor, std: float | Tensor, *, step: int, name: str) -> Tensor:
        """See `NoiseSource.add`; here the noises of different steps are correlated.

        Raises:
            ParamsError: a standard deviation that is negative or not finite.
            PrivacyError: without a seed, a step that does not follow the last one of this name.
        """
        check_dtype(total)
        if is_zero(std):
            return total
        noise = self._draw(total.shape, step, name)
        if self.seed is None:
            return add_on_grid(total, noise, std)
        return total + noise.to(total) * torch.as_tensor(std, dtype=total.dtype, device=total.device)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint between two steps must hold: contiguous CPU tensors by name.

        Whoever reads them can subtract noise, so in a run for release they are as secret as the records.

        Raises:
            PrivacyError: in the middle of a step, when some parameters have had their noise and others not.
        """
        steps = {past.step for past in self._past.values()}
        if len(steps) > 1:
            raise PrivacyError("some parameters have had this step's noise and others not; save between steps")
        state = {f"past/{name}": torch.stack(list(past.draws)) for name, past in self._past.items()}
        return {**state, "step": torch.tensor(steps.pop() if steps else -1)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the step at which `state` was saved.

        Raises:
            ParamsError: the state of another strategy.
        """
        step = int(state["step"])
        draws = {name.removeprefix("past/"): value for name, value in state.items() if name != "step"}
        if any(len(value) != min(step + 1, self._kept) for value in draws.values()):
            raise ParamsError(
                f"this noise was saved with another number of bands than {len(self.coefficients)}; start anew"
            )
        self._past = {name: _Past(step, self._deque(value.unbind())) for name, value in draws.items()}

    @property
    def _kept(self) -> int:
        return max(1, len(self.coefficients) - 1)

    def _deque(self, draws: Iterable[Tensor] = ()) -> deque[Tensor]:
        return deque(draws, maxlen=self._kept)

    def _draw(self, shape: Sequence[int], step: int, name: str) -> Tensor:
        """One step's y, on the CPU: float32, or float64 for release."""
        past = self._past.get(name)
        if past is None or (self.seed is not None and step < past.step):
            past = self._past[name] = _Past(-1, self._deque())
        if self.seed is None and step != past.step + 1:
            raise PrivacyError(
                f"the banded noise of {name} stands after step {past.step} and cannot give step {step}; resume it with "
                "its saved state, and give every model of a release noise of its own"
            )
        first, *others = self.coefficients
        while past.step < step:
            past.step += 1
            if self.seed is None:
                drawn = secure_gaussian(shape, 1.0)
            else:
                drawn = gaussian(shape, 1.0, seed=self.seed, step=past.step, name=name)
            for coefficient, earlier in zip(others, past.draws, strict=False):
                drawn = drawn.sub_(earlier, alpha=coefficient)
            past.draws.appendleft(drawn.div_(first))
        return past.draws[0]
