"""`dpmix export`: a model's folder in the forms that others take: a folder for the hub, an entry of a leaderboard."""

import shutil
from pathlib import Path
from typing import Any

from dpmix.errors import DataError, ParamsError
from dpmix.files import atomic_directory
from dpmix.own.model import card, model_folder
from dpmix.own.model.handed_out import date_to_the_day
from dpmix.own.model.model_folder import ModelFolder
from dpmix.seals import SOURCE, read_record
from dpmix.wording import argument

# What the leaderboard at private-machinelearning.github.io calls an accountant.
_ACCOUNTANTS = {"pld": "PLD", "prv": "PRV", "rdp": "RDP"}


def refuse_existing(out: Path) -> None:
    """Refuse to replace what is there, by a `DataError`."""
    if out.exists():
        raise DataError(f"{out} exists and is not overwritten; remove it, or name another `output`")


def hub(folder: ModelFolder, out: Path) -> Path:
    """Write a folder that can be uploaded as it is to the Hugging Face hub; nothing is uploaded.

    It holds the model's files and no others, such as predictions, that have come to lie beside them; and the card is
    written again, so that it says what `privacy.json` does.

    Args:
        folder: the model.
        out: where to.

    Raises:
        PrivacyError: if `privacy.json` is not that of the model.
        ParamsError: for an `out` that lies in the model's folder, or holds it.
        DataError: for an `out` that exists.
    """
    here, there = folder.path.resolve(), out.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise ParamsError(f"{out} and the model's folder lie in each other; name another folder: `output`")
    refuse_existing(out)
    folder.check()
    with atomic_directory(out) as temporary:
        for name in (model_folder.MODEL, model_folder.CONFIG, model_folder.PRIVACY):
            shutil.copyfile(folder.path / name, temporary / name)
        if folder.encoder is not None:
            shutil.copytree(folder.encoder, temporary / model_folder.ENCODER, ignore=shutil.ignore_patterns(SOURCE))
        card.write(temporary / model_folder.CARD, here.name, folder.config, folder.privacy)
        date_to_the_day(*temporary.rglob("*"), temporary)
    return out


def leaderboard(folder: ModelFolder, evaluation: Path) -> str:
    """The model's entry for the leaderboard at private-machinelearning.github.io, as YAML.

    Who it is by and where it was published are left for the user to fill in.

    Args:
        folder: the model.
        evaluation: the folder that `dpmix evaluate` wrote of its test images.

    Raises:
        PrivacyError: if `privacy.json` is not that of the model.
        DataError: if there is no evaluation, or it is not of test images.
    """
    import yaml

    folder.check()
    values = read_record(evaluation / "metrics.json", "make the evaluation again")
    if not isinstance(values.get("accuracy"), float) or values.get("split") != "test":
        raise DataError(
            f"{evaluation} is no evaluation on test images; make one: dpmix evaluate {argument(folder.path)} IMAGES"
        )
    spent = folder.privacy["guarantee"]["epsilon"]
    by = min(spent, key=lambda name: spent[name])
    encoder = folder.config["encoder"]
    architecture = str(folder.config["architecture"]).removeprefix("timm/")
    claim: dict[str, Any] = {
        "public_data": encoder["weights"] if encoder else "none",
        "model": f"{architecture} ({'Final Layer' if encoder else 'Full'})",
        "epsilon": spent[by],
        "delta": f"{folder.privacy['guarantee']['delta']:g}",
        "private_accuracy": f"{100 * values['accuracy']:.1f}%",
        "dp_accountant": _ACCOUNTANTS.get(by, by),
        "analyses": "",
    }
    entry = {"name": "", "url": "", "authors": "", "code": "", "venue": "", "venue_date": "", "claims": [claim]}
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
