"""`python -m benchmarks.epochs FEATURES`: what more or fewer epochs are worth, beside no privacy at all.

Private heads are trained as `benchmarks.learning_rate` does it, with parts and multiples of the recipe's epochs, and
the rule's rate. A logistic regression on the same features, without clipping and noise, is what the encoder allows.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import learning_rate as study
from benchmarks.measure import tell
from dpmix.own.choices.learning_rate import learning_rate
from dpmix.own.choices.recipe import recipe
from dpmix.privacy.plan import Plan
from dpmix.training.learner import Member
from dpmix.training.loop import train
from dpmix.training.workers import ALONE

TIMES = (0.5, 1, 2)

COLUMNS = ("features", "N", "epochs", "T", "epsilon", "sigma", "rate", "accuracy")


def rows_of(name: str, case: study.Case) -> list[list[str]]:
    """Rows of the table for one case: one for each number of epochs and ε, and one without privacy; see `COLUMNS`."""
    size, _, views, width = case.train.shape
    usual, rows = recipe(size, case.classes, 1.0), []
    for epochs in (round(times * usual.epochs) for times in TIMES):
        plans = [
            Plan.calibrated(
                population=size, batch_size=usual.batch_size, epochs=epochs, clip_norm=usual.clip_norm,
                epsilon=epsilon, delta=usual.delta,
            )
            for epsilon in study.EPSILONS
        ]  # fmt: skip
        rates = [learning_rate(plan, views=views, classes=case.classes, dimension=width - 1) for plan in plans]
        members = [Member(plan, rate) for plan, rate in zip(plans, rates, strict=True)]
        found = []
        for seed in study.SEEDS:
            outcomes = train(
                study.Heads(case, members, seed), epochs=1, sampler=plans[0].sampler(seed),
                noises=[plans[0].noise(seed)] * len(members), physical_batch=256, ema_decay=usual.ema_decay,
                workers=ALONE, label=f"{name} {epochs} epochs seed {seed}", device="cpu",
            )  # fmt: skip
            found.append([outcome.accuracies[-1] for outcome in outcomes])
        for plan, rate, accuracy in zip(plans, rates, np.mean(found, axis=0), strict=True):
            numbers = (size, epochs, plan.steps, f"{plan.target_epsilon:g}", f"{plan.noise_multiplier:.3f}")
            rows.append([name, *map(str, numbers), f"{rate:.2f}", f"{accuracy:.2f}"])
    return [*rows, [name, str(size), "", "", "inf", "0", "", f"{_without_privacy(case):.2f}"]]


def _without_privacy(case: study.Case) -> float:
    """Per cent correct of a logistic regression on the first view of each image, of strength 1."""
    fitted = LogisticRegression(C=1.0, max_iter=300).fit(case.train[:, 0, 0].float().numpy(), case.train_labels)
    return 100 * float(fitted.score(case.test.numpy(), case.test_labels))


def main() -> None:
    """Study each archive of a folder, print its rows, and write all of them as CSV."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=__doc__)
    parser.add_argument("features", type=Path, help="folder of archives, from benchmarks.features")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    options = parser.parse_args()
    rows = []
    for path in sorted(options.features.glob("*.npz")):
        rows += rows_of(path.stem, study.load(path))
    tell("\n".join(", ".join(row) for row in rows))
    with options.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
