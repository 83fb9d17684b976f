"""What a cell of the report tells of one run behind it: read from the run's record, with what has become of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.errors import DpmixError, one_line
from dpmix.seals import read_record
from dpmix.tables.rates import end_of_grid

State = Literal["done", "running", "failed", "missing"]


@dataclass(frozen=True)
class Facets:
    """What filters ask of a cell: the labels of its data set, model and method, and its nominal ε; empty if none."""

    dataset: str = ""
    model: str = ""
    method: str = ""
    epsilon: str = ""


@dataclass(frozen=True)
class Rate:
    """A learning rate.

    Attributes:
        value: the rate that was used.
        source: the file in which it was chosen, or `params.yaml`.
        low: the smallest candidate; None if it was not chosen among several, and so is `high`.
        high: the largest candidate.
        end: whether it is the smallest or the largest candidate, beyond which a better one may lie.
    """

    value: float
    source: str
    low: float | None = None
    high: float | None = None
    end: Literal["smallest", "largest"] | None = None


@dataclass(frozen=True)
class Run:
    """One run or measurement; whatever its record does not hold is None or empty.

    Attributes:
        path: of its record, relative to the repository's root.
        state: what has become of it.
        kind: the name of its class, such as `Experiment` or `ZeroShot`.
        why: the last error message of a failed one.
        log: the file that has it.
        seed: of the run.
        epsilon: ε of the executed steps by accountant, `rdp`, `prv` and `pld`; infinite without noise.
        target: the nominal ε.
        delta: δ.
        accountant: the one that its noise was calibrated with.
        unit: what neighbouring data sets differ by: `image` or `person`.
        population: N, how many of these steps sample from.
        rate: its learning rate.
        views: K_base, K_self and K_diff.
        batch: the expected batch size B.
        batches: how batches are drawn: `poisson`, or in a `fixed-order`.
        epochs: passes over the data.
        steps: executed and planned.
        noise: the noise multiplier σ / C.
        sampling: q, the rate at which records are sampled.
        clip: C.
        clipped: the share of gradients that were clipped.
        release: whether the model may be handed out.
        seconds: the wall-clock time.
        finished: when it ended.
        hardware: on what.
        execution: device, backend, threads and the like.
        versions: of the code and libraries.
        inputs: the digests of the files that it was made from.
    """

    path: str
    state: State
    kind: str = "Experiment"
    why: str = ""
    log: str = ""
    seed: int | None = None
    epsilon: Mapping[str, float] = field(default_factory=dict)
    target: float | None = None
    delta: float | None = None
    accountant: str = ""
    unit: str = ""
    population: int | None = None
    rate: Rate | None = None
    views: tuple[int, int, int] | None = None
    batch: int | None = None
    batches: str = ""
    epochs: float | None = None
    steps: tuple[int, int] | None = None
    noise: float | None = None
    sampling: float | None = None
    clip: float | None = None
    clipped: float | None = None
    release: bool = False
    seconds: float | None = None
    finished: str = ""
    hardware: str = ""
    execution: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def facets(artefact: Artefact, methods: Mapping[str, str]) -> Facets:
    """The labels by which an artefact is filtered.

    Args:
        artefact: of a cell.
        methods: the methods' labels by name.
    """
    if isinstance(artefact, Experiment):
        method = methods.get(artefact.method, artefact.method)
        return Facets(artefact.dataset.label, artefact.model.label, method, _nominal(artefact.epsilon))
    if isinstance(artefact, ZeroShot):
        return Facets(artefact.dataset.label, artefact.model.label, "Zero-shot", "0")
    if isinstance(artefact, Distance):
        by = artefact.extractor.label if artefact.extractor else "InceptionV3"
        of = artefact.views.method if artefact.views else ""
        return Facets(artefact.dataset.label, by, methods.get(of, of))
    return Facets()


def _nominal(epsilon: float) -> str:
    return "∞" if epsilon == math.inf else f"{epsilon:g}"


def read_run(artefact: Artefact, path: str, state: State, why: str = "", log: str = "", root: Path = Path()) -> Run:
    """What the report tells of an artefact.

    Args:
        artefact: what was asked for; of a run that is not done it is all that is known.
        path: of its record, relative to `root`.
        state: what has become of it.
        why: the last error message, if it failed.
        log: the file that has it.
        root: the folder in which Snakemake runs.

    Returns:
        The run; one whose record cannot be read counts as failed, and says why.
    """
    asked = _asked(artefact)
    if state != "done":
        return Run(path, state, why=why, log=log, **asked)
    try:
        record = read_record(root / path)
        return Run(path, state, **{**asked, **_found(artefact, record)})
    except (DpmixError, LookupError, TypeError, ValueError, AttributeError) as error:
        return Run(path, "failed", why=one_line(error), log=path, **asked)


def _asked(artefact: Artefact) -> dict[str, Any]:
    """What the params say of a run before it was made."""
    kind = {"kind": type(artefact).__name__}
    if not isinstance(artefact, Experiment):
        return kind
    noisy = artefact.epsilon != math.inf
    return {
        **kind,
        "seed": artefact.seed,
        "target": artefact.epsilon,
        "delta": artefact.delta if noisy else None,
        "accountant": artefact.accountant if noisy else "",
        "unit": artefact.unit,
        "population": artefact.population,
        "views": (artefact.k_base, artefact.k_self, artefact.k_diff),
        "batch": artefact.batch_size,
        "batches": artefact.batches,
        "epochs": artefact.epochs,
        "clip": artefact.clip_norm,
        "release": artefact.release,
    }


def _found(artefact: Artefact, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a finished run says."""
    times, execution = record.get("times") or {}, record.get("execution") or {}
    found: dict[str, Any] = {
        "seconds": times.get("seconds"),
        "finished": times.get("finished", ""),
        "hardware": times.get("hardware", ""),
        "execution": {name: value for name, value in execution.items() if value is not None},
        "versions": record.get("versions") or {},
        "inputs": record.get("inputs") or {},
    }
    if isinstance(artefact, Experiment):
        steps = record["steps"]
        found |= {
            "epsilon": {name: float(value) for name, value in record["epsilon"].items() if name != "target"},
            "steps": (int(steps["executed"]), int(steps["planned"])),
            "noise": record.get("noise_multiplier"),
            "sampling": record.get("sampling_rate"),
            "clipped": record.get("clipped"),
            "rate": _rate(artefact, record),
        }
    return found


def _rate(run: Experiment, record: Mapping[str, Any]) -> Rate | None:
    value = record.get("learning_rate")
    if value is None:
        return None
    source = str(record.get("learning_rate_from") or "params.yaml")
    if not isinstance(run.learning_rate, Selection):
        return Rate(float(value), source)
    grid = run.learning_rate.learning_rates
    return Rate(float(value), source, min(grid), max(grid), end_of_grid(float(value), grid))
