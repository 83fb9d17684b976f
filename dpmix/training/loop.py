"""What every trainer shares: the sample and the noise of a step, when an epoch ends, physical batches, accuracy."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dpmix.experiment import Experiment
from dpmix.privacy.matrix_factorization import (
    BandedNoise,
    BandedPlan,
    cyclic_poisson_sample,
    secure_cyclic_poisson_sample,
)
from dpmix.privacy.noise import NoiseSource, Release, Research
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import poisson_sample, secure_poisson_sample
from dpmix.progress import progress
from dpmix.training.workers import Workers


def epoch_ends(steps: int, epochs: int) -> set[int]:
    """The steps (counted from one) after which an epoch ends: the last step of each of `epochs` equal parts."""
    return {(epoch + 1) * steps // epochs for epoch in range(epochs)} - {0}


def epoch_of(step: int, steps: int, epochs: int) -> int:
    """The epoch, counted from zero, that step `step` (counted from zero) belongs to."""
    return next(epoch for epoch in range(epochs) if step < (epoch + 1) * steps // epochs)


def noise_source(experiment: Experiment, plan: Plan) -> NoiseSource:
    """Keyed by the run's seed; for a run whose model is to be released, from the operating system's entropy."""
    if isinstance(plan, BandedPlan):
        return BandedNoise(plan.coefficients, None if experiment.release else experiment.seed)
    return Release() if experiment.release else Research(experiment.seed)


def draw_sample(experiment: Experiment, plan: Plan, step: int, workers: Workers, device: str) -> np.ndarray:
    """The units of one logical batch, sorted int64 [m], the same on every process.

    For release it is drawn by the leading process from the operating system's entropy, and kept nowhere.
    """
    bands = plan.bands if isinstance(plan, BandedPlan) else 1
    if not experiment.release:
        if bands > 1:
            return cyclic_poisson_sample(experiment.seed, step, plan.population, plan.batch_size, bands)
        return poisson_sample(experiment.seed, step, plan.units, plan.sampling_rate)
    taken = torch.zeros(plan.units, dtype=torch.uint8, device=device)
    if workers.leads:
        if bands > 1:
            drawn = secure_cyclic_poisson_sample(step, plan.population, plan.batch_size, bands)
        else:
            drawn = secure_poisson_sample(plan.units, plan.sampling_rate)
        taken[torch.from_numpy(drawn).to(device)] = 1
    return np.flatnonzero(workers.agree(taken).cpu().numpy())


def remaining_steps(start: int, steps: int, label: str, workers: Workers) -> Iterator[int]:
    """The steps from `start` on, with one progress display however many processes there are."""
    yield from progress(range(start, steps), label) if workers.leads else range(start, steps)


def physical_batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of at most `size` of a logical batch; none for an empty one."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def percent_correct(predictions: Tensor, labels: np.ndarray) -> float:
    """Per cent of examples whose prediction, int64 [m], is their label, int64 [m]."""
    return per_cent(count_correct(predictions, labels), len(labels))


def count_correct(predictions: Tensor, labels: np.ndarray) -> int:
    """How many predictions, int64 [m], are the labels, int64 [m]."""
    return int((predictions.cpu() == torch.from_numpy(np.ascontiguousarray(labels))).sum())


def per_cent(correct: int, of: int) -> float:
    """100 × correct / of, to six digits after the point."""
    return round(100 * correct / of, 6)
