"""DP-SGD from scratch on the views of Algorithm 1, and its microbatch variants (Tables 1, 2 and 5)."""

import time

import numpy as np
import torch
from torch import Tensor, nn

from dpmix.experiment import Experiment
from dpmix.mixing import Views, make_microbatch_views, make_views
from dpmix.models.wide_resnet import wide_resnet
from dpmix.params import WideResNetSpec
from dpmix.privacy.clipping import ExampleLoss, clipped_sum, zero_sum
from dpmix.privacy.noise import NoiseSource, Research
from dpmix.privacy.plan import Ledger, Plan
from dpmix.privacy.sampling import microbatches, poisson_sample
from dpmix.progress import progress
from dpmix.random import KeyedRandom
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.loop import epoch_ends, percent_correct, physical_batches
from dpmix.training.outcome import Outcome

_EVALUATION_BATCH = 512


def train_from_scratch(
    experiment: Experiment,
    plan: Plan,
    data: TrainingData,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    backend: str = "auto",
    noise: NoiseSource | None = None,
) -> Outcome:
    """Train a wide residual network with Eq. 4's noisy gradient and plain SGD.

    Args:
        experiment: what to train; its learning rate is a number.
        plan: sampling, sensitivity, noise and steps; executed to the letter.
        data: as `load_data` gives it.
        device: where the network and the views live.
        physical_batch: units (examples or microbatches) whose gradients are computed together; the result does not
            depend on it beyond rounding.
        backend: of `clipped_sum`.
        noise: where the Gaussian noise comes from; by default keyed by the experiment's seed.
    """
    assert isinstance(experiment.model, WideResNetSpec)
    assert isinstance(experiment.learning_rate, float)
    started = time.perf_counter()
    noise = noise or Research(experiment.seed)
    model = wide_resnet(experiment.model, experiment.dataset.channels, experiment.dataset.classes, experiment.seed)
    model = model.to(device).train()
    params = {name: value.detach() for name, value in model.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}
    loss, ledger = ExampleLoss(model), Ledger()
    units = microbatches(plan.population, plan.microbatch_size, seed=0)
    ends = epoch_ends(plan.steps, experiment.epochs)
    accuracies: list[float] = []
    longer = sampled = 0
    label = f"{experiment.dataset.name} {experiment.method} ε={experiment.epsilon:g} seed {experiment.seed}"
    for step in progress(range(plan.steps), label):
        chosen = poisson_sample(experiment.seed, step, plan.units, plan.sampling_rate)
        total = zero_sum(params, plan.clip_norm)
        for part in physical_batches(chosen, physical_batch):
            views = _views(experiment, data, units[part], step, device)
            total += clipped_sum(loss, params, views.images, views.targets, plan.clip_norm, backend=backend)
        for name, value in params.items():
            noisy = noise.add(total.total[name], plan.noise_std, step=step, name=name)
            direction = noisy / plan.expected_units + experiment.weight_decay * value
            velocity[name] = experiment.momentum * velocity[name] + direction
            value -= experiment.learning_rate * velocity[name]
        ledger.record(plan)
        longer += int((total.norms > plan.clip_norm).sum())
        sampled += len(chosen)
        if step + 1 in ends:
            accuracies.append(evaluate(model, data, device))
    seconds = time.perf_counter() - started
    return Outcome(accuracies, ledger, experiment.learning_rate, round(longer / max(1, sampled), 6), seconds)


def _views(experiment: Experiment, data: TrainingData, units: np.ndarray, step: int, device: str) -> Views:
    settings = view_settings(experiment)
    if experiment.microbatch_size > 1:
        return make_microbatch_views(data.private, units, settings, experiment.seed, step, device)
    indices = units[:, 0]
    random = KeyedRandom(experiment.seed, step, indices)
    return make_views(data.private, indices, settings, random, data.mixed_in, device)


@torch.no_grad()
def evaluate(model: nn.Module, data: TrainingData, device: str) -> float:
    """Per cent of the evaluation images classified correctly, unaugmented."""
    predictions: list[Tensor] = []
    images = data.evaluation.images
    for start in range(0, len(images), _EVALUATION_BATCH):
        batch = torch.from_numpy(np.array(images[start : start + _EVALUATION_BATCH])).to(device)
        predictions.append(model(batch.float() / 255).argmax(dim=1))
    return percent_correct(torch.cat(predictions), data.evaluation.labels)
