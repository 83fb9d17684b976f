"""The statement of ε in a released model's file, and the ε of several models together.

The metadata of `model.safetensors` states the ε spent (`epsilon_rdp`, `epsilon_prv`, `epsilon_pld`, with `delta`) and
what it was computed from: `mechanism` (noise multiplier, sampling rate and number of the executed steps), `dataset`,
`population`, and `unit` where it is not an image; of ModelMix also `epsilon_model-mix`, from `mixed` (the same steps,
with width and truncation). So anybody can compute it again, and the ε of several models together (`joint_epsilons`).
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpmix.errors import DataError, ParamsError
from dpmix.privacy.accounting import Steps, composed_epsilons
from dpmix.privacy.ledger import from_rows
from dpmix.privacy.model_mix_accounting import AMPLIFIED, MixedSteps, amplified_epsilon, mixed_from_rows
from dpmix.seals import check_tensors

# What a run can have had, by far. A file that says other is damaged or made up, and accountants would take hours.
_DELTAS = (1e-100, 0.1)
_MOST = 10**12
_ROWS = 1000
_BOUNDS = {
    "noise_multiplier": (1e-3, 1e6),
    "sampling_rate": (1e-12, 1.0),
    "steps": (1, 10**8),
    "width": (0.0, 1e9),
    "truncation": (1e-12, 1e9),
}

UNITS = {"image": "one image", "person": "one person with all their images"}

# Neither implies the other: who has m images is a group of m under the first, and who keeps some of theirs is not
# removed but replaced under the second.
NO_JOINT = (
    "some models protect one image and others one person, and no ε of both together holds for either: the first do not "
    "protect a person with several images, and the second not one image of somebody who has more"
)


@dataclass(frozen=True)
class Statement:
    """What a released model states about the privacy of its training: (ε, δ) for adding or removing one unit.

    Attributes:
        dataset: the private data set's name in the params.
        population: N, the published number of units that steps sampled from.
        mechanism: the executed steps, as Poisson-subsampled Gaussian mechanisms, for an accountant to compose.
        epsilons: ε at `delta`, by accountant.
        delta: δ.
        mixed: the same steps, as steps of ModelMix, if they were; else empty.
        unit: what is sampled and protected: an `image`, or a `person` with all their images.
    """

    dataset: str
    population: int
    mechanism: Sequence[Steps]
    epsilons: Mapping[str, float]
    delta: float
    mixed: Sequence[MixedSteps] = ()
    unit: str = "image"

    @property
    def protected(self) -> str:
        """Whose adding or removing ε bounds, in words: `one image`, or `one person with all their images`."""
        return UNITS[self.unit]

    def computed_again(self) -> dict[str, float]:
        """ε by accountant from the steps alone, whatever `epsilons` says."""
        found = composed_epsilons(self.mechanism, delta=self.delta)
        return {**found, AMPLIFIED: amplified_epsilon(self.mixed, delta=self.delta)} if self.mixed else found


def read_statement(path: str | Path) -> Statement:
    """The statement in a released model's file; its weights are not read.

    Raises:
        DataError: if the file is missing, damaged or not a released model's.
    """
    from safetensors import safe_open

    path = Path(path)
    with whole(path), safe_open(path, framework="np") as file:
        said = file.metadata() or {}
        check_tensors(path, said, "copy or make it again")
        return statement_from(said)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """A context for reading a released model's file, in which any error of a damaged file becomes a `DataError`."""
    from safetensors import SafetensorError

    if not path.is_file():
        raise DataError(f"{path} does not exist; a run with release: true leaves it beside its metrics.json")
    try:
        yield
    # Metadata that does not parse raises the first ones; weights of wrong shapes raise torch's RuntimeError.
    except (SafetensorError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{path} is not a whole released model; copy or make it again") from error


def joint_epsilons(statements: Sequence[Statement]) -> dict[str, float]:
    """The ε of several models together: what somebody who has all of them can learn about one image, or person.

    Samples and noise of released models are independent, so their steps are composed as if one run had executed them
    all; the result is below the sum of the models' ε. It is that of an image (or person) in the training data of every
    model, and an upper bound for others. Data sets of different names may overlap, so names are not considered.

    Args:
        statements: one for each model.

    Returns:
        ε by accountant, at the largest of the models' δ.

    Raises:
        ParamsError: if there is no statement, or some are for one image and others for one person.
    """
    if not statements:
        raise ParamsError("no statement was given, so there is no epsilon; give that of at least one released model")
    if len({one.unit for one in statements}) > 1:
        raise ParamsError(f"{NO_JOINT}; ask for those of each unit by themselves")
    steps = [row for one in statements for row in one.mechanism]
    delta = max(one.delta for one in statements)
    together = composed_epsilons(steps, delta=delta)
    if any(one.mixed for one in statements):
        # A step that mixes nothing is one of width 0.
        rows = [
            one.mixed or [MixedSteps(*row, width=0.0, truncation=1.0) for row in one.mechanism] for one in statements
        ]
        together[AMPLIFIED] = amplified_epsilon([row for part in rows for row in part], delta=delta)
    return together


def statement_from(said: Mapping[str, str]) -> Statement:
    """The statement in a model file's metadata.

    Raises:
        LookupError: if an entry is missing.
        ValueError: if one does not parse, or there are no steps or steps without noise.
    """
    mechanism = from_rows(_rows(said["mechanism"], least=1))
    mixed = mixed_from_rows(_rows(said.get("mixed", "[]")))
    if mixed and _steps_of(mixed) != _steps_of(mechanism):
        raise ValueError("the steps that mixed are those that were taken")
    claims = {key.removeprefix("epsilon_"): float(said[key]) for key in said if key.startswith("epsilon_")}
    for value in claims.values():
        _within(value, 0, math.inf)
    if not said["dataset"].isprintable():
        raise ValueError("a name is of one line")
    return Statement(
        dataset=said["dataset"],
        population=int(_within(int(said["population"]), 1, _MOST)),
        mechanism=mechanism,
        epsilons=claims,
        delta=_within(float(said["delta"]), *_DELTAS),
        mixed=mixed,
        unit=_unit(said.get("unit", "image")),
    )


def _rows(said: str, least: int = 0) -> list[Mapping[str, Any]]:
    """The rows of a mechanism, with numbers that a training run can have had."""
    rows = json.loads(said)
    if not isinstance(rows, list) or not least <= len(rows) <= _ROWS:
        raise ValueError("a release has steps, and few kinds of them")
    for row in rows:
        for name, value in dict(row).items():
            if isinstance(value, bool) or not isinstance(value, int if name == "steps" else int | float):
                raise TypeError("a number is no text, and steps are whole")
            _within(value, *_BOUNDS[name])
    return rows


def _within(value: float, least: float, most: float) -> float:
    """A number of a file within its bounds; NaN is in none."""
    if not least <= value <= most:
        raise ValueError(f"{value} is not from {least:g} to {most:g}")
    return value


def _unit(said: str) -> str:
    if said not in UNITS:
        raise ValueError(f"{said} is nothing that is protected")
    return said


def _steps_of(rows: Sequence[Steps] | Sequence[MixedSteps]) -> Counter[tuple[float, float]]:
    """How many steps had each noise multiplier and sampling rate."""
    counted = Counter[tuple[float, float]]()
    for row in rows:
        counted[row.noise_multiplier, row.sampling_rate] += row.steps
    return counted
