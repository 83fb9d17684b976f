"""`audit`: a lower bound on the ε of a configuration by canaries, beside the ε that is claimed for it.

Canaries are put into runs of the trainer with the configuration's own plan, sampler, clipping and noise, or left out
(`dpmix.own.research.canaries`). Whoever sees every noisy sum scores each by the logarithm of its likelihood ratio over
all steps,

    Σ_t log(1 - q + q exp((s_t - 1/2) / σ²)),    s_t the sum along its direction in units of C,

which is the best test if noise and sample are as claimed; if they are not, the bound is still valid. Two bounds are
taken (`dpmix.privacy.audit`): `threshold` assumes nothing, and `gdp`, which shows more, that the trade-off between the
test's errors is a Gaussian mechanism's. (It is a subsampled one's, for which this bound is too low rather than too
high: tests compare.) Each holds with half the allowed failures, so the larger one holds with 95 % confidence.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpmix.errors import DataError, ParamsError
from dpmix.own.choices.numbers import whole
from dpmix.own.choices.request import request
from dpmix.own.choices.setup import listed, relative, setup
from dpmix.own.images.place import expanded
from dpmix.own.model import model_folder
from dpmix.params.settings import RunSettings
from dpmix.privacy.audit import epsilon_lower_bound
from dpmix.privacy.plan import Plan
from dpmix.progress import progress
from dpmix.release.statement import read_statement
from dpmix.wording import counted

CONFIDENCE = 0.95
OBSERVATIONS = 4000
_LEAST = 8


@dataclass(frozen=True)
class Target:
    """A configuration and what is claimed for it.

    Attributes:
        name: of the images or the model.
        settings: all `RunSettings`, by name.
        plan: its sampling, noise and steps.
        classes: number of classes.
        claimed: ε at the plan's δ.
    """

    name: str
    settings: Mapping[str, Any]
    plan: Plan
    classes: int
    claimed: float


@dataclass(frozen=True)
class Audited:
    """What an audit found.

    Attributes:
        name: of the images or the model.
        unit: who is protected.
        population: N.
        sampling_rate: q.
        noise_multiplier: σ.
        steps: T.
        clip_norm: C.
        classes: number of classes.
        delta: δ.
        claimed: ε that is claimed.
        epsilon_lower_bound: ε is at least this, with the confidence.
        without_assumptions: the bound that assumes nothing.
        confidence: that both bounds hold.
        observations: canaries that were in; as many were left out.
        runs: of the trainer.
        contradicted: whether the bound exceeds the claim.
    """

    name: str
    unit: str
    population: int
    sampling_rate: float
    noise_multiplier: float
    steps: int
    clip_norm: float
    classes: int
    delta: float
    claimed: float
    epsilon_lower_bound: float
    without_assumptions: float
    confidence: float
    observations: int
    runs: int
    contradicted: bool

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """All of it for people."""
        verdict = "contradicted" if self.contradicted else "not contradicted"
        meaning = (
            "Something that should be private is not: do not hand out such a model."
            if self.contradicted
            else "That is no proof: an audit finds faults that its canaries can show, and a bound is below ε."
        )
        return [
            f"{self.name}: N = {self.population:,} {self.unit}s, sampling rate q {self.sampling_rate:.4g}, noise "
            f"multiplier σ {self.noise_multiplier:.4g}, steps T {self.steps}, clip norm C {self.clip_norm:g}, "
            f"{self.classes} classes",
            f"{self.observations:,} canaries in and as many left out, in {counted(self.runs, 'run')} of the trainer on "
            "made-up images; no private image was read",
            f"ε is at least {_down(self.epsilon_lower_bound)} with {self.confidence:.0%} confidence (at least "
            f"{_down(self.without_assumptions)} without assumptions on how the errors trade off)",
            f"claimed: ε = {self.claimed:g} for one {self.unit} at δ = {self.delta:g}: {verdict}",
            meaning,
        ]


def audit(
    place: str | Path, *, epsilon: float | None = None, observations: int = OBSERVATIONS, **options: Any
) -> Audited:
    """Audit what `train` would do with these images, or what it did for a model. No private image is read.

    What is found of a model is entered in its `privacy.json` and its card.

    Args:
        place: the folder, zip archive or CSV file of private images, of which only names are read; or a model's folder.
        epsilon: ε that `train` would spend on the images; a model's folder says its own.
        observations: how many canaries are in, and how many are left out, over all runs.
        options: of images: further arguments of `train` that say what is trained, such as `unit` or `batch_size`.

    Raises:
        ParamsError: for options that do not fit together.
        DataError: if there are no such images, or the model was not trained by `dpmix train` or cannot be written.
        PrivacyError: if the trainer itself finds its noise or sample other than planned.
    """
    observations = whole("observations", observations, least=_LEAST, such_as=OBSERVATIONS)
    folder = expanded(place)
    if model_folder.is_one(folder):
        given = {"epsilon": epsilon, **options}
        for name, value in given.items():
            if value is not None and value is not False and (name, value) != ("unit", "image"):
                raise ParamsError(f"a model's folder says its own {name}; leave out `{name}`")
        if not os.access(folder, os.W_OK):
            raise DataError(
                f"{folder} cannot be written, where the audit is to be entered; copy it, and audit the copy"
            )
        found = measured(of_model(folder), observations)
        model_folder.enter_audit(folder, found.to_json())
        return found
    return measured(of_images(place, epsilon, options), observations)


def of_images(images: str | Path, epsilon: float | None, options: Mapping[str, Any]) -> Target:
    """What `train` would do with these images."""
    asked = request(images, None, epsilon=epsilon, **options)
    made = setup(asked, listed(asked))
    made.experiment(1.0, 0)  # does all fit together?
    plan = made.plan_file().calibrated()
    return Target(relative(asked.images).name, made.settings, plan, made.dataset.classes, asked.epsilon)


def of_model(folder: Path) -> Target:
    """What was done for a model, by its own statement, which is held against its privacy record first."""
    found = model_folder.read(folder)
    found.check()
    statement = read_statement(found.model)
    settings = {name: value for name, value in found.config["settings"].items() if name in RunSettings.model_fields}
    if found.encoder is None or len(statement.mechanism) != 1 or settings.get("bands", 1) != 1:
        raise DataError(f"{folder} is no model of dpmix train: it is no head, or its steps differ; audit one that is")
    (row,) = statement.mechanism
    plan = Plan(
        population=statement.population,
        batch_size=settings["batch_size"],
        steps=row.steps,
        clip_norm=settings["clip_norm"],
        noise_multiplier=row.noise_multiplier,
        delta=statement.delta,
        unit=statement.unit,
    )
    claimed = min(statement.epsilons.values())
    return Target(folder.resolve().name, settings, plan, len(found.classes), claimed)


def measured(target: Target, observations: int = OBSERVATIONS) -> Audited:
    """Run the trainer with canaries, and bound ε by how well they can be told from those left out.

    Args:
        target: what is audited.
        observations: how many canaries are in over all runs, rounded up to whole runs.
    """
    from dpmix.own.research.canaries import canaries, observe

    plan = target.plan
    count = canaries(plan, target.classes, observations)
    runs = -(-observations // count)
    seen = [observe(target.settings, plan, target.classes, count) for _ in progress(range(runs), "auditing", "run")]
    inside, outside = (
        np.concatenate([scores(getattr(one, side), plan) for one in seen]) for side in ("inside", "outside")
    )
    each = 1 - (1 - CONFIDENCE) / 2
    bounds = {
        method: float(epsilon_lower_bound(inside, outside, plan.delta, each, method)) for method in ("threshold", "gdp")
    }
    largest = max(bounds.values())
    return Audited(
        name=target.name,
        unit=plan.unit,
        population=plan.population,
        sampling_rate=plan.sampling_rate,
        noise_multiplier=plan.noise_multiplier,
        steps=plan.steps,
        clip_norm=plan.clip_norm,
        classes=target.classes,
        delta=plan.delta,
        claimed=target.claimed,
        epsilon_lower_bound=largest,
        without_assumptions=bounds["threshold"],
        confidence=CONFIDENCE,
        observations=runs * count,
        runs=runs,
        contradicted=largest > target.claimed,
    )


def scores(sums: npt.NDArray[np.float64], plan: Plan) -> npt.NDArray[np.float64]:
    """Log likelihood ratios of "it was in" over all steps, float64 [n], of sums [T, n] along n directions."""
    q, variance = plan.sampling_rate, plan.noise_multiplier**2
    without = math.log1p(-q) if q < 1 else -math.inf
    total: npt.NDArray[np.float64] = np.logaddexp(without, math.log(q) + (sums - 0.5) / variance).sum(axis=0)
    return total


def _down(value: float) -> str:
    """A lower bound with two digits, rounded down."""
    return f"{math.floor(100 * value) / 100:.2f}"
