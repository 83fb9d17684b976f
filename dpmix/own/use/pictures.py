"""The pictures of an evaluation: what is taken for what, and whether the model is as often right as it is sure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpmix.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 30  # with more classes, a picture has no room for their names
_DIAGONAL = "as often right as sure"


def confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> "Figure":
    """The confusion matrix, each row as shares of the true class, with the shares where there is room.

    Args:
        counts: int64 [true class, predicted class].
        classes: their names.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    named = len(classes) <= _NAMED
    side = max(4.5, min(0.45 * len(classes) + 2.5, 16.0))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shown = ConfusionMatrixDisplay(shares, display_labels=[_plain(name) for name in classes] if named else None)
    shown.plot(
        ax=axes, include_values=named, cmap="Blues", values_format=".0%", colorbar=False, xticks_rotation="vertical"
    )
    shown.im_.set_clim(0, 1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("Where the images of each true class go", fontsize="medium")
    if not named:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def reliability(calibration: Mapping[str, Any]) -> "Figure":
    """Accuracy against confidence, bin by bin, each dot by how many images are in it.

    Args:
        calibration: `bins` and `expected_error`, as `dpmix.own.use.measures.measure` has them.
    """
    from matplotlib.figure import Figure

    there = [one for one in calibration["bins"] if one["images"]]
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=1)
    axes.annotate(_DIAGONAL, (0.06, 0.08), rotation=45, rotation_mode="anchor", color="0.5", fontsize="small")
    confidence, accuracy = ([one[name] for one in there] for name in ("confidence", "accuracy"))
    whole = sum(one["images"] for one in there)
    axes.plot(confidence, accuracy, linewidth=1, zorder=2)
    axes.scatter(confidence, accuracy, [12 + 200 * one["images"] / whole for one in there], zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("confidence: probability of the predicted class\n(larger dots: more images)")
    axes.set_ylabel("accuracy: share of these images that is right")
    error = calibration["expected_error"]
    axes.set_title(f"Reliability; expected calibration error {error:.3f}", fontsize="medium", pad=12)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _plain(name: str) -> str:
    """A name that matplotlib does not take for a formula."""
    return name.replace("$", r"\$")
