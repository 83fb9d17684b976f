"""What a released model may have revealed, as its file says it, and of several models together.

The metadata of `model.safetensors` says what was spent (`epsilon_rdp`, `epsilon_prv`, `epsilon_pld`, `delta`) and what
that was computed from (`mechanism`: noise multiplier, sampling rate and number of the steps executed; `dataset`;
`population`). So anybody can compute it again, and the ε of several models together (`joint_epsilons`).
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpmix.errors import DataError
from dpmix.privacy.accounting import Steps, composed_epsilons
from dpmix.privacy.ledger import from_rows


@dataclass(frozen=True)
class Statement:
    """What one released model may have revealed of a private data set.

    Attributes:
        dataset: its name in the params; models of one data set add up.
        population: N, the published number of its training images that were sampled from.
        mechanism: the steps executed, as an accountant composes them: Poisson-subsampled Gaussian mechanisms with
            add/remove adjacency of one image.
        epsilons: their ε by accountant, at `delta`.
        delta: δ.
    """

    dataset: str
    population: int
    mechanism: Sequence[Steps]
    epsilons: Mapping[str, float]
    delta: float


def read_statement(path: Path) -> Statement:
    """What a released file says of itself, without reading its weights.

    Raises:
        DataError: if the file is missing, damaged or not a release's.
    """
    from safetensors import safe_open

    with whole(path), safe_open(path, framework="np") as file:
        return statement_from(file.metadata() or {})


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Around the reading of a released file: whatever it holds that it should not is one line."""
    from safetensors import SafetensorError

    if not path.is_file():
        raise DataError(f"{path} does not exist; a run with release: true leaves it beside its metrics.json")
    try:
        yield
    # Of numbers and lists that are none, or of weights that do not fit; torch says RuntimeError of the latter.
    except (SafetensorError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{path} is not a whole released model; copy or make it again") from error


def joint_epsilons(statements: Sequence[Statement]) -> dict[str, float]:
    """ε by accountant of an image in the data of several models, for whoever has them all, at the largest of their δ.

    The models' samples and noises are independent, so their steps compose as if one run had taken them all, which is
    less than the sum of their ε. An image that is in some of their data sets only, has less. Names of data sets tell
    nothing here: two may share a folder, or one may be a part of the other.
    """
    steps = [row for one in statements for row in one.mechanism]
    return composed_epsilons(steps, delta=max(one.delta for one in statements))


def statement_from(said: Mapping[str, str]) -> Statement:
    """The statement in a model file's metadata."""
    mechanism = from_rows(json.loads(said["mechanism"]))
    if not mechanism or any(row.steps < 1 or not 0 < row.noise_multiplier < math.inf for row in mechanism):
        raise ValueError("a release has steps, and each has noise")
    return Statement(
        dataset=said["dataset"],
        population=int(said["population"]),
        mechanism=mechanism,
        epsilons={key.removeprefix("epsilon_"): float(said[key]) for key in said if key.startswith("epsilon_")},
        delta=float(said["delta"]),
    )
