"""Gathers what the figures show from image stores and runs, and draws them."""

from pathlib import Path

import numpy as np

from dpmix.artefacts.experiment import GradientRecord
from dpmix.catalogue.catalogue import Catalogue
from dpmix.figures.figure1 import Figure1Data, figure1, soft_label
from dpmix.figures.figure2 import GradientPanel, figure2
from dpmix.files import write_text
from dpmix.tables.published import published_gradient_sd
from dpmix.training.outcome import read_magnitudes


def draw_figure(number: str, catalogue: Catalogue, folder: Path | None = None) -> None:
    """Draw a figure and write its files.

    Args:
        number: "1" or "2".
        catalogue: the scale.
        folder: where to write; by default `results/<scale>/figures`.

    Raises:
        DpmixError: if images or runs that it shows are missing or damaged.
    """
    stem = (folder or Path("results", catalogue.scale, "figures")) / f"figure{number}"
    if number == "1":
        data = views_of_one_example(catalogue)
        figure1(data, stem)
        write_text(stem.with_suffix(".csv"), views_csv(data))
    else:
        figure2(gradient_panels(catalogue), stem)


def views_of_one_example(catalogue: Catalogue) -> Figure1Data:
    """Figure 1: the views S and S' of one private example, as the first step of training would see them."""
    from dpmix.random import KeyedRandom
    from dpmix.training.data import load_data, view_settings
    from dpmix.views.mixing import make_views

    spec = catalogue.spec.figures["1"]
    (experiment, *_) = catalogue.figure_experiments("1").values()
    data = load_data(experiment, catalogue.scale)
    index = np.array([spec.example % len(data.private)])
    settings = view_settings(experiment)
    views = make_views(data.private, index, settings, KeyedRandom(spec.seed, 0, index), data.mixed_in)
    images = views.images[0].numpy()
    synthetic = slice(settings.k_base, settings.k_base + settings.k_diff)
    targets = views.targets[0].numpy()
    classes = data.private.classes
    return Figure1Data(
        image=data.private.images[index[0]].astype(np.float32) / 255,
        label=classes[int(data.private.labels[index[0]])],
        base=images[: settings.k_base],
        synthetic=images[synthetic],
        synthetic_labels=tuple(classes[int(row.argmax())] for row in targets[synthetic]),
        mixed=images[synthetic.stop :],
        weights=views.weights[0].numpy(),
        targets=targets[synthetic.stop :],
        classes=classes,
        pairs=views.pairs[0].numpy(),
    )


def views_csv(data: Figure1Data) -> str:
    """Figure 1 as CSV, a line for each view: kind, first and second parent in S, lambda, label."""
    lines = ["view,kind,first,second,lambda,label"]
    pairs = data.pairs if data.pairs is not None else np.zeros((0, 2), dtype=np.int64)
    plain = [("base", data.label)] * len(data.base) + [("synthetic", label) for label in data.synthetic_labels]
    lines += [f"{view},{kind},,,,{label}" for view, (kind, label) in enumerate(plain)]
    mixed = zip(pairs, data.weights, data.targets, strict=True)
    for view, (pair, weight, target) in enumerate(mixed, start=len(plain)):
        lines.append(f"{view},mixed,{pair[0]},{pair[1]},{weight:.6f},{soft_label(target, data.classes)}")
    return "\n".join(lines) + "\n"


def gradient_panels(catalogue: Catalogue) -> list[GradientPanel]:
    """Figure 2: one panel for each data set and method."""
    papers = published_gradient_sd() if catalogue.scale == "paper" else {}
    panels = []
    for (dataset, method), experiment in catalogue.figure_experiments("2").items():
        names = (catalogue.params.datasets[dataset].label, catalogue.params.methods[method].label)
        magnitudes, epsilon = read_magnitudes(GradientRecord(experiment=experiment).path(catalogue.scale))
        panels.append(GradientPanel(*names, magnitudes, papers.get(names), epsilon))
    return panels
