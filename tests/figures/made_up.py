"""Made-up data for both figures."""

import numpy as np

from dpmix.figures.figure1 import Figure1Data
from dpmix.figures.figure2 import GradientPanel


def example(base: int = 4, synthetic: int = 2, mixed: int = 5, channels: int = 1, pairs: bool = True) -> Figure1Data:
    draw = np.random.default_rng(0)
    images = draw.random((1 + base + synthetic + mixed, channels, 16, 16), dtype=np.float32)
    weights = draw.beta(0.2, 0.2, mixed)
    targets = np.stack([weights, 1 - weights, np.zeros(mixed)], axis=1)
    return Figure1Data(
        image=images[0],
        label="seven",
        base=images[1 : 1 + base],
        synthetic=images[1 + base : 1 + base + synthetic],
        synthetic_labels=("a rather long name of a class",) * synthetic,
        mixed=images[1 + base + synthetic :],
        weights=weights,
        targets=targets,
        classes=("seven", "a rather long name of a class", "nine"),
        pairs=draw.integers(0, base + synthetic, (mixed, 2)) if pairs else None,
    )


def panels(paper_sd: float | None = 9.76e-4, epochs: int = 10) -> list[GradientPanel]:
    draw = np.random.default_rng(1)
    return [
        GradientPanel(dataset, method, np.abs(draw.normal(0, sd, (epochs, 500))).astype(np.float32), paper_sd, 0.99)
        for dataset in ("CIFAR-10", "Caltech256")
        for method, sd in (("Self-Aug", 2e-3), ("DP-Mix_Self", 1e-3))
    ]
