"""A model's folder, which is whole by itself: what `dpmix train` writes and every later verb reads.

- `model.safetensors`: the weights and the statement of ε (`dpmix.release.model`);
- `config.json`: labels, encoder, preprocessing and settings, in names that the Hugging Face hub and timm use;
- `encoder/`: the public frozen encoder, if the model is a head on one;
- `privacy.json`: what is guaranteed (`dpmix.own.model.privacy_record`);
- `README.md`: the model card, written from `privacy.json` and `config.json` (`dpmix.own.model.card`).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix import __version__
from dpmix.errors import DataError, ParamsError
from dpmix.files import atomic_directory, read_object, write_json
from dpmix.own.model import card, privacy_check, privacy_record
from dpmix.own.model.handed_out import date_to_the_day
from dpmix.own.model.privacy_fields import Audit, refuse_odd_config
from dpmix.seals import SOURCE, read_record

if TYPE_CHECKING:
    from dpmix.release.model import Released

MODEL, CONFIG, ENCODER, PRIVACY, CARD = "model.safetensors", "config.json", "encoder", "privacy.json", "README.md"


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder that was read; its weights are not, until `load`.

    Attributes:
        path: the folder.
        config: what `config.json` says.
        privacy: what `privacy.json` says.
    """

    path: Path
    config: Mapping[str, Any]
    privacy: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The file of its weights."""
        return self.path / MODEL

    @property
    def encoder(self) -> Path | None:
        """The folder of its frozen encoder; None for a network that was trained from scratch."""
        return self.path / ENCODER if self.config["encoder"] else None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        return tuple(self.config["label_names"])

    def load(self, device: str = "cpu") -> "Released":
        """The classifier.

        Raises:
            DataError: if a file of it is missing, damaged or of another model.
        """
        from dpmix.release.model import load

        found = load(self.model, self.encoder, device)
        for name, own in (
            ("label_names", found.classes),
            ("resolution", found.resolution),
            ("channels", found.channels),
        ):
            said = self.config[name]
            if (tuple(said) if name == "label_names" else said) != own:
                raise DataError(
                    f"{self.path / CONFIG} says something else of {name} than {MODEL}; put back the one that training "
                    "wrote"
                )
        return found

    def check(self) -> None:
        """Hold `privacy.json` against the model's own steps: `privacy_check.check`.

        Raises:
            PrivacyError: if they do not agree.
        """
        privacy_check.check(self.privacy, self.model)


def write(
    folder: str | Path,
    *,
    model: Path,
    encoder: Path | None = None,
    privacy: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> ModelFolder:
    """Write the folder of a released model, whole or not at all; one that is there is replaced.

    All files in it, and the folder, have one time: the day's.

    Args:
        folder: where to.
        model: `model.safetensors` of a run with `release: true`; its `metrics.json` lies beside it.
        encoder: the folder of its frozen encoder, which is copied; None for a network from scratch.
        privacy: what only the trainer knows of the model's privacy: `privacy_record.Facts`.
        config: more entries for `config.json`, such as how the images were split.

    Raises:
        DataError: if the model or its encoder is missing or damaged.
        ParamsError: for an entry of `config` that is written anyway, or facts that are none.
        PrivacyError: if the run is no release, or its record is not that of the model.
    """
    folder, model = Path(folder), Path(model)
    run = read_record(model.parent / "metrics.json")
    facts = privacy_record.record(model, run, privacy or {})
    written = _config(model, run["experiment"], encoder)
    if taken := sorted(set(written) & set(config or {})):
        raise ParamsError(f"config.json has {taken[0]} from the model itself; leave it out of config")
    with atomic_directory(folder) as temporary:
        shutil.copyfile(model, temporary / MODEL)
        if encoder is not None:
            shutil.copytree(encoder, temporary / ENCODER, ignore=shutil.ignore_patterns(SOURCE))
        write_json(temporary / CONFIG, {**written, **(config or {})})
        write_json(temporary / PRIVACY, facts)
        made = read(temporary)
        made.load()  # what is handed out can be used
        card.write(temporary / CARD, folder.name, made.config, made.privacy)
        date_to_the_day(*temporary.rglob("*"), temporary)
    return read(folder)


def read(folder: str | Path) -> ModelFolder:
    """Read what `write` wrote, but for the weights.

    Raises:
        DataError: if it is no model's folder, or a file of it is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}; give the folder of a model, as dpmix train writes it")
    for name in (MODEL, CONFIG, PRIVACY):
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}, so it is no model's folder; give one that dpmix train wrote")
    config = read_object(
        folder / CONFIG, "copy or make the folder again", ("label_names", "encoder", "resolution", "channels")
    )
    refuse_odd_config(config, folder / CONFIG)
    return ModelFolder(folder, config, privacy_check.of_folder(folder))


def enter_audit(folder: Path, found: Mapping[str, Any]) -> None:
    """Write what an audit of a model found into its `privacy.json` and its card, in place of an earlier audit.

    Args:
        folder: the model's folder.
        found: values of `dpmix.own.model.privacy_fields.Audit`; others are left out.

    Raises:
        PrivacyError: if the record does not agree with the model's own steps.
        DpmixError: if the folder cannot be written.
    """
    model = read(folder)
    privacy = {**model.privacy, "audit": {name: found[name] for name in Audit.model_fields}}
    privacy_check.check(privacy, model.model)
    write_json(folder / PRIVACY, privacy)
    card.write(folder / CARD, folder.resolve().name, model.config, privacy)


def is_one(folder: Path) -> bool:
    """Whether this looks like a model's folder, whole or not."""
    return (folder / PRIVACY).is_file() and (folder / MODEL).is_file()


_NOT_A_RECIPE = ("dataset", "model", "method", "synthetic", "release", "seed", "semantics", "holdout")


def _config(model: Path, experiment: Mapping[str, Any], encoder: Path | None) -> dict[str, Any]:
    """What `config.json` says of a model by itself."""
    import json

    from safetensors import safe_open

    from dpmix.release.statement import whole

    spec = experiment["model"]
    frozen = spec["kind"] == "encoder"
    if frozen != (encoder is not None):
        what = "is a head; give the folder of its encoder" if frozen else "is no head; leave out the encoder"
        raise ParamsError(f"{model} {what}; a head's frozen encoder is part of its folder")
    with whole(model), safe_open(model, framework="np") as file:
        said = file.metadata() or {}
        classes = [str(name) for name in json.loads(said["classes"])]
        channels = int(said["channels"])
    side = spec["resolution"]
    seen = (
        _preprocessing(encoder, spec["side"])
        if encoder is not None
        else {"mean": [0.0] * channels, "std": [1.0] * channels}
    )
    return {
        "library_name": "dpmix",
        "dpmix_version": __version__,
        "task": "image-classification",
        "architecture": spec.get("architecture", spec["kind"]),
        "encoder": {"folder": ENCODER, "weights": spec["weights"], "label": spec["label"]} if frozen else None,
        "num_classes": len(classes),
        "label_names": classes,
        "id2label": {str(index): name for index, name in enumerate(classes)},
        "label2id": {name: index for index, name in enumerate(classes)},
        "resolution": side,
        "channels": channels,
        "preprocessing": {
            "resize": "shorter side, bicubic, antialiased",
            "crop": "centre",
            "input_size": [channels, side, side],
            "scale": "pixels in [0, 1]",
            **seen,
        },
        "method": experiment["method"],
        "settings": {name: value for name, value in experiment.items() if name not in _NOT_A_RECIPE},
    }


def _preprocessing(encoder: Path, side: int | None) -> dict[str, Any]:
    """The side that an encoder resizes images to, by default its own, and what it normalises them by."""
    from dpmix.models.encoder_files import load_encoder

    loaded = load_encoder(encoder, side=side)
    mean, std = loaded.normalization
    return {"encoder_side": loaded.resolution, "mean": mean, "std": std}
