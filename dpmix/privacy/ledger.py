"""What a run executed, and what that cost: the only place from which an ε of a trained model comes.

The plan says what should happen; the ledger records what did: for each step the sampling rate and the standard
deviation of the noise. It does not take the trainer's word for either. Noise is measured, as the difference between
what went into the noise source and what came out (`noise_measurement`), and samples are counted (`sample_measurement`).
A run whose noise or samples do not fit what it says, or that took other steps than planned, is refused.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import Steps, rounded_up
from dpmix.privacy.model_mix_accounting import MixedSteps
from dpmix.privacy.noise_measurement import NoiseMeasurement
from dpmix.privacy.sample_measurement import SampleMeasurement

if TYPE_CHECKING:
    from torch import Tensor

    from dpmix.privacy.model_mix import MixRule
    from dpmix.privacy.model_mix_measurement import MixingMeasurement
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
        self._counts: dict[tuple[float, ...], int] = {}  # by noise, rate, and for ModelMix width and truncation
        self._std = math.inf  # the least noise asked for in the present step
        self._length: Tensor | float = 0.0  # squared, of the present step's sum
        self._stretch: Tensor | float = 0.0  # the longest sum of any step over what its units can make
        self._column = tuple(column)
        self._noise = NoiseMeasurement(self._column)
        self._samples = SampleMeasurement()
        self._mixing: MixingMeasurement | None = None
        self._noised: set[str] = set()  # parameters that got noise in the present step
        self._widths: dict[str, float] = {}  # the width of mixing of each in the present step, on the clipped sum
        self._largest: Tensor | float = 0.0  # entry of the present step's sum, in modulus
        self._excess: Tensor | float = 0.0  # the largest entry of any step over what its units can make

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
        import torch

        self._std = min(self._std, float(std))
        self._length = self._length + total.detach().double().square().sum()
        self._noised.add(name)
        if total.numel():
            largest = total.detach().abs().amax()
            self._largest = torch.maximum(largest, torch.as_tensor(self._largest).to(largest))
        if std > 0:
            self._noise.add(name, total, noisy, float(std))

    def measure_mixing(
        self, name: str, last: "Tensor", before: "Tensor", noisy: "Tensor", after: "Tensor", rule: "MixRule"
    ) -> None:
        """Measure one parameter's update by ModelMix, after its noise and before the step is closed.

        Args:
            name: the parameter's name.
            last: the weights as they were released by the last step, w_{k-1}.
            before: those of the step before, w_{k-2}.
            noisy: the noisy sum of this step.
            after: what this step releases, w_k.
            rule: width, learning rate and the like, as the update says.
        """
        from dpmix.privacy.model_mix_measurement import MixingMeasurement

        if self._mixing is None:
            self._mixing = MixingMeasurement()
        self._mixing.add(name, last, before, noisy, after, rule)
        self._widths[name] = rule.width / rule.scale

    def close_step(self, sample: "Sample", sensitivity: float, largest: float | None = None) -> None:
        """Count one noisy update: its sample, and the noise and mixing that were measured since the update before.

        Args:
            sample: as the sampler gave it.
            sensitivity: how far one record can move the clipped sum, in L2 norm: `Plan.sensitivity`.
            largest: how far one record can move any entry of the clipped sum, `Clipping.largest`; by default also
                `sensitivity`.

        Raises:
            PrivacyError: if no noise was asked for.
        """
        import torch

        if self._std == math.inf:
            raise PrivacyError("a step was closed without noise having been asked for; add it to every parameter")
        self._samples.add(sample)
        self._noise.close_step()
        largest = sensitivity if largest is None else largest
        mixed = None
        if self._mixing:
            self._mixing.close_step()
            if self._noised <= self._widths.keys():
                mixed = min(self._widths.values()) / sensitivity, (sensitivity / largest) ** 2
        self.add(self._std / sensitivity, sample.rate, mixed=mixed)
        self._stretch = _most(self._stretch, torch.as_tensor(self._length).sqrt(), len(sample.units) * sensitivity)
        self._excess = _most(self._excess, torch.as_tensor(self._largest), len(sample.units) * largest)
        self._std, self._length, self._largest = math.inf, 0.0, 0.0
        self._noised, self._widths = set(), {}

    def record(self, plan: "Plan", steps: int = 1) -> None:
        """Count `steps` updates with the plan's noise, rate and mixing, without measuring anything."""
        self.add(plan.noise_multiplier, plan.step_rate, steps, mixed=plan.mixed_as)

    def add(
        self, noise_multiplier: float, sampling_rate: float, steps: int = 1, mixed: tuple[float, float] | None = None
    ) -> None:
        """Count `steps` updates with this noise and rate, without measuring anything.

        Args:
            noise_multiplier: σ.
            sampling_rate: q.
            steps: how many.
            mixed: width and truncation, as in `MixedSteps`, where every parameter was mixed.

        Raises:
            ParamsError: if `steps` is below 0.
        """
        if steps < 0:
            raise ParamsError(f"{steps} steps cannot be counted; a step that was released cannot be taken back")
        key = (float(noise_multiplier), float(sampling_rate), *map(float, mixed or ()))
        self._counts[key] = self._counts.get(key, 0) + int(steps)

    def history(self) -> list[Steps]:
        """The executed steps, equal ones together."""
        counts: dict[tuple[float, float], int] = {}
        for (sigma, rate, *_), steps in self._counts.items():
            counts[sigma, rate] = counts.get((sigma, rate), 0) + steps
        return [Steps(sigma, rate, steps) for (sigma, rate), steps in counts.items() if steps]

    def mixed(self) -> list[MixedSteps]:
        """The executed steps that mixed every parameter, as ModelMix does; empty for a run of SGD."""
        return [
            MixedSteps(sigma, rate, steps, *mixed)
            for (sigma, rate, *mixed), steps in self._counts.items()
            if steps and mixed
        ]

    def spent(self, plan: "Plan") -> dict[str, float]:
        """ε of the executed steps at the plan's δ by accountant, without those that cannot evaluate them."""
        return plan.spent(self.history(), self.mixed())

    def stated(self, plan: "Plan") -> tuple[str, float]:
        """The ε of the executed steps that a run states, after the name of what computed it; see `Plan.stated`."""
        return plan.stated(self.history(), self.mixed())

    def verify(self) -> None:
        """Hold what was measured against what was said, by statistical tests.

        Raises:
            PrivacyError: if the noise or the mixing is too small or not independent, samples do not fit their rate, or
                a sum is longer, or larger in an entry, than the clipped gradients of its units can make it.
        """
        self._noise.verify()
        self._samples.verify()
        if self._mixing:
            self._mixing.verify()
        if not float(self._excess) <= 1 + 1e-3:
            raise PrivacyError(
                "an entry of a sum is larger than the clipped gradients of its sample can make it; discard the model "
                "and mend the clipping"
            )
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
        if self._samples.gap is not None and self._samples.gap < plan.least_gap:
            raise PrivacyError(
                f"a unit could be sampled twice within {plan.least_gap} steps, in which the plan counts it once; "
                "discard the model and mend the sampler"
            )
        self._check_mixing(plan)
        if self.steps > plan.steps:
            raise PrivacyError(f"{self.steps} steps were executed but {plan.steps} planned; discard the model")
        if plan.target_epsilon == math.inf:
            return
        by, spent = self.stated(plan)
        if not spent <= plan.target_epsilon:
            raise PrivacyError(
                f"the run spent epsilon {rounded_up(spent, 6)} ({by}), above its target "
                f"{plan.target_epsilon:g}; discard the model and calibrate again"
            )

    def _check_mixing(self, plan: "Plan") -> None:
        if plan.mixed_as is None:
            return
        width, truncation = plan.mixed_as
        rows = self.mixed()
        if sum(row.steps for row in rows) != self.steps:
            raise PrivacyError("a step left some parameter unmixed; discard the model and mix every parameter")
        for row in rows:
            if row.width < width * (1 - 1e-9):
                raise PrivacyError(
                    f"a step mixed over a width of {row.width:g} C on the clipped sum, not the planned {width:g} C; "
                    "discard the model and keep the mixing width and the learning rate in proportion"
                )
            if row.truncation < truncation * (1 - 1e-9):
                raise PrivacyError(
                    f"a step let entries of gradients up to C / sqrt({row.truncation:g}) through, not the planned "
                    f"C / sqrt({truncation:g}); discard the model and set clipping to coordinates"
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
        """As plain JSON values: rows of noise multiplier, rate and steps, and for ModelMix width and truncation."""
        return [[*key[:2], steps, *key[2:]] for key, steps in self._counts.items() if steps]

    @classmethod
    def from_json(cls, rows: list[list[float]], column: Sequence[float] = (1.0,)) -> Self:
        """The ledger that `to_json` described, with its counts and without measurements.

        Raises:
            ValueError: for rows that `to_json` does not make.
        """
        ledger = cls(column)
        for row in rows:
            if len(row) not in (3, 5) or row[2] != int(row[2]):
                raise ValueError(f"{row} is no row of a ledger")
            sigma, rate, steps, *mixed = row
            ledger.add(sigma, rate, int(steps), mixed=(mixed[0], mixed[1]) if mixed else None)
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
            if not (_close(sigma, plan.noise_multiplier) and rate == executed_rate(plan.step_rate)):
                raise PrivacyError(f"its steps had noise multiplier {sigma:g} and rate {rate:g}, which are not planned")
        planned = plan.mixed_as or ()
        for _, _, *mixed in self._counts:
            if not (len(mixed) == len(planned) and all(map(_close, mixed, planned))):
                raise PrivacyError("its steps mixed released states otherwise than is planned")
        if not (self.steps == steps and 0 <= steps <= plan.steps):
            raise PrivacyError(f"it stands after step {steps} of {plan.steps} and its ledger has {self.steps}")


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _most(so_far: "Tensor | float", value: "Tensor", bound: float) -> "Tensor":
    """The larger of `so_far` and value / bound, which is infinite where only 0 is allowed."""
    import torch

    share = value / bound if bound else torch.where(value > 0, math.inf, 0.0).to(value)
    return torch.maximum(share, torch.as_tensor(so_far).to(share))


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
