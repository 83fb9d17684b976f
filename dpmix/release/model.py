"""Writes, reads and uses `model.safetensors`, the file of a model that was trained with `release: true`.

It holds the weights. Its metadata describes the model (`model`, as in params.yaml; `classes`; `channels`) and states
the ε spent (`dpmix.release.statement`). The frozen encoder of a linear head is public and not in the file; it is read
from the folder that `dpmix step encoder` made.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpmix.errors import DataError
from dpmix.params.models import EncoderSpec, ModelSpec
from dpmix.privacy.accounting import rounded_up
from dpmix.privacy.ledger import as_rows
from dpmix.release.statement import Statement, statement_from, whole
from dpmix.seals import check_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

_AGAIN = "copy or make it again"
_OWN_ENCODER = "put the head's own there, or name its folder as the encoder"


@dataclass(frozen=True)
class Released:
    """A released classifier.

    Attributes:
        logits: maps images float32 [m, C, R, R] in [0, 1] to logits float32 [m, classes].
        classes: the names of the classes.
        resolution: R, in pixels.
        channels: C, 1 or 3.
        statement: the ε that its training spent, and on which data set.
    """

    logits: "Callable[[Tensor], Tensor]"
    classes: tuple[str, ...]
    resolution: int
    channels: int
    statement: Statement


def save(
    path: Path,
    weights: "Mapping[str, Tensor]",
    model: ModelSpec,
    classes: Sequence[str],
    channels: int,
    statement: Statement,
    encoder: str | None = None,
) -> None:
    """Write a trained model, whole or not at all.

    Args:
        path: the file to write.
        weights: a network's parameters by name; or a head's `weight` [classes, d] and `bias` [classes] and, if features
            are standardised, the public `shift` [d] and `scale` [d].
        model: the network, or the head's encoder, as in the params.
        classes: the names of the classes.
        channels: of the images, 1 or 3.
        statement: the ε spent.
        encoder: of a head, the digest of the encoder that it was trained on (`encoder_files.weights_digest`).
    """
    metadata = {
        "format": "pt",
        "model": model.model_dump_json(),
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "channels": str(channels),
        **({"encoder": encoder} if encoder else {}),
        "dataset": statement.dataset,
        "population": str(statement.population),
        "mechanism": json.dumps(as_rows(list(statement.mechanism))),
        "delta": repr(statement.delta),
        **({"unit": statement.unit} if statement.unit != "image" else {}),
        **({"mixed": json.dumps([row._asdict() for row in statement.mixed])} if statement.mixed else {}),
        # Rounded up: what is said must not be less than what was spent.
        **{
            f"epsilon_{name}": rounded_up(value, 6)
            for name, value in statement.epsilons.items()
            if value < math.inf  # an accountant that gives no bound
        },
    }
    save_tensors(path, weights, metadata)


def load(path: str | Path, encoder: str | Path | None = None, device: str = "cpu") -> Released:
    """Read what `save` wrote.

    Args:
        path: `model.safetensors` of a release.
        encoder: the folder of a head's encoder; by default where the workflow puts it, below the working directory.
        device: where to compute.

    Raises:
        DataError: if the file is missing, damaged or not a released model's, or its encoder's folder does not exist.
    """
    import torch
    from pydantic import TypeAdapter
    from safetensors import safe_open

    path = Path(path)
    with whole(path):
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            check_tensors(path, said, _AGAIN)
            weights = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        spec: ModelSpec = TypeAdapter(ModelSpec).validate_json(said["model"])
        classes, channels = tuple(map(str, json.loads(said["classes"]))), int(said["channels"])
        statement = statement_from(said)
        if isinstance(spec, EncoderSpec):
            matrix = torch.cat([weights["weight"], weights["bias"][:, None]], dim=1)
        else:
            from dpmix.models.networks import build_network

            network = build_network(spec, channels, len(classes), seed=0).to(device).eval()
            network.load_state_dict(weights)
    if isinstance(spec, EncoderSpec):
        featurize = _featurizer(spec, weights, _encoder(spec, path, encoder, said.get("encoder")), device)
        return Released(lambda images: featurize(images) @ matrix.T, classes, spec.resolution, channels, statement)
    return Released(torch.no_grad()(network), classes, spec.resolution, channels, statement)


def _featurizer(
    spec: EncoderSpec, weights: "Mapping[str, Tensor]", folder: Path, device: str
) -> "Callable[[Tensor], Tensor]":
    from dpmix.models.encoder_files import load_encoder
    from dpmix.models.features import Featurizer

    loaded = load_encoder(folder, device, side=spec.side)
    if loaded.dim != (dim := weights["weight"].shape[1]):
        raise DataError(
            f"{folder} gives {loaded.dim} features and the head was trained on {dim}, so it is another encoder; "
            f"{_OWN_ENCODER}"
        )
    return Featurizer(loaded, weights.get("shift"), weights.get("scale"))


def _encoder(spec: EncoderSpec, path: Path, encoder: str | Path | None, digest: str | None) -> Path:
    """The folder of a head's encoder, whose weights are those that the head in the file `path` was trained on.

    Raises:
        DataError: if it does not exist, or its weights are others.
    """
    from dpmix.artefacts.data import EncoderModel
    from dpmix.models.encoder_files import weights_digest

    folder = Path(encoder) if encoder else EncoderModel(encoder=spec).path("").parent
    if not folder.is_dir():
        raise DataError(
            f"{folder} does not exist; fetch {spec.architecture} / {spec.weights} into it, or name its folder as the "
            "encoder"
        )
    if digest is not None and weights_digest(folder) != digest:
        raise DataError(f"{folder} has other weights than the encoder that {path} was trained on; {_OWN_ENCODER}")
    return folder


def classify(model: Released, files: Sequence[Path], batch: int, device: str = "cpu") -> Iterator[tuple[str, float]]:
    """Classify image files.

    Args:
        model: as `load` returns it.
        files: the image files.
        batch: images at a time.
        device: where to compute.

    Returns:
        For each file, in order, the most probable class and its probability.

    Raises:
        DataError: for a file that cannot be read as an image.
    """
    import torch

    from dpmix.data.folders import decoded

    images = decoded(files, model.resolution, model.channels)
    for start in range(0, len(files), batch):
        part = np.stack([next(images) for _ in files[start : start + batch]])
        scores = torch.softmax(model.logits(torch.from_numpy(part).to(device).float() / 255), dim=1)
        for probability, index in zip(*(values.tolist() for values in scores.max(dim=1)), strict=True):
            yield model.classes[index], probability
