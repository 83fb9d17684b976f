"""`Network`, a network from scratch as a `Learner`, whichever engine computes its clipped sums."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dpmix.artefacts.experiment import Experiment
from dpmix.execution import Execution
from dpmix.privacy.fixed_point import FixedPoint
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import microbatches
from dpmix.training.accuracy import count_correct, per_cent
from dpmix.training.data import TrainingData, view_settings
from dpmix.training.inputs import clipping_mode
from dpmix.training.learner import ExactSums, Member, Sums
from dpmix.training.physical_batches import physical_batches
from dpmix.training.workers import Workers
from dpmix.views.mixing import Views, make_microbatch_views, make_views
from dpmix.views.person_views import make_person_views
from dpmix.views.sets import view_random


class Network(ABC):
    """A network as a `dpmix.training.learner.Learner` with one member; an engine is a subclass.

    Args:
        experiment: the run; its learning rate is a number.
        plan: its sampling, noise and steps.
        data: what is trained on and what accuracy is measured on.
        module: the network, with its initial weights; `params` share memory with its parameters.
        execution: where, and how many units at a time; for an engine that uses it, the backend of `clipped_sum`.

    Attributes:
        computed_by: what computes the clipped gradients, in one line for a log.
        block: units whose gradients are computed in one pass. A sample is cut into blocks of so many consecutive units,
            and blocks are added up exactly, so that a step is the same to the last bit however blocks are shared out.

    Raises:
        PrivacyError: if the plan protects another unit than is sampled.
    """

    computed_by: str
    computed: Mapping[str, Any]
    block: int

    def __init__(
        self, experiment: Experiment, plan: Plan, data: TrainingData, module: nn.Module, execution: Execution
    ) -> None:
        assert isinstance(experiment.learning_rate, float)
        data.check_unit(experiment, plan)
        self.params = {name: value.detach() for name, value in module.named_parameters()}
        self._mode = clipping_mode(experiment)
        rates = experiment.learning_rate, experiment.momentum, experiment.weight_decay
        self.members: Sequence[Member] = [Member(plan, *rates, self._mode.largest(list(self.params), plan.clip_norm))]
        self._experiment, self._plan, self._data = experiment, plan, data
        self.module, self._execution = module, execution
        self._units = microbatches(plan.population, plan.microbatch_size, seed=0)
        self._fixed = FixedPoint(self.params, plan.clip_norm, plan.units)

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """See `Learner.of_member`."""
        return dict(tensors)

    def zero_sums(self) -> Sums:
        """See `Learner.zero_sums`."""
        return ExactSums(self._fixed, torch.zeros(1, dtype=torch.int64, device=self._execution.where()))

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """See `Learner.sums`."""
        members = self._units[units]
        if self._data.persons is not None:
            members = members[self._data.persons.counts(members[:, 0]) > 0]
            if not len(members):
                return self.zero_sums()
        total, norms = self.clipped(self._views(members, step))
        return ExactSums(self._fixed, (norms > self._plan.clip_norm).sum()[None], total)

    @abstractmethod
    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """See `Learner.accuracies`."""

    @abstractmethod
    def clipped(self, views: Views) -> tuple[dict[str, Tensor], Tensor]:
        """The sum of the clipped gradients of some units, and their norms before clipping, [n].

        A unit's gradient is that of its mean loss over its views. One that is not finite adds nothing.
        """

    def _views(self, members: np.ndarray, step: int) -> Views:
        """The views of units, given by their members, int64 [n, microbatch_size]."""
        experiment, data, device = self._experiment, self._data, self._execution.where()
        settings = view_settings(experiment)
        if experiment.microbatch_size > 1:
            return make_microbatch_views(data.private, members, settings, experiment.seed, step, device)
        indices = members[:, 0]
        random = view_random(experiment.seed, step, indices, experiment.view_sets)
        if data.persons is not None:
            return make_person_views(data.private, data.persons, indices, settings, random, data.mixed_in, device)
        return make_views(data.private, indices, settings, random, data.mixed_in, device)


def measure(
    predict: Callable[[Tensor], Tensor], data: TrainingData, device: str, workers: Workers, *, together: int
) -> float:
    """The per cent of the evaluation images that are classified correctly, without augmentation.

    Args:
        predict: from images, float32 [m, C, R, R] in [0, 1], to classes, int64 [m].
        data: whose `evaluation` set is used.
        device: where images are when they are handed to `predict`.
        workers: the processes that share the images; each returns the result over all of them.
        together: the images that are classified at once, whatever the number of processes.
    """
    everything = np.arange(len(data.evaluation))
    correct = torch.zeros((), dtype=torch.int64, device=device)
    for part in physical_batches(workers.shard(everything, together), together):
        images = torch.from_numpy(np.array(data.evaluation.images[part])).to(device).float() / 255
        correct += count_correct(predict(images), data.evaluation.labels[part])
    workers.all_reduce(correct)
    return per_cent(int(correct), len(everything))
