"""DP-SGD of a network from scratch on the views of Algorithm 1, and with microbatches (Tables 1, 2 and 5)."""

import functools
import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from dpmix.artefacts.experiment import Experiment
from dpmix.execution import Execution, Watcher
from dpmix.models.networks import build_network
from dpmix.params.models import NetworkSpec
from dpmix.params.registries import ENGINES, registered
from dpmix.privacy.backend_choice import choose_backend, explain_backend, multiply_adds
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.model_checks import check_examples_independent
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.plan import Plan
from dpmix.random import key_of
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.learner import Diagnostics
from dpmix.training.loop import train
from dpmix.training.network import Network, measure
from dpmix.training.outcome import Outcome
from dpmix.training.updates import Mixing
from dpmix.training.workers import ALONE, Workers
from dpmix.views.mixing import Views

_EVALUATION_BATCH = 512

# On a processor a block has at most so many units, and fewer where their forward multiply-adds exceed the second
# number, which bounds what a block needs of memory. A step of the demo then is almost always one block; four blocks of
# 64 took 1.03 to 1.12 times as long, and what makes the sum exact 1.004 times.
_MOST_UNITS, _MOST_WORK = 320, 2e10


class TorchNetwork(Network):
    """A network whose gradients PyTorch computes and `clipped_sum` clips."""

    def __init__(
        self, experiment: Experiment, plan: Plan, data: TrainingData, module: nn.Module, execution: Execution
    ) -> None:
        super().__init__(experiment, plan, data, module, execution)
        self._loss = ExampleLoss(module)
        example = torch.zeros(
            1, view_settings(experiment).views, *data.private.images.shape[1:], device=execution.where()
        )
        backend = execution.backend
        self.computed_by = explain_backend(module, example, backend, self._mode)
        self.computed = {"backend": choose_backend(module, example, self._mode) if backend == "auto" else backend}
        self.block = execution.block or _block(module, example, execution.physical_batch)

    @override
    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        return [evaluate(self.module, weights, self._data, self._execution.where(), workers)]

    @override
    def clipped(self, views: Views) -> tuple[dict[str, Tensor], Tensor]:
        clipped = clipped_sum(
            self._loss,
            self.params,
            views.images,
            views.targets,
            self._plan.clip_norm,
            backend=self._execution.backend,
            mode=self._mode,
            precision=self._experiment.precision,
        )
        return clipped.total, clipped.norms


def _block(module: nn.Module, example: Tensor, physical_batch: int) -> int:
    """Units in a block: the physical batch, on a processor what follows from the network and its views [1, K, ...]."""
    if example.device.type != "cpu":
        return physical_batch
    work = multiply_adds(module, example[0, :1]) * example.shape[1]
    return max(1, min(_MOST_UNITS, int(_MOST_WORK / max(work, 1))))


def train_from_scratch(
    experiment: Experiment,
    plan: Plan,
    data: TrainingData,
    *,
    device: str = "cpu",
    physical_batch: int = 64,
    backend: str = "auto",
    block: int | None = None,
    noise: NoiseSource | None = None,
    workers: Workers = ALONE,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train a network from scratch with Eq. 4's noisy gradient, by plain SGD or by ModelMix, as the plan says.

    Args:
        experiment: the run; its learning rate is a number, and its engine computes the clipped sums.
        plan: sampling, sensitivity, noise and steps.
        data: as `load_data` returns it.
        device: where the network and the views are.
        physical_batch: units (examples or microbatches) whose gradients are computed together on a GPU.
        backend: of `clipped_sum`, for `engine: torch`; what computes is printed on stderr.
        block: units whose gradients are computed together; None is `physical_batch` on a GPU, and on a processor a
            number that follows from the network. Halved when memory runs out. Another block, backend or number of
            threads changes the last bits of a step, and training makes that grow to another model of the same quality.
            All else is the same to the last bit.
        noise: the source of the Gaussian noise; by default `plan.noise`.
        workers: the processes that share the work. The result is that of one process with as many threads, to the last
            bit.
        checkpoint: the file for the state of the unfinished run; if it exists, the run continues from it.
        watcher: follows the run in place of a progress bar.

    Raises:
        ParamsError: if the engine is not installed.
        PrivacyError: if an image's output depends on other images of its batch, or as `dpmix.training.loop.train` does.
    """
    assert isinstance(experiment.model, NetworkSpec)
    model = build_network(experiment.model, experiment.dataset.channels, experiment.dataset.classes, experiment.seed)
    model = model.to(device).train()
    # A black image of the right shape, so that no record is read before the first noisy step.
    check_examples_independent(model, torch.zeros(data.private.images.shape[1:], device=device))
    execution = Execution(device=device, physical_batch=physical_batch, backend=backend, block=block)
    learner: Network = registered(ENGINES, experiment.engine)(experiment, plan, data, model, execution)
    if workers.is_main:
        _say(f"clipped gradients: {learner.computed_by}")
    (outcome,) = train(
        learner,
        epochs=experiment.begun_epochs,
        sampler=plan.sampler(experiment.private_seed),
        noises=[noise or plan.noise(experiment.private_seed)],
        mixing=_mixing(experiment, plan, device),
        physical_batch=learner.block,
        block=learner.block,
        ema_decay=experiment.ema_decay,
        diagnostics=None if experiment.release else Diagnostics(learner, experiment.begun_epochs),
        workers=workers,
        checkpoint=checkpoint,
        label=f"{experiment.dataset.name} {experiment.method} {experiment.epsilon_text} seed {experiment.seed}",
        device=device,
        watcher=watcher,
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
    training = model.training
    model.eval()
    correct = measure(
        lambda images: functional_call(model, dict(weights), (images,)).argmax(dim=1),
        data,
        device,
        workers,
        together=_EVALUATION_BATCH,
    )
    model.train(training)
    return correct
