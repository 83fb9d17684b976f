"""A model that was trained for release, for whoever is given it: one file, and for a head its frozen encoder.

`model.safetensors` holds the weights. Its metadata says what they belong to (`model`, as in params.yaml; `classes`;
`channels`) and what was spent on them (`epsilon_rdp`, `epsilon_prv`, `epsilon_pld`, `delta`), together with what that
was computed from (`mechanism`: noise multiplier, sampling rate and number of the steps executed; `dataset`;
`population`). So anybody can compute it again, and the ε of several models together (`joint_epsilons`). An encoder is
public and stays where it is: the folder that `dpmix step encoder` made.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpmix.errors import DataError
from dpmix.files import atomic_file
from dpmix.params import EncoderSpec, ModelSpec, WideResNetSpec
from dpmix.privacy.accounting import Steps, composed_epsilons, rounded_up
from dpmix.privacy.ledger import as_rows, from_rows

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass(frozen=True)
class Released:
    """A classifier and what it may have revealed.

    Attributes:
        logits: images float32 [m, C, R, R] in [0, 1] to logits float32 [m, classes].
        classes: their names.
        resolution: R.
        channels: C.
        statement: ε as executed, and of what.
    """

    logits: "Callable[[Tensor], Tensor]"
    classes: tuple[str, ...]
    resolution: int
    channels: int
    statement: Statement


def save(
    path: Path,
    weights: "Mapping[str, Tensor]",
    model: EncoderSpec | WideResNetSpec,
    classes: Sequence[str],
    channels: int,
    statement: Statement,
) -> None:
    """Write a trained model with all that is needed to use it, whole or not at all.

    `weights` are a network's parameters; or a head's `weight` [classes, d] and `bias` [classes] and, where features
    are standardised, the public `shift` [d] and `scale` [d].
    """
    from safetensors.torch import save_file

    metadata = {
        "format": "pt",
        "model": model.model_dump_json(),
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "channels": str(channels),
        "dataset": statement.dataset,
        "population": str(statement.population),
        "mechanism": json.dumps(as_rows(list(statement.mechanism))),
        "delta": repr(statement.delta),
        # Rounded up: what is said must not be less than what was spent.
        **{
            f"epsilon_{name}": rounded_up(value, 6)
            for name, value in statement.epsilons.items()
            if value < math.inf  # an accountant that gives no bound
        },
    }
    with atomic_file(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary, metadata)


def load(path: Path, encoder: Path | None = None, device: str = "cpu") -> Released:
    """Read what `save` wrote.

    Args:
        path: `model.safetensors` of a release.
        encoder: the folder of a head's encoder; by default where the workflow keeps it, below the working directory.
        device: where to compute.

    Raises:
        DataError: if the file is missing, damaged or not a release's, or its encoder is not there.
    """
    import torch
    from pydantic import TypeAdapter
    from safetensors import safe_open

    with _whole(path):
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            weights = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        spec: ModelSpec = TypeAdapter(ModelSpec).validate_json(said["model"])
        classes, channels = tuple(map(str, json.loads(said["classes"]))), int(said["channels"])
        statement = _statement(said)
        if isinstance(spec, EncoderSpec):
            matrix = torch.cat([weights["weight"], weights["bias"][:, None]], dim=1)
        else:
            from dpmix.models.wide_resnet import wide_resnet

            network = wide_resnet(spec, channels, len(classes), seed=0).to(device).eval()
            network.load_state_dict(weights)
    if isinstance(spec, EncoderSpec):
        featurize = _featurizer(spec, weights, encoder, device)
        return Released(lambda images: featurize(images) @ matrix.T, classes, spec.resolution, channels, statement)
    return Released(torch.no_grad()(network), classes, spec.resolution, channels, statement)


def read_statement(path: Path) -> Statement:
    """What a released file says of itself, without reading its weights.

    Raises:
        DataError: if the file is missing, damaged or not a release's.
    """
    from safetensors import safe_open

    with _whole(path), safe_open(path, framework="np") as file:
        return _statement(file.metadata() or {})


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
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


def _statement(said: Mapping[str, str]) -> Statement:
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


def _featurizer(
    spec: EncoderSpec, weights: "Mapping[str, Tensor]", encoder: Path | None, device: str
) -> "Callable[[Tensor], Tensor]":
    from dpmix.experiment import EncoderModel
    from dpmix.models.encoders import load_encoder
    from dpmix.training.head import Featurizer

    folder = encoder or EncoderModel(encoder=spec).path("").parent
    if not folder.is_dir():
        raise DataError(
            f"{folder} does not exist; fetch {spec.architecture} / {spec.weights} into it, or name one: --encoder"
        )
    return Featurizer(load_encoder(folder, device), weights.get("shift"), weights.get("scale"))


def classify(model: Released, files: Sequence[Path], batch: int, device: str = "cpu") -> Iterator[tuple[str, float]]:
    """The most probable class of each image file and its probability, in the files' order.

    Raises:
        DataError: for a file that cannot be read as an image.
    """
    import torch

    from dpmix.datasets import decoded

    images = decoded(files, model.resolution, model.channels)
    for start in range(0, len(files), batch):
        part = np.stack([next(images) for _ in files[start : start + batch]])
        scores = torch.softmax(model.logits(torch.from_numpy(part).to(device).float() / 255), dim=1)
        for probability, index in zip(*(values.tolist() for values in scores.max(dim=1)), strict=True):
            yield model.classes[index], probability
