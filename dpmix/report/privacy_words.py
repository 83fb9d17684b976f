"""What a cell's runs promise of private records, in words: their ε as executed, what it counts, what it leaves out."""

import math

from dpmix.privacy.accounting import rounded_up
from dpmix.report.data import CellData
from dpmix.report.runs import Run

_WITHOUT = {
    "ZeroShot": "No private image is used: the encoder compares test images with the names of the classes (ε = 0).",
    "Distance": "This distance is measured on the private images themselves. No ε covers it.",
    "PublishedPrivacy": "Computed from sizes that are public. Nothing is trained, and no image is read.",
    "CanaryAttack": "A lower bound on ε, found by attacking simulated runs. No image is read.",
}
_NAMES = {"rdp": "Rényi DP", "prv": "privacy random variables", "pld": "privacy loss distributions"}


def privacy_words(cell: CellData) -> str:
    """The privacy of a cell's runs in a few sentences; empty where no run is known."""
    done = [run for run in cell.runs if run.state == "done"]
    if not done:
        return ""
    first = done[0]
    if first.kind in _WITHOUT:
        return _WITHOUT[first.kind]
    if first.target == math.inf:
        return "Trained without noise: no ε bounds what this result tells of the private images."
    return " ".join(filter(None, (_bound(done), _counted(first), _together(done), _outside(first, len(done)))))


def _bound(runs: list[Run]) -> str:
    """The largest ε of the runs by each accountant."""
    worst = {name: max(run.epsilon.get(name, math.inf) for run in runs) for name in runs[0].epsilon}
    by = runs[0].accountant
    own = worst.pop(by, None)
    each = f"Each of the {len(runs)} runs is" if len(runs) > 1 else "The run is"
    others = ", ".join(f"{_number(value)} by {_NAMES.get(name, name)}" for name, value in sorted(worst.items()))
    said = (
        f"{each} (ε, δ)-differentially private with ε = {_number(own)} and δ = {runs[0].delta:g} by "
        f"{_NAMES.get(by, by)}, the accountant that its noise is calibrated with"
        if own is not None
        else f"{each} differentially private"
    )
    return f"{said}{f' ({others})' if others else ''}."


def _number(value: float | None) -> str:
    return "∞" if value is None or math.isinf(value) else rounded_up(value, 4)


def _counted(run: Run) -> str:
    """What ε counts: the steps that were executed."""
    steps = f"{run.steps[0]:,} steps that were executed" if run.steps else "the steps that were executed"
    sample = (
        "batches in a fixed order, without amplification by sampling"
        if run.batches == "fixed-order"
        else f"Poisson samples of N = {run.population:,} {run.unit}s{_of(' at rate q = ', run.sampling)}"
    )
    return (
        f"Neighbouring data sets differ by one {run.unit}. Counted are the {steps}: {sample}, gradients clipped to "
        f"C = {run.clip:g}{_of(', noise multiplier ', run.noise)}."
    )


def _of(what: str, value: float | None) -> str:
    return "" if value is None else f"{what}{value:.4g}"


def _together(runs: list[Run]) -> str:
    return f"The {len(runs)} runs together spend more than one of them." if len(runs) > 1 else ""


def _outside(run: Run, count: int) -> str:
    """What ε does not count."""
    if run.release:
        return "Sample and noise come from the operating system's entropy and are recorded nowhere."
    tuned = "the choice of the learning rate on held-out training images; " if run.rate and run.rate.low else ""
    models = "these models" if count > 1 else "this model"
    return (
        f"Not counted: {tuned}test accuracy, which reads the test images. Sample and noise can be recomputed from the "
        f"seed, so {models} must not be released as private."
    )
