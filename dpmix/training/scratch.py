"""DP-SGD of a network from scratch on the views of Algorithm 1, and with microbatches (Tables 1, 2 and 5)."""

import functools
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dpmix.artefacts.experiment import Experiment
from dpmix.models.networks import build_network
from dpmix.params.models import NetworkSpec
from dpmix.privacy.clipping import ClippedSum, clipped_sum, explain_backend, zero_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.model_checks import check_examples_independent
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import microbatches
from dpmix.random import KeyedRandom, key_of
from dpmix.training.accuracy import count_correct, per_cent
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.inputs import clipping_mode
from dpmix.training.learner import Diagnostics, Member, Sums
from dpmix.training.loop import train
from dpmix.training.outcome import Outcome
from dpmix.training.physical_batches import physical_batches
from dpmix.training.updates import Mixing
from dpmix.training.workers import ALONE, Workers
from dpmix.views.mixing import Views, make_microbatch_views, make_views

_EVALUATION_BATCH = 512


class _Network:
    """A network as a `dpmix.training.learner.Learner` with one member; `params` share memory with the module's."""

    def __init__(
        self,
        experiment: Experiment,
        plan: Plan,
        data: TrainingData,
        model: nn.Module,
        backend: str,
        device: str,
    ) -> None:
        assert isinstance(experiment.learning_rate, float)
        self.params = {name: value.detach() for name, value in model.named_parameters()}
        self.mode = clipping_mode(experiment)
        rates = experiment.learning_rate, experiment.momentum, experiment.weight_decay
        self.members: Sequence[Member] = [Member(plan, *rates, self.mode.largest(list(self.params), plan.clip_norm))]
        self._experiment, self._plan, self._data = experiment, plan, data
        self.model, self._loss, self._backend, self._device = model, ExampleLoss(model), backend, device
        self._units = microbatches(plan.population, plan.microbatch_size, seed=0)

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """See `Learner.of_member`."""
        return dict(tensors)

    def zero_sums(self) -> Sums:
        """See `Learner.zero_sums`."""
        return self._as_sums(zero_sum(self.params, self._plan.clip_norm, self.mode))

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """See `Learner.sums`."""
        views = _views(self._experiment, self._data, self._units[units], step, self._device)
        return self._as_sums(
            clipped_sum(
                self._loss,
                self.params,
                views.images,
                views.targets,
                self._plan.clip_norm,
                backend=self._backend,
                mode=self.mode,
                precision=self._experiment.precision,
            )
        )

    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """See `Learner.accuracies`."""
        return [evaluate(self.model, weights, self._data, self._device, workers)]

    def _as_sums(self, clipped: ClippedSum) -> Sums:
        return Sums(clipped.total, (clipped.norms > self._plan.clip_norm).sum()[None])


def train_from_scratch(
    experiment: Experiment,
    plan: Plan,
    data: TrainingData,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    backend: str = "auto",
    noise: NoiseSource | None = None,
    workers: Workers = ALONE,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Train a network from scratch with Eq. 4's noisy gradient, by plain SGD or by ModelMix, as the plan says.

    Args:
        experiment: the run; its learning rate is a number.
        plan: sampling, sensitivity, noise and steps.
        data: as `load_data` returns it.
        device: where the network and the views are.
        physical_batch: units (examples or microbatches) whose gradients are computed together; halved when memory
            runs out. A step does not depend on it beyond rounding.
        backend: of `clipped_sum`; the one that is used is printed on stderr.
        noise: the source of the Gaussian noise; by default `plan.noise`.
        workers: the processes that share the work. The result is that of one process, up to rounding.
        checkpoint: the file for the state of the unfinished run; if it exists, the run continues from it.

    Raises:
        PrivacyError: if an image's output depends on other images of its batch, or as `dpmix.training.loop.train` does.
    """
    assert isinstance(experiment.model, NetworkSpec)
    model = build_network(experiment.model, experiment.dataset.channels, experiment.dataset.classes, experiment.seed)
    model = model.to(device).train()
    # A black image of the right shape, so that no record is read before the first noisy step.
    image = torch.zeros(data.private.images.shape[1:], device=device)
    check_examples_independent(model, image)
    learner = _Network(experiment, plan, data, model, backend, device)
    if workers.is_main:
        example = torch.zeros(1, view_settings(experiment).views, *image.shape, device=device)
        _say(f"clipped gradients: {explain_backend(model, example, backend, learner.mode)}")
    (outcome,) = train(
        learner,
        epochs=experiment.epochs,
        sampler=plan.sampler(experiment.private_seed),
        noises=[noise or plan.noise(experiment.private_seed)],
        mixing=_mixing(experiment, plan, device),
        physical_batch=physical_batch,
        ema_decay=experiment.ema_decay,
        diagnostics=None if experiment.release else Diagnostics(learner, experiment.epochs),
        workers=workers,
        checkpoint=checkpoint,
        label=f"{experiment.dataset.name} {experiment.method} ε={experiment.epsilon:g} seed {experiment.seed}",
        device=device,
    )
    return outcome


def _mixing(experiment: Experiment, plan: Plan, device: str) -> Mixing | None:
    """What ModelMix mixes with first, a network with other initial weights, and by which draws; None for SGD."""
    source = plan.mixing(experiment.private_seed)
    if source is None:
        return None
    assert isinstance(experiment.model, NetworkSpec)
    seed = key_of(32, experiment.seed, "initial weights before the first")
    other = build_network(experiment.model, experiment.dataset.channels, experiment.dataset.classes, seed)
    return Mixing(source, {name: value.detach().to(device) for name, value in other.named_parameters()})


def _views(experiment: Experiment, data: TrainingData, units: np.ndarray, step: int, device: str) -> Views:
    settings = view_settings(experiment)
    if experiment.microbatch_size > 1:
        return make_microbatch_views(data.private, units, settings, experiment.seed, step, device)
    indices = units[:, 0]
    random = KeyedRandom(experiment.seed, step, indices)
    return make_views(data.private, indices, settings, random, data.mixed_in, device)


@functools.cache
def _say(line: str) -> None:
    """Print a line on stderr, the first time only: all runs of a job would print the same."""
    print(line, file=sys.stderr, flush=True)


@torch.no_grad()
def evaluate(
    model: nn.Module, weights: Mapping[str, Tensor], data: TrainingData, device: str, workers: Workers = ALONE
) -> float:
    """The per cent of the evaluation images that are classified correctly, in eval mode and without augmentation.

    Args:
        model: the network; its training or eval mode is restored afterwards.
        weights: to use in place of the model's own, by parameter name.
        data: whose `evaluation` set is used.
        device: where the model is.
        workers: the processes that share the images; each returns the result over all of them.
    """
    everything, training = np.arange(len(data.evaluation)), model.training
    correct = torch.zeros((), dtype=torch.int64, device=device)
    model.eval()
    for part in physical_batches(workers.shard(everything), _EVALUATION_BATCH):
        batch = torch.from_numpy(np.array(data.evaluation.images[part])).to(device)
        predictions = functional_call(model, dict(weights), (batch.float() / 255,)).argmax(dim=1)
        correct += count_correct(predictions, data.evaluation.labels[part])
    model.train(training)
    workers.all_reduce(correct)
    return per_cent(int(correct), len(everything))
