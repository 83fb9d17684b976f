"""The private training loop (the outer loop of Algorithm 1), the only one: networks and linear heads both use it.

Each step samples units, sums their clipped gradients, adds noise, and lets an update (`dpmix.training.updates`) change
the weights, by Eq. 4 or by ModelMix. The loop also averages weights, measures accuracy after each epoch (of a release,
which has no diagnostics, after the last one alone), writes checkpoints, and keeps the ledger of executed steps. What is
trained is a `Learner`, which holds the parameters, computes clipped sums and measures accuracy. The plan
(`dpmix.privacy.plan`) decides how units are sampled and noise is drawn; the loop does not know which kind of plan it
executes.
"""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmix.errors import PrivacyError
from dpmix.execution import Watcher
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.noise import NoiseSource
from dpmix.privacy.sampling import Sample, Sampler
from dpmix.progress import progress, untimed
from dpmix.training.averaging import update_average
from dpmix.training.checkpoint import Checkpoint, put_back
from dpmix.training.learner import Diagnostics, Learner
from dpmix.training.outcome import Outcome
from dpmix.training.physical_batches import PhysicalBatches
from dpmix.training.updates import Mixing, ModelMix, Sgd, Update
from dpmix.training.workers import Workers


class _State:
    """The state of a run between two steps: parameters, the update's state, average, ledgers, accuracies so far."""

    def __init__(self, learner: Learner, update: Update, ema_decay: float, diagnostics: Diagnostics | None) -> None:
        self.step = 0
        self.learner, self.updates, self.ema_decay, self.diagnostics = learner, update, ema_decay, diagnostics
        self.ledgers = [Ledger(member.plan.noise_column) for member in learner.members]
        self.accuracies: list[list[float]] = []
        self.average = {name: value.clone() for name, value in learner.params.items()} if ema_decay else {}

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights that are evaluated and kept: the moving average if there is one, else the parameters."""
        return self.average or self.learner.params

    def update(self, noisy: Mapping[str, Tensor]) -> None:
        """One step of the update with these noisy sums, then the moving average."""
        self.updates.step(noisy, self.step, self.ledgers)
        for name, value in self.average.items():
            update_average(value, self.learner.params[name], self.ema_decay, self.step)

    def save(self, checkpoint: Checkpoint) -> None:
        for ledger in self.ledgers:
            ledger.verify()
        tensors = {f"params/{name}": value for name, value in self.learner.params.items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        tensors |= self.updates.tensors()
        values: dict[str, Any] = {
            "step": self.step,
            "ledgers": [ledger.to_json() for ledger in self.ledgers],
            "accuracies": self.accuracies,
        }
        if self.diagnostics:
            tensors |= {f"diagnostics/{name}": value for name, value in self.diagnostics.tensors().items()}
            values["diagnostics"] = self.diagnostics.values()
        checkpoint.save(tensors, values)

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        # In place, because the learner holds the same tensors.
        for name, value in self.learner.params.items():
            put_back(value, tensors[f"params/{name}"])
        for name, value in self.average.items():
            put_back(value, tensors[f"average/{name}"])
        self.updates.restore(tensors)
        self.step, self.accuracies = values["step"], [list(epoch) for epoch in values["accuracies"]]
        members = self.learner.members
        self.ledgers = [
            Ledger.from_json(rows, member.plan.noise_column)
            for rows, member in zip(values["ledgers"], members, strict=True)
        ]
        for ledger, member in zip(self.ledgers, members, strict=True):
            ledger.refuse_another(member.plan, self.step)
        if self.diagnostics:
            prefix = "diagnostics/"
            kept = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            self.diagnostics.restore(kept, values["diagnostics"])


def train(
    learner: Learner,
    *,
    epochs: int,
    sampler: Sampler,
    noises: Sequence[NoiseSource],
    physical_batch: int,
    block: int = 1,
    mixing: Mixing | None = None,
    ema_decay: float = 0.0,
    diagnostics: Diagnostics | None = None,
    workers: Workers,
    checkpoint: Checkpoint | None = None,
    label: str,
    device: str,
    watcher: Watcher | None = None,
) -> list[Outcome]:
    """Train all members of a learner as their plans say (Algorithm 1, with Eq. 4's noisy gradient).

    Args:
        learner: what is trained; its parameters are changed in place.
        epochs: the number of times that accuracy is measured, after equal parts of the plan's steps.
        sampler: draws the units of each step, which are the same for all members.
        noises: the noise source of each member.
        physical_batch: units whose gradients are computed together; halved when memory runs out.
        block: consecutive units of a sample that no two processes share.
        mixing: of a learner whose plan is one of ModelMix; None for SGD.
        ema_decay: of the moving average of the weights, which is then evaluated and returned in their place; 0 for
            none.
        diagnostics: counts things that have no noise; None for a run whose model is to be released.
        workers: the processes that share the work. The result is that of one process, up to the order of additions;
            where the learner's sums do not depend on that (`ExactSums`), to the last bit.
        checkpoint: the file for the state of the unfinished run; if it exists, the run continues from it.
        label: of the progress bar.
        device: where the learner's tensors are.
        watcher: is told of each step on the main process, and then there is no bar; of accuracies only in a run that
            has diagnostics, as they are not covered by ε. It may refuse a checkpoint.

    Returns:
        An outcome for each member. Ledgers are filled on the main process only.

    Raises:
        PrivacyError: if the noise that was added is measured to be another than was asked for, or the checkpoint is of
            another run.
    """
    steps = learner.members[0].plan.steps
    # Of a release one accuracy is written, and none is kept in a checkpoint: it has no noise.
    ends = epoch_ends(steps, epochs) if diagnostics else {steps}
    update = ModelMix(learner, mixing, workers) if mixing else Sgd(learner)
    state, batches = _State(learner, update, ema_decay, diagnostics), PhysicalBatches(physical_batch)
    if checkpoint and (saved := checkpoint.load(device)):
        try:
            state.restore(*saved)
            if watcher and workers.is_main:
                watcher.restored(state.step)
        except (PrivacyError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise PrivacyError(
                f"{checkpoint.path} is not of this run ({error}); delete it, and the run starts afresh"
            ) from error
    started = time.perf_counter() - (diagnostics.seconds if diagnostics else 0.0)
    for step in _remaining(state.step, steps, label, workers, watcher, timed=diagnostics is not None):
        sample = _shared(sampler, step, workers, device)
        sums = learner.zero_sums()
        for part in batches.run(workers.shard(sample.units, block), functools.partial(learner.sums, step=step)):
            sums.add_(part)
        workers.all_reduce(*sums.tensors())
        noisy = sums.gradients()
        if workers.is_main:
            for index, (member, noise) in enumerate(zip(learner.members, noises, strict=True)):
                ledger, plan = state.ledgers[index], member.plan
                for name, total in learner.of_member(noisy, index).items():
                    total.copy_(ledger.add_noise(noise, total, plan.noise_std, step=step, name=name))
        state.update({name: workers.broadcast(value) for name, value in noisy.items()})
        if workers.is_main:
            for ledger, member in zip(state.ledgers, learner.members, strict=True):
                ledger.close_step(sample, member.plan.sensitivity, member.largest)
        if diagnostics:
            diagnostics.add(sums, sample, epoch_of(step, steps, epochs))
        state.step = step + 1
        if state.step in ends:
            state.accuracies.append(learner.accuracies(state.weights, workers))
            if watcher and diagnostics and workers.is_main:
                watcher.epoch(len(state.accuracies), state.accuracies[-1])
        if diagnostics:
            diagnostics.seconds = time.perf_counter() - started
        if checkpoint and workers.is_main and checkpoint.due and state.step < steps:
            state.save(checkpoint)
            if watcher:
                watcher.saved(state.step)
    execution = {
        **learner.computed,
        "device": torch.device(device).type,
        "processes": workers.count,
        "threads": torch.get_num_threads(),
        "physical_batch": physical_batch,
    }
    if diagnostics:
        # Not of a release, where it may tell how many were sampled.
        execution["halved_to"] = batches.size if batches.size < physical_batch else None
    return [
        Outcome(
            accuracies=[epoch[index] for epoch in state.accuracies],
            ledger=state.ledgers[index],
            learning_rate=member.learning_rate,
            clipped=diagnostics.clipped_share(index) if diagnostics else None,
            seconds=diagnostics.seconds if diagnostics else None,
            weights=learner.of_member(state.weights, index),
            execution=execution,
        )
        for index, member in enumerate(learner.members)
    ]


def _shared(sampler: Sampler, step: int, workers: Workers, device: str) -> Sample:
    """The sample of a step, drawn by the main process and sent to all others."""
    if workers.count == 1:
        return sampler.sample(step)
    taken = torch.zeros(sampler.population, dtype=torch.uint8, device=device)
    nobody = np.empty(0, dtype=np.int64)
    sample = sampler.sample(step) if workers.is_main else Sample(nobody, 0.0, nobody)
    taken[torch.from_numpy(sample.units).to(device)] = 1
    return sample._replace(units=np.flatnonzero(workers.broadcast(taken).cpu().numpy()))


def _remaining(
    start: int, steps: int, label: str, workers: Workers, watcher: Watcher | None, *, timed: bool
) -> Iterator[int]:
    """The steps from `start` on; the main process tells the watcher of each before it begins, or shows a bar.

    The bar has times if `timed`: of a release they depend on who was sampled.
    """
    if watcher is None:
        left = range(start, steps)
        shown = progress(left, label) if timed else untimed(left, label)
        yield from shown if workers.is_main else left
        return
    for step in range(start, steps):
        if workers.is_main:
            watcher.step(step, steps)
        yield step


def epoch_ends(steps: int, epochs: int) -> set[int]:
    """The steps (counted from one) after which an epoch ends: the last step of each of `epochs` equal parts."""
    return {(epoch + 1) * steps // epochs for epoch in range(epochs)} - {0}


def epoch_of(step: int, steps: int, epochs: int) -> int:
    """The epoch, counted from zero, that step `step` (counted from zero) belongs to."""
    return next(epoch for epoch in range(epochs) if step < (epoch + 1) * steps // epochs)
