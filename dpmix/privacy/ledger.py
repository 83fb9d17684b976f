"""What a run executed, and what that cost: the only place from which an ε of a trained model comes.

The plan says what should happen; the ledger records what did: for each step the sampling rate and the standard
deviation of the noise. It does not take the trainer's word for either. Noise is measured, as the difference between
what went into the noise source and what came out, and samples are counted (`dpmix.privacy.measurement`). A run whose
noise or samples do not fit what it says, or that took other steps than planned, is refused.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, composed_epsilon, composed_epsilons, rounded_up
from dpmix.privacy.measurement import NoiseMeasurement, SampleMeasurement

if TYPE_CHECKING:
    from torch import Tensor

    from dpmix.privacy.noise import NoiseSource
    from dpmix.privacy.plan import Plan
    from dpmix.privacy.sampling import Sample


class Ledger:
    """The noisy steps that one model took. A training loop calls `add_noise` for each parameter, then `close_step`.

    The counts of steps go into a checkpoint (`to_json`). Measurements do not, because they would tell who was sampled
    and which noise was added. So call `verify` before each checkpoint: then each process has verified its own steps.

    Args:
        column: how the noise is correlated across steps: `Plan.noise_column`.

    >>> import torch
    >>> from dpmix.privacy.plan import Plan
    >>> plan = Plan.make(population=100, batch_size=50, epochs=2, clip_norm=1.0, noise_multiplier=2.0, delta=1e-3)
    >>> ledger, sampler, noise = Ledger(), plan.sampler(seed=0), plan.noise(seed=0)
    >>> for step in range(plan.steps):
    ...     noisy = ledger.add_noise(noise, torch.zeros(1000), plan.noise_std, step=step, name="weight")
    ...     ledger.close_step(sampler.sample(step), plan.sensitivity)
    >>> {accountant: round(value, 1) for accountant, value in ledger.certify(plan).items()}
    {'rdp': 1.9, 'prv': 1.6, 'pld': 1.6}
    """

    def __init__(self, column: Sequence[float] = (1.0,)) -> None:
        self._counts: dict[tuple[float, float], int] = {}
        self._std = math.inf  # the least noise asked for in the present step
        self._length: Tensor | float = 0.0  # squared, of the present step's sum
        self._stretch: Tensor | float = 0.0  # the longest sum of any step over what its units can make
        self._column = tuple(column)
        self._noise = NoiseMeasurement(self._column)
        self._samples = SampleMeasurement()

    @property
    def steps(self) -> int:
        """Steps executed, empty batches included."""
        return sum(self._counts.values())

    def add_noise(self, source: "NoiseSource", total: "Tensor", std: float, *, step: int, name: str) -> "Tensor":
        """`total` with noise from `source`; the noise is measured on the way.

        Args:
            source: what adds the noise.
            total: the clipped sum of one parameter over the whole logical batch.
            std: standard deviation of the noise, in units of `total`: `Plan.noise_std`.
            step: the logical step, from 0.
            name: the parameter's name.

        Returns:
            The noisy sum, of the shape of `total`.
        """
        noisy = source.add(total, std, step=step, name=name)
        self.measure(total, noisy, std, name=name)
        return noisy

    def measure(self, total: "Tensor", noisy: "Tensor", std: float, *, name: str) -> None:
        """Measure noise that somebody else added, as Opacus does: `noisy` - `total`, said to have deviation `std`."""
        self._std = min(self._std, float(std))
        self._length = self._length + total.detach().double().square().sum()
        if std > 0:
            self._noise.add(name, total, noisy, float(std))

    def close_step(self, sample: "Sample", sensitivity: float) -> None:
        """Count one noisy update: its sample, and the noise that was added since the update before.

        Args:
            sample: as the sampler gave it.
            sensitivity: how far one record can move the clipped sum, in L2 norm: `Plan.sensitivity`.

        Raises:
            PrivacyError: if no noise was asked for.
        """
        import torch

        if self._std == math.inf:
            raise PrivacyError("a step was closed without noise having been asked for; add it to every parameter")
        self._samples.add(sample)
        self._noise.close_step()
        self.add(self._std / sensitivity, sample.rate)
        length = torch.as_tensor(self._length).sqrt()
        most = len(sample.units) * sensitivity
        stretch = length / most if most else torch.where(length > 0, math.inf, 0.0).to(length)
        self._stretch = torch.maximum(stretch, torch.as_tensor(self._stretch).to(stretch))
        self._std, self._length = math.inf, 0.0

    def record(self, plan: "Plan", steps: int = 1) -> None:
        """Count `steps` updates with the plan's noise and rate, without measuring anything."""
        self.add(plan.noise_multiplier, plan.step_rate, steps)

    def add(self, noise_multiplier: float, sampling_rate: float, steps: int = 1) -> None:
        """Count `steps` updates with this noise and rate, without measuring anything.

        Raises:
            ParamsError: if `steps` is below 0.
        """
        if steps < 0:
            raise ParamsError(f"{steps} steps cannot be counted; a step that was released cannot be taken back")
        key = (float(noise_multiplier), float(sampling_rate))
        self._counts[key] = self._counts.get(key, 0) + int(steps)

    def history(self) -> list[Steps]:
        """The executed steps, equal ones together."""
        return [Steps(sigma, rate, steps) for (sigma, rate), steps in self._counts.items() if steps]

    def spent(self, plan: "Plan") -> dict[str, float]:
        """ε of the executed steps at the plan's δ by accountant, without those that cannot evaluate them."""
        return composed_epsilons(plan.accounted(self.history()), delta=plan.delta)

    def verify(self) -> None:
        """Hold what was measured against what was said, by the statistical tests of `dpmix.privacy.measurement`.

        Raises:
            PrivacyError: if the noise is too small or not independent, samples do not fit their rate, or a sum is
                longer than the clipped gradients of its units can make it.
        """
        self._noise.verify()
        self._samples.verify()
        if not float(self._stretch) <= 1 + 1e-3:  # sums are float32
            raise PrivacyError(
                "a sum is longer than the clipped gradients of its sample can make it; discard the model and mend the "
                "clipping"
            )

    def check(self, plan: "Plan") -> None:
        """`verify`, and hold what was executed so far against the plan.

        Raises:
            PrivacyError: as `verify`; or for more steps, less noise, a higher rate or a larger ε than planned.
        """
        self.verify()
        for sigma, rate, _ in self.history():
            if sigma < plan.noise_multiplier * (1 - 1e-12):
                raise PrivacyError(
                    f"a step had noise multiplier {sigma:g}, not the planned {plan.noise_multiplier:g}; discard it"
                )
            if rate > plan.step_rate:
                raise PrivacyError(
                    f"a step had sampling rate {rate:g}, above the planned {plan.step_rate:g}; discard the model"
                )
        if self._samples.gap is not None and self._samples.gap < plan.bands:
            raise PrivacyError(
                f"a unit could be sampled twice within {plan.bands} steps, over which the noise is correlated; discard "
                "the model and mend the sampler"
            )
        if self.steps > plan.steps:
            raise PrivacyError(f"{self.steps} steps were executed but {plan.steps} planned; discard the model")
        if plan.target_epsilon == math.inf:
            return
        spent = composed_epsilon(plan.accountant, plan.accounted(self.history()), delta=plan.delta)
        if not spent <= plan.target_epsilon:
            raise PrivacyError(
                f"the run spent epsilon {rounded_up(spent, 6)} ({plan.accountant}), above its target "
                f"{plan.target_epsilon:g}; discard the model and calibrate again"
            )

    def certify(self, plan: "Plan") -> dict[str, float]:
        """ε by accountant of a finished run that did what its plan says.

        Raises:
            PrivacyError: as `check`; or for fewer steps than planned, or noise that nobody measured.
        """
        self.check(plan)
        if self.steps != plan.steps:
            raise PrivacyError(f"{self.steps} of {plan.steps} steps were executed; the run is not finished")
        if plan.private and not self._noise.count:
            raise PrivacyError("nobody measured the noise of this run; train it with the noise source in the loop")
        return self.spent(plan)

    def to_json(self) -> list[list[float]]:
        """As plain JSON values: rows of noise multiplier, sampling rate, steps."""
        return [list(row) for row in self.history()]

    @classmethod
    def from_json(cls, rows: list[list[float]], column: Sequence[float] = (1.0,)) -> Self:
        """The ledger that `to_json` described, with its counts and without measurements."""
        ledger = cls(column)
        for sigma, rate, steps in rows:
            ledger.add(sigma, rate, int(steps))
        ledger._noise = NoiseMeasurement(column, fresh=ledger.steps == 0)
        return ledger

    def refuse_another(self, plan: "Plan", steps: int) -> None:
        """Check that a ledger from a file can be that of the first `steps` steps of `plan`.

        Anyone can edit a file, and more noise or a lower rate than planned would make ε come out too small.

        Raises:
            PrivacyError: if its noise, its rate or its number of steps is not what the plan did in `steps` steps.
        """
        from dpmix.privacy.sampling import executed_rate

        for sigma, rate, _ in self.history():
            if not (math.isclose(sigma, plan.noise_multiplier, rel_tol=1e-9) and rate == executed_rate(plan.step_rate)):
                raise PrivacyError(f"its steps had noise multiplier {sigma:g} and rate {rate:g}, which are not planned")
        if not (self.steps == steps and 0 <= steps <= plan.steps):
            raise PrivacyError(f"it stands after step {steps} of {plan.steps} and its ledger has {self.steps}")


def as_rows(history: list[Steps]) -> list[dict[str, Any]]:
    """Steps as they are written to JSON files; `from_rows` reads them.

    >>> as_rows([Steps(1.0, 0.5, 3)])
    [{'noise_multiplier': 1.0, 'sampling_rate': 0.5, 'steps': 3}]
    """
    return [row._asdict() for row in history]


def from_rows(rows: list[Mapping[str, Any]]) -> list[Steps]:
    """The steps that `as_rows` wrote.

    >>> from_rows([{"noise_multiplier": 1.0, "sampling_rate": 0.5, "steps": 3}])
    [Steps(noise_multiplier=1.0, sampling_rate=0.5, steps=3)]
    """
    return [Steps(float(row["noise_multiplier"]), float(row["sampling_rate"]), int(row["steps"])) for row in rows]
