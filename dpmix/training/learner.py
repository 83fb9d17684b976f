"""`Learner`, the interface between the training loop and what is trained: parameters, clipped sums, accuracies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from dpmix.privacy.fixed_point import FixedPoint
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import Sample
from dpmix.training.workers import Workers


@dataclass(frozen=True)
class Member:
    """One of the models that a learner trains at once: its plan and its optimizer's settings.

    Attributes:
        plan: its noise and clip norm; sampling and steps are the same for all members.
        learning_rate: of plain SGD.
        momentum: as in `torch.optim.SGD`, 0 for none.
        weight_decay: as in `torch.optim.SGD`.
        largest: what no entry of a unit's clipped gradient exceeds, `Clipping.largest`; None for the sensitivity.
    """

    plan: Plan
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    largest: float | None = None


@dataclass
class Sums:
    """Sums over units (examples, or microbatches) sampled in one step.

    The loop adds up the sums of a step's physical batches, and then those of all processes.

    Attributes:
        totals: sums of clipped gradients, as the learner adds them; `gradients` has them by parameter.
        num_clipped: int64 [members], the number of units whose gradient was longer than the clip norm.
        records: further sums over units, by name. They get no noise, so a run for release must have none.
    """

    totals: dict[str, Tensor]
    num_clipped: Tensor
    records: dict[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> list[Tensor]:
        """All tensors of the sums, in a fixed order, so that processes can add them up."""
        return [*self.totals.values(), self.num_clipped, *self.records.values()]

    def gradients(self) -> dict[str, Tensor]:
        """The sums of clipped gradients, float32, with the names and shapes of the learner's `params`; a copy."""
        return {name: value.clone() for name, value in self.totals.items()}

    def add_(self, other: "Sums") -> None:
        """Add another part's sums in place."""
        for mine, more in zip(self.tensors(), other.tensors(), strict=True):
            mine += more


class ExactSums(Sums):
    """Sums whose `totals` are one int64 tensor: the same whatever the order of additions.

    Args:
        fixed: how gradients are written in it.
        num_clipped: as in `Sums`.
        total: sums of clipped gradients, float32, by parameter; None for those of no units.
    """

    def __init__(self, fixed: FixedPoint, num_clipped: Tensor, total: Mapping[str, Tensor] | None = None) -> None:
        super().__init__({"all": fixed.zero() if total is None else fixed.write(total)}, num_clipped)
        self._fixed = fixed

    @override
    def gradients(self) -> dict[str, Tensor]:
        return self._fixed.read(self.totals["all"])


class Learner(Protocol):
    """What the loop trains: one network, or several linear heads at once. It computes clipped sums and accuracies.

    Attributes:
        params: the trainable parameters, float32, by name. The loop updates them in place. The parameters of several
            members may be parts of one tensor.
        members: the models that are trained at once.
        computed: what computes its sums, for `metrics.json`; nothing that depends on who was sampled.
    """

    params: dict[str, Tensor]
    members: Sequence[Member]
    computed: Mapping[str, Any]

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """One member's part of some tensors.

        Args:
            tensors: with the names and shapes of `params`.
            member: its index in `members`.

        Returns:
            Views of the tensors, not copies; their names are the keys of the member's noise.
        """
        ...

    def zero_sums(self) -> Sums:
        """Sums over no units: zeros of the right shapes."""
        ...

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """The clipped sums over some units.

        It is called again for the same units if memory runs out, so it must not change anything.

        Args:
            units: int64 [m], their indices.
            step: the step, from 0.
        """
        ...

    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """Per cent of the evaluation images that each member classifies correctly.

        Args:
            weights: to use in place of `params`, with the same names and shapes.
            workers: the processes that may share the images; each must return the result over all of them.
        """
        ...


class Diagnostics:
    """What a research run counts besides training. Nothing here has noise, so a run for release must have none of it.

    Args:
        learner: whose steps are counted.
        epochs: of the run.

    Attributes:
        num_clipped: int64 [members], the number of gradients longer than C so far.
        sampled: the number of sampled units so far.
        records: the sums of `Sums.records`, by name, for each epoch: [epochs, *shape].
        counts: the number of units sampled in each epoch.
        seconds: wall-clock time of the loop, and of what views were encoded ahead; that before a checkpoint included.
    """

    def __init__(self, learner: Learner, epochs: int) -> None:
        nothing = learner.zero_sums()
        self.num_clipped, self.sampled, self.seconds = nothing.num_clipped, 0, 0.0
        self.records = {name: value.new_zeros(epochs, *value.shape) for name, value in nothing.records.items()}
        self.counts = [0] * epochs

    def add(self, sums: Sums, sample: Sample, epoch: int) -> None:
        """Count one step's sums and sample; `epoch` counts from 0."""
        self.num_clipped += sums.num_clipped
        self.sampled += len(sample.units)
        self.counts[epoch] += len(sample.units)
        for name, value in sums.records.items():
            self.records[name][epoch] += value

    def clipped_share(self, member: int) -> float:
        """The share of the sampled units whose gradient was longer than C, in [0, 1]."""
        return round(float(self.num_clipped[member]) / max(1, self.sampled), 6)

    def mean_record(self, name: str) -> np.ndarray:
        """The mean of a record over the units sampled in each epoch, float32 [epochs, entries]."""
        sums = self.records[name]
        counts = torch.tensor(self.counts, device=sums.device).clamp_min(1)
        return np.asarray((sums.flatten(1) / counts[:, None]).cpu().numpy())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint keeps, beside `values`."""
        return {"num_clipped": self.num_clipped, **{f"records/{name}": value for name, value in self.records.items()}}

    def values(self) -> dict[str, Any]:
        """The plain values that a checkpoint keeps, beside `tensors`."""
        return {"sampled": self.sampled, "counts": self.counts, "seconds": self.seconds}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Continue with what `tensors` and `values` returned before."""
        self.num_clipped = tensors["num_clipped"]
        self.records = {name: tensors[f"records/{name}"] for name in self.records}
        self.sampled, self.counts, self.seconds = values["sampled"], list(values["counts"]), values["seconds"]
