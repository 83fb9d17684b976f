"""`python -m benchmarks.learning_rate FEATURES`: what the rule for the learning rate loses to the best rate of a grid.

Heads of all rates of a grid and of the rule, at several ε, are trained by the trainer's own loop on features that were
computed before; the grid's best is chosen on the test images, which no user can do. FEATURES is a folder of NumPy
archives, one for each data set and encoder, as `benchmarks.features` writes them:

    train [N, R, K, d]   R sets of K views of each image, standardised by public data; a step takes one set
    test [M, d], train_labels [N], test_labels [M]

Training images are in random order, so the first n of them are a smaller data set.
"""

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import tell
from dpmix.own.choices.learning_rate import learning_rate
from dpmix.own.choices.recipe import recipe
from dpmix.own.training.signal import signal
from dpmix.privacy.linear_heads import append_one, head_clipped_sum
from dpmix.privacy.plan import Plan
from dpmix.training.accuracy import percent_correct
from dpmix.training.learner import Member, Sums
from dpmix.training.loop import train
from dpmix.training.workers import ALONE, Workers
from dpmix.views.mixing import one_hot
from dpmix.views.sets import sets_shown

EPSILONS = (1.0, 2.0, 4.0, 8.0)

# lr·C; every factor of 2 from 2^-3 to 2^8.
GRID = tuple(2.0**power for power in range(-3, 9))

SEEDS = (1, 2, 3)

COLUMNS = (
    "features", "N", "classes", "d", "K", "B", "T", "epsilon", "sigma", "signal", "best_rate", "best", "rule_rate",
    "rule", "difference", "flat",
)  # fmt: skip


class Case(NamedTuple):
    """Features [N, R, K, d + 1] and [M, d + 1] with a constant 1, and labels."""

    train: Tensor
    train_labels: np.ndarray
    test: Tensor
    test_labels: np.ndarray

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.test_labels.max()) + 1


class Heads:
    """A `Learner` of linear heads on one of each image's sets of views at each step."""

    def __init__(self, case: Case, members: Sequence[Member], seed: int) -> None:
        self.params = {"weights": torch.zeros(len(members), case.classes, case.test.shape[1])}
        self.members = members
        self.computed: Mapping[str, Any] = {}
        self._case, self._seed = case, seed
        self._targets = one_hot(case.train_labels, case.classes)
        self._limits = torch.tensor([member.plan.clip_norm for member in members])

    def of_member(self, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
        """See `Learner.of_member`; one name, so that all heads have the same noise."""
        return {"head": tensors["weights"][member]}

    def zero_sums(self) -> Sums:
        """See `Learner.zero_sums`."""
        return Sums({"weights": torch.zeros_like(self.params["weights"])}, torch.zeros(len(self.members)).long())

    def sums(self, units: np.ndarray, step: int) -> Sums:
        """See `Learner.sums`."""
        shown = sets_shown(self._seed, step, units, self._case.train.shape[1])
        features = self._case.train[torch.from_numpy(units), torch.from_numpy(shown)].float()
        targets = self._targets[units][:, None].expand(-1, features.shape[1], -1)
        total, norms = head_clipped_sum(features, targets, self.params["weights"], self._limits)
        return Sums({"weights": total}, (norms > self._limits[:, None]).sum(dim=1))

    def accuracies(self, weights: Mapping[str, Tensor], workers: Workers) -> list[float]:
        """See `Learner.accuracies`."""
        labels = self._case.test_labels
        return [percent_correct((self._case.test @ head.T).argmax(dim=1), labels) for head in weights["weights"]]


def load(path: Path, size: int | None = None) -> Case:
    """A case from its archive, of the first `size` training images."""
    with np.load(path) as saved:
        train_features, test = (torch.from_numpy(saved[name]) for name in ("train", "test"))
        labels = saved["train_labels"][:size], saved["test_labels"]
    return Case(append_one(train_features[:size]), labels[0], append_one(test.float()), labels[1])


def rows_of(name: str, case: Case, seeds: Sequence[int]) -> list[list[str]]:
    """Rows of the table for one case, one for each ε; see `COLUMNS`."""
    size, _, views, width = case.train.shape
    plans = _plans(size, case.classes)
    rules = [learning_rate(plan, views=views, classes=case.classes, dimension=width - 1) for plan in plans]
    members = [
        Member(plan, rate / plan.clip_norm)
        for plan, rule in zip(plans, rules, strict=True)
        for rate in (*GRID, rule * plan.clip_norm)
    ]
    decay = recipe(size, case.classes, 1.0).ema_decay
    accuracies = []
    for seed in seeds:
        outcomes = train(
            Heads(case, members, seed), epochs=1, sampler=plans[0].sampler(seed),
            noises=[plans[0].noise(seed)] * len(members), physical_batch=256, ema_decay=decay, workers=ALONE,
            label=f"{name} N = {size} seed {seed}", device="cpu",
        )  # fmt: skip
        accuracies.append([outcome.accuracies[-1] for outcome in outcomes])
    means = np.mean(accuracies, axis=0).reshape(len(plans), len(GRID) + 1)
    return [
        _row(name, case, views, plan, rule, list(mean)) for plan, rule, mean in zip(plans, rules, means, strict=True)
    ]


def _plans(size: int, classes: int) -> list[Plan]:
    made = []
    for epsilon in EPSILONS:
        usual = recipe(size, classes, epsilon)
        made.append(
            Plan.calibrated(
                population=size, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=usual.clip_norm,
                epsilon=epsilon, delta=usual.delta,
            )
        )  # fmt: skip
    return made


def _row(name: str, case: Case, views: int, plan: Plan, rule: float, means: list[float]) -> list[str]:
    *tried, of_rule = means
    best = max(range(len(GRID)), key=lambda index: tried[index])
    flat = [rate for rate, mean in zip(GRID, tried, strict=True) if mean >= tried[best] - 1]
    numbers = (len(case.train), case.classes, case.test.shape[1] - 1, views, plan.batch_size, plan.steps)
    return [
        name, *map(str, numbers), f"{plan.target_epsilon:g}", f"{plan.noise_multiplier:.3f}",
        f"{signal(plan, classes=case.classes).ratio:.0f}", f"{GRID[best]:g}", f"{tried[best]:.2f}",
        f"{rule * plan.clip_norm:.2f}", f"{of_rule:.2f}", f"{of_rule - tried[best]:.2f}",
        f"{min(flat):g} to {max(flat):g}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_rate", description=__doc__)
    parser.add_argument("features", type=Path, help="folder of archives, from benchmarks.features")
    parser.add_argument("--sizes", type=int, nargs="*", help="smaller data sets to try, beside the whole")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds to take the mean of")
    parser.add_argument("--only", default="", help="archives whose name has this in it")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    options = parser.parse_args()
    rows = []
    for path in sorted(one for one in options.features.glob("*.npz") if options.only in one.name):
        for size in options.sizes or [None]:
            rows += rows_of(path.stem, load(path, size), SEEDS[: options.seeds])
            tell("\n".join(", ".join(row) for row in rows[-len(EPSILONS) :]))
    with options.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    losses = [-float(row[COLUMNS.index("difference")]) for row in rows]
    tell(f"lost to the best rate: {statistics.mean(losses):.2f} points on average, {max(losses):.2f} at most")


if __name__ == "__main__":
    main()
