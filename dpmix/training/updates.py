"""How a step's noisy sum changes the weights: SGD, or ModelMix. The loop knows no more of either than `Update`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpmix.privacy.ledger import Ledger
from dpmix.privacy.model_mix import MixingSource, MixRule, mix
from dpmix.training.checkpoint import put_back
from dpmix.training.learner import Learner
from dpmix.training.workers import Workers


class Update(Protocol):
    """Changes a learner's parameters in place, once a step, and has the state that this takes."""

    def step(self, noisy: Mapping[str, Tensor], step: int, ledgers: Sequence[Ledger]) -> None:
        """One step, on every process.

        Args:
            noisy: the clipped sums with their noise, with the names and shapes of the learner's `params`.
            step: the step, from 0.
            ledgers: of each member. What an update adds for privacy is measured by them, on the main process.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The state between two steps, which a checkpoint keeps; all of it is released, or computed from what is."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with what `tensors` returned before.

        Raises:
            KeyError: if it is the state of another update.
        """
        ...


@dataclass(frozen=True)
class Mixing:
    """What a run of ModelMix needs beyond its plan.

    Attributes:
        source: draws α.
        before: w_{-1}, the second initial state, with the names and shapes of the learner's `params`; changed in place.
    """

    source: MixingSource
    before: dict[str, Tensor]


class Sgd:
    """`torch.optim.SGD` with the gradients (noisy sum) / (expected number of units), Eq. 4, for each member its own."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._parts = [learner.of_member(learner.params, member) for member in range(len(learner.members))]
        self._optimizer = torch.optim.SGD(
            [
                {
                    "params": list(part.values()),
                    "lr": member.learning_rate,
                    "momentum": member.momentum,
                    "weight_decay": member.weight_decay,
                }
                for part, member in zip(self._parts, learner.members, strict=True)
            ],
            lr=0.0,  # each group has its own
        )

    def step(self, noisy: Mapping[str, Tensor], step: int, ledgers: Sequence[Ledger]) -> None:
        """See `Update.step`."""
        for index, (part, member) in enumerate(zip(self._parts, self._learner.members, strict=True)):
            for name, total in self._learner.of_member(noisy, index).items():
                part[name].grad = total / member.plan.expected_units
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """See `Update.tensors`: the momentum buffers."""
        found = {}
        for index, part in enumerate(self._parts):
            for name, value in part.items():
                velocity = self._optimizer.state[value].get("momentum_buffer")
                if velocity is not None:
                    found[f"velocity/{index}/{name}"] = velocity
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Update.restore`."""
        for index, part in enumerate(self._parts):
            for name, value in part.items():
                if f"velocity/{index}/{name}" in tensors:
                    self._optimizer.state[value]["momentum_buffer"] = tensors[f"velocity/{index}/{name}"]


class ModelMix:
    """Algorithm 1 of ModelMix (`dpmix.privacy.model_mix`), for a learner with one member.

    Its only state are the weights that were released one step before the present ones. The member's momentum is heavy
    ball on released weights, and its weight decay acts on them.

    Args:
        learner: whose parameters are w_{k-1}.
        mixing: w_{k-2}, and what draws α.
        workers: the main process draws α, and the others hear it.
    """

    def __init__(self, learner: Learner, mixing: Mixing, workers: Workers) -> None:
        (member,) = learner.members
        assert member.plan.mixed_as is not None
        self._learner, self._mixing, self._workers = learner, mixing, workers
        width, _ = member.plan.mixed_as
        self._rule = MixRule(
            width=width * member.plan.clip_norm * member.learning_rate / member.plan.expected_units,
            learning_rate=member.learning_rate,
            expected_units=member.plan.expected_units,
            heavy_ball=member.momentum,
            weight_decay=member.weight_decay,
        )

    def step(self, noisy: Mapping[str, Tensor], step: int, ledgers: Sequence[Ledger]) -> None:
        """See `Update.step`."""
        (ledger,) = ledgers
        for name, last in self._learner.params.items():
            before = self._mixing.before[name]
            alpha = self._draw(last, step, name)
            after = mix(last, before, noisy[name], alpha, self._rule)
            if self._workers.is_main:
                ledger.measure_mixing(name, last, before, noisy[name], after, self._rule)
            before.copy_(last)
            last.copy_(after)

    def tensors(self) -> dict[str, Tensor]:
        """See `Update.tensors`: the weights of one step before."""
        return {f"before/{name}": value for name, value in self._mixing.before.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Update.restore`."""
        for name, value in self._mixing.before.items():
            put_back(value, tensors[f"before/{name}"])

    def _draw(self, like: Tensor, step: int, name: str) -> Tensor:
        if self._workers.is_main:
            alpha = self._mixing.source.draw(like.shape, step=step, name=name)
        else:
            alpha = torch.zeros(like.shape, dtype=torch.float64)
        # On one process it stays on the CPU, as not every device has float64.
        return alpha if self._workers.count == 1 else self._workers.broadcast(alpha.to(like.device))
