"""What `compare` writes beside its table: a picture, and a `README.md` that says first what the numbers are not."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.figures.accuracy_curve import Curve, accuracy_curve
from dpmix.files import write_text
from dpmix.own.choices.commands import command
from dpmix.own.research.comparison import METHODS, TABLE, Comparison, plan_at
from dpmix.privacy.accounting import rounded_up
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT, choices
from dpmix.tables.kinds.differences import differences
from dpmix.tables.markdown import markdown
from dpmix.tables.statistics import mean

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.tables.cells import Table

_FIRST = """# Methods compared on {name}

> **Research, not for release.** These runs were seeded, they read the test images, and one model has no noise at all.
> No ε covers any number or picture in this folder: show it to nobody who may not see the images. For a model that may
> be handed out: `{train}`.

![Test accuracy against ε](accuracy.png)
"""


def write(folder: Path, compared: Comparison, catalogue: "Catalogue", without_privacy: float) -> None:
    """Write `accuracy.png`, `accuracy.svg` and `README.md`.

    Args:
        folder: where to write.
        compared: what was compared.
        catalogue: its cells, whose runs must exist.
        without_privacy: the accuracy of a logistic regression on the same features, in per cent.
    """
    from dpmix.tables import build as tables

    table = tables.build(TABLE, catalogue)
    values = {(cell.row[0], cell.column[0]): cell.values for cell in table.cells if not cell.end}
    methods = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    curves = [
        Curve(method, {one: values[method, at] for one, at in zip(compared.epsilons, columns, strict=True)})
        for method in methods
    ]
    lines = references(table, without_privacy)
    name = compared.first.request.images.name
    accuracy_curve(curves, lines, f"{name}: linear heads on {compared.first.model.label}", folder / "accuracy")
    parts = [
        _FIRST.format(name=name, train=_train_command(compared)),
        _reference_lines(lines, methods[0]),
        _difference_lines(methods, values),
        markdown(table, named=False),
        _settings(compared, _chosen(compared, columns, catalogue)),
    ]
    write_text(folder / "README.md", "\n".join(parts))


def references(table: "Table", without_privacy: float) -> dict[str, Sequence[float]]:
    """The accuracies of the reference lines, by what the picture calls them."""
    ends = {cell.row[0]: cell.values for cell in table.cells if cell.end and cell.values}
    found: dict[str, Sequence[float]] = {"no privacy": (without_privacy,)}
    if NON_PRIVATE in ends:
        found["clipped, no noise"] = ends[NON_PRIVATE]
    if ZERO_SHOT in ends:
        found["zero-shot"] = ends[ZERO_SHOT]
    return found


def _reference_lines(lines: Mapping[str, Sequence[float]], method: str) -> str:
    meaning = {
        "no privacy": "logistic regression (scikit-learn) on the features of the training images as they are; what the "
        "encoder allows",
        "clipped, no noise": f"{method} with ε = ∞, which is what clipping, views and steps cost without noise; "
        f"“{NON_PRIVATE}” in the table",
        "zero-shot": "the encoder asked for each class by its name, without any private image; a private model that is "
        "no better is not worth its ε",
    }
    rows = [f"| {label} | {mean(values):.1f} | {meaning[label]} |" for label, values in lines.items()]
    return "\n".join(["| reference | accuracy (%) | what it is |", "| :-- | --: | :-- |", *rows, ""])


def _difference_lines(methods: Sequence[str], values: Mapping[tuple[str, str], Sequence[float]]) -> str:
    compared = {later: methods[:index] for index, later in enumerate(methods) if index}
    said = [f"- {sentence}" for sentence in differences(compared, values)]
    if not said:
        return ""
    head = (
        "Differences in points of accuracy, paired by seed. An interval that holds 0 shows no difference; it is about "
        "the seeds of training and says nothing of other images."
    )
    return "\n".join(["## Differences", "", head, "", *said, ""])


def _train_command(compared: Comparison) -> str:
    """The command that trains on the same images, with what was said of them, a model that may be handed out."""
    asked = compared.first.request
    epsilon = min(compared.epsilons, key=lambda one: abs(math.log(one / 4)))
    return command(asked.model_copy(update={"research": False, "method": None, "epsilon": epsilon}))


def _chosen(compared: Comparison, columns: Sequence[str], catalogue: "Catalogue") -> dict[tuple[str, float], float]:
    """The learning rates that were chosen on held-out images, by the method's label and ε; none by the rule."""
    at, first = dict(zip(columns, compared.epsilons, strict=True)), METHODS[compared.first.method]
    return {
        (first, math.inf) if one.row[0] == NON_PRIVATE else (one.row[0], at[one.column[0]]): one.chosen
        / compared.first.settings["clip_norm"]
        for one in choices(TABLE, catalogue)
    }


def _settings(compared: Comparison, chosen: Mapping[tuple[str, float], float]) -> str:
    one = compared.first
    views = "; ".join(
        f"{METHODS[name]} {' + '.join(str(made.settings[key]) for key in ('k_base', 'k_self', 'k_diff'))}"
        for name, made in compared.setups.items()
    )
    seeds = "one seed" if compared.seeds == 1 else f"seeds 1 to {compared.seeds}"
    labels = [f"learning rate of {METHODS[name]}" for name in compared.setups] if chosen else ["learning rate"]
    lines = [
        "## How",
        "",
        f"{one.request.images.name}: N = {one.population:,} {one.request.unit}s to train on, {one.dataset.test:,} "
        f"images to test, {one.dataset.classes} classes; {one.model.label} at {one.model.resolution} px. Views of each "
        f"{one.request.unit} (transformed + mixed + public): {views}. Clip norm {one.settings['clip_norm']:g}, "
        f"{seeds}.",
        "",
        f"| ε | noise multiplier σ | sampling rate q | steps T | {' | '.join(labels)} |",
        f"| --: | --: | --: | --: |{' --: |' * len(labels)}",
    ]
    for epsilon in (*compared.epsilons, math.inf):
        plan = plan_at(one, epsilon)
        found = [chosen.get((METHODS[name], epsilon)) for name in compared.setups]
        if compared.rates is not None:
            found = [compared.rates[epsilon]]
        rates = " | ".join("" if rate is None else f"{rate:.4g}" for rate in found)
        label, noise = ("∞", "0") if math.isinf(epsilon) else (f"{epsilon:g}", rounded_up(plan.noise_multiplier, 4))
        lines.append(f"| {label} | {noise} | {plan.sampling_rate:.4g} | {plan.steps} | {rates} |")
    how = (
        "Each learning rate was chosen on held-out training images, which no ε covers."
        if compared.rates is None
        else "The learning rates follow from σ, T, B and the number of classes by a rule that looks at no image."
    )
    return "\n".join([*lines, "", how, ""])
