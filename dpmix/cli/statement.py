"""`dpmix statement`: the ε of released models, one by one and all together."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpmix.errors import DataError, PrivacyError
from dpmix.privacy.accounting import rounded_up

if TYPE_CHECKING:
    from dpmix.release.statement import Statement


def statement(
    released: Annotated[
        list[Path],
        typer.Argument(help="Models' folders, model.safetensors of runs with release: true, or folders of them."),
    ],
) -> None:
    """Compute ε again from the steps that released models say were executed; of several, also of all together.

    Whoever is given several models can combine them: name all files and folders that were handed out. Each has a secret
    sample and noise of its own, so what all reveal is the composition of all their steps: less than the sum of their ε.
    """
    from dpmix.own.model import privacy_check
    from dpmix.release.statement import NO_JOINT, read_statement

    # One file that is named twice is one model.
    files = list({file.resolve(): file for path in released for file in _files(path)}.values())
    statements = {file: read_statement(file) for file in files}
    for file, one in statements.items():
        again = one.computed_again()
        for name, value in again.items():
            claimed = one.epsilons.get(name, 0.0 if value < math.inf else math.inf)
            if claimed < value * (1 - 1e-9):
                raise PrivacyError(f"{file} claims less than its own steps spend ({_text(again)}); do not trust it")
            if claimed > value * 1.01 + 1e-3:
                raise PrivacyError(f"{file} lists fewer steps than its ε is of ({_text(again)}); do not trust it")
        if (file.parent / "privacy.json").is_file():  # a model's folder, which says more
            privacy_check.check(privacy_check.of_folder(file.parent), file)
        of = f"{one.protected} of {one.population} of {one.dataset}"
        typer.echo(f"{file}: ε = {_text(again)}, δ = {one.delta:g}, {of}")
    units = list(dict.fromkeys(one.unit for one in statements.values()))
    for unit in units:
        alike = [one for one in statements.values() if one.unit == unit]
        names = list(dict.fromkeys(one.dataset for one in alike))
        which = "models" if len(units) == 1 else f"models that protect {alike[0].protected}"
        for name in names:
            together = [one for one in alike if one.dataset == name]
            if len(together) > 1:
                _together(f"all {len(together)} {which} of {name}", together)
        if len(names) > 1:
            whose = "an image that is" if unit == "image" else "a person who is"
            _together(f"all {len(alike)} {which}, for {whose} in all data sets", alike)
    if len(units) > 1:
        typer.echo(NO_JOINT)


def _together(which: str, statements: "list[Statement]") -> None:
    from dpmix.release.statement import joint_epsilons

    delta = max(one.delta for one in statements)
    typer.echo(f"{which}: ε = {_text(joint_epsilons(statements))}, δ = {delta:g}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    from dpmix.files import read_json

    for metrics in sorted(path.rglob("metrics.json")):
        record = read_json(metrics)
        run = record.get("experiment") if isinstance(record, dict) else None
        # Zero-shot accuracies, which alone name prompts, are of no trained model:
        # `dpmix.artefacts.releasable.ARTEFACTS`.
        if isinstance(run, dict) and "prompts" not in run and not run.get("release"):
            raise PrivacyError(f"{metrics} is of a run without release: true, which no ε covers; do not hand it out")
    # The encoder within a model's folder may have a file of this name, which is public.
    found = sorted(path.rglob("model.safetensors"))
    files = [file for file in found if not (file.parents[1] / "privacy.json").is_file()]
    if not files:
        raise DataError(f"{path} holds no model.safetensors; a run with release: true leaves one")
    return files


def _text(epsilons: dict[str, float]) -> str:
    # Rounded up: what is said must not be less than what was spent.
    return ", ".join(f"{rounded_up(value, 4)} ({name})" for name, value in sorted(epsilons.items())) or "∞"
