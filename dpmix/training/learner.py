"""What the training loop trains: its parameters, its members, and the sums that it gives for some sampled units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import Sample
from dpmix.training.workers import Workers


@dataclass(frozen=True)
class Member:
    """One of the models that a learner trains side by side: its plan and its optimizer's settings.

    Attributes:
        plan: its noise and clip norm; sampling and steps are the same for all members.
        learning_rate: of plain SGD.
        momentum: of the heavy ball, 0 for none.
        weight_decay: added to the gradient as weight_decay x weights.
    """

    plan: Plan
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass
class Sums:
    """Sums over sampled units of one step; physical batches are added up first, then processes.

    Attributes:
        totals: clipped sums of all members, float32, by name and shape of the learner's `params`.
        num_clipped: int64 [members], units whose gradient was longer than the clip norm.
        records: further sums over units by name, to which no noise is added: for research only.
    """

    totals: dict[str, Tensor]
    num_clipped: Tensor
    records: dict[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> list[Tensor]:
        """All tensors of the sums, always in the same order."""
        return [*self.totals.values(), self.num_clipped, *self.records.values()]

    def add_(self, other: "Sums") -> None:
        """Add another part's sums in place."""
        for mine, more in zip(self.tensors(), other.tensors(), strict=True):
            mine += more


class Learner(Protocol):
    """What the loop trains: a network, or several heads at once. It computes clipped sums and accuracies.

    Attributes:
        params: the trainable parameters, float32, by name; updated in place. Several members may lie in one tensor.
        members: the models trained side by side.
    """

    params: dict[str, Tensor]
    members: Sequence[Member]

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """One member's part of tensors that are laid out like `params`.

        Returns:
            Views, not copies, by the names under which the member's noise is drawn.
        """
        ...

    def zero_sums(self) -> Sums:
        """The sums over no units."""
        ...

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """The clipped sums over `units`, int64 [m], at step `step`. It may be repeated, so it must change nothing."""
        ...

    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """Per cent of the evaluation images classified correctly, by member, with weights like `params`."""
        ...


class Diagnostics:
    """Counts that a research run reports beside its model. They have no noise, so a run for release must not have them.

    Attributes:
        num_clipped: int64 [members], gradients longer than C so far.
        sampled: sampled units so far.
        records: by name, sums over units, [epochs, *shape], and how many units each epoch had.
        seconds: wall-clock time of the loop, earlier processes included.
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
        """Share of the sampled units whose gradient was longer than C."""
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
