"""The files of a trained run: `metrics.json`, `model.safetensors` of a release, and `gradients.npz` for Figure 2."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.made_of import inputs_of
from dpmix.errors import DataError, one_line
from dpmix.files import atomic_file
from dpmix.models.encoder_files import weights_digest
from dpmix.privacy.ledger import Ledger, as_rows
from dpmix.privacy.plan import Plan
from dpmix.release.model import save
from dpmix.release.statement import Statement

if TYPE_CHECKING:
    from torch import Tensor
from dpmix.provenance import hardware, versions
from dpmix.seals import AGAIN, FILES, SEAL, file_digest, write_record

# Whose versions a run says besides torch's: always, with an encoder, and with an engine.
_PACKAGES = {
    "always": ("numpy", "dp-accounting", "opacus"),
    "encoder": ("open_clip_torch", "timm"),
    "torch": (),
    "jax": ("jax", "jax-privacy"),
}


@dataclass
class Outcome:
    """One trained model and what was measured of it.

    Attributes:
        accuracies: per cent of the evaluation images classified correctly after each epoch; the last is the result, and
            of a release the only one.
        ledger: the steps that were executed.
        learning_rate: the one that was used.
        clipped: the share of the sampled examples whose gradient was longer than C; None for a release.
        seconds: wall-clock time of the training loop, of which a run that was trained with other methods has the share
            of its own views; None for a release, because it depends on which records were sampled.
        magnitudes: float32 [epochs, parameters], the mean over an epoch's sampled examples of |gradient| before
            clipping; None if not recorded.
        weights: the trained parameters, or their moving average, by name; for a head also `shift` and `scale` of
            standardised features.
        execution: how it was computed: device, processes, threads, the physical batch and, unless it is a release, what
            that was halved to when memory ran out; of a network also the backend.
    """

    accuracies: list[float]
    ledger: Ledger
    learning_rate: float
    clipped: float | None
    seconds: float | None
    magnitudes: np.ndarray | None = field(default=None)
    weights: "Mapping[str, Tensor]" = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy after the last epoch, in per cent; never the best epoch's."""
        return self.accuracies[-1]


def write_run(experiment: Experiment, plan: Plan, outcome: Outcome, scale: str, classes: Sequence[str]) -> None:
    """Check the executed steps against the plan, then write `metrics.json`; for a release, first `model.safetensors`.

    For a release, everything that is written depends only on the noisy steps and on the evaluation images. The number
    of clipped gradients and the running time depend on private records without noise, and were not recorded.

    Args:
        experiment: the run.
        plan: the privacy plan that it had to execute.
        outcome: the trained model and what was measured.
        scale: the name of the scale, below whose results the files are written.
        classes: the names of the classes, which a released model's file holds.

    Raises:
        PrivacyError: if the executed steps are not the plan's, or their ε exceeds the target.
    """
    spent = outcome.ledger.certify(plan)
    rate = experiment.learning_rate
    executed = outcome.ledger.history()
    nominal = experiment.batches == "fixed-order"
    metrics: dict[str, Any] = {
        "accuracy": outcome.accuracy,
        "accuracy_by_epoch": outcome.accuracies,
        "best_epoch_on_test": max(outcome.accuracies),
        # Batches in a fixed order do not have the ε that their noise is nominally for.
        "epsilon": {"nominal" if nominal else "target": experiment.epsilon, **spent} if plan.private else {},
        "delta": plan.delta,
        "unit": plan.unit,
        "noise_multiplier": min(row.noise_multiplier for row in executed),
        "sampling_rate": plan.sampling_rate,
        "sensitivity": plan.sensitivity,
        "executed": as_rows(executed),
        "steps": {"planned": plan.steps, "executed": outcome.ledger.steps},
        "learning_rate": outcome.learning_rate,
        "learning_rate_from": rate.path(scale).as_posix() if isinstance(rate, Selection) else "params.yaml",
        "experiment": experiment.model_dump(mode="json"),
        "execution": dict(outcome.execution),
        "inputs": inputs_of(experiment, scale),
        "seeds": {
            "views": experiment.seed,
            "samples_and_noise": "the operating system" if experiment.release else experiment.private_seed,
        },
        "versions": versions(*_packages(experiment)),
        "code": experiment.code(),
        "times": {"hardware": hardware(), "finished": time.strftime("%F")},
    }
    if plan.mixed_as:
        metrics["epsilon_by"], _ = outcome.ledger.stated(plan)
        metrics["mixed"] = [row._asdict() for row in outcome.ledger.mixed()]
    if outcome.clipped is not None:
        metrics["clipped"] = outcome.clipped
    if outcome.seconds is not None:
        metrics["times"] = {
            "seconds": round(outcome.seconds, 3),
            "hardware": hardware(),
            "finished": time.strftime("%F %T%z"),
        }
    if experiment.release:
        model = experiment.directory(scale) / "model.safetensors"
        encoder = experiment.encoder()
        folder = encoder.path(scale).parent if encoder else None
        save(
            model,
            outcome.weights,
            experiment.model,
            classes,
            experiment.dataset.channels,
            Statement(
                dataset=experiment.dataset.name,
                population=plan.population,
                mechanism=plan.accounted(executed),
                mixed=outcome.ledger.mixed(),
                epsilons=spent,
                delta=plan.delta,
                unit=plan.unit,
            ),
            encoder=weights_digest(folder) if folder and folder.is_dir() else None,
        )
        metrics[FILES] = {model.name: file_digest(model)}
    write_record(experiment.path(scale), metrics)


def _packages(experiment: Experiment) -> list[str]:
    kinds = ["always", *(["encoder"] if experiment.model.frozen else []), experiment.engine]
    return [name for kind in kinds for name in _PACKAGES[kind]]


def write_magnitudes(path: Path, experiment: Experiment, plan: Plan, outcome: Outcome) -> None:
    """Write Figure 2's record of one run: `magnitudes` float32 [epochs, parameters], and the `epsilon` executed."""
    assert outcome.magnitudes is not None
    epsilon = outcome.ledger.certify(plan)[experiment.accountant] if plan.private else math.inf
    # An open handle, because np.savez gives the file name a suffix of its own choosing.
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        digest = _digest(outcome.magnitudes, epsilon)
        np.savez_compressed(handle, magnitudes=outcome.magnitudes, epsilon=epsilon, sha256=digest)


def read_magnitudes(path: Path) -> tuple[npt.NDArray[np.float32], float]:
    """What `write_magnitudes` wrote: the mean |gradient| of each parameter, float32 [epochs, parameters], and ε.

    Raises:
        DataError: if the file is missing, damaged or was changed.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; run the step that makes it")
    try:
        with np.load(path, allow_pickle=False) as record:
            magnitudes, epsilon = record["magnitudes"], float(record["epsilon"])
            said = str(record[SEAL]) if SEAL in record else None
        if said not in (None, _digest(magnitudes, epsilon)):
            raise ValueError("its digest is another")
    except Exception as error:  # zipfile, zlib and NumPy each have their own errors for a damaged file
        reason = "it is a folder" if path.is_dir() else one_line(error, 100)
        raise DataError(f"{path} was damaged or changed after it was written ({reason}); {AGAIN}") from error
    return magnitudes, epsilon


def _digest(magnitudes: npt.NDArray[np.float32], epsilon: float) -> str:
    shape = f"{magnitudes.dtype} {list(magnitudes.shape)} {epsilon!r} "
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(magnitudes).tobytes()).hexdigest()
