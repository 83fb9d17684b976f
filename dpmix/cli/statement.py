"""`dpmix statement`: what released models may have revealed, one by one and all together."""

from pathlib import Path
from typing import Annotated

import typer

from dpmix.errors import DataError, PrivacyError


def statement(
    released: Annotated[
        list[Path], typer.Argument(help="model.safetensors of runs with release: true, or folders of them.")
    ],
) -> None:
    """Compute ε again from the steps that released models say were executed; of several, also of all together.

    Whoever is given several models of one data set can combine them. Each has a secret sample and noise of its own, so
    what all reveal is the composition of all their steps: less than the sum of their ε.
    """
    from dpmix.privacy.accounting import composed_epsilons
    from dpmix.released import joint_epsilons, read_statement

    files = [file for path in released for file in _files(path)]
    statements = {file: read_statement(file) for file in files}
    for file, one in statements.items():
        again = composed_epsilons(one.mechanism, delta=one.delta)
        short = {name: value for name, value in again.items() if one.epsilons.get(name, 0.0) < value * (1 - 1e-9)}
        if short:
            raise PrivacyError(f"{file} claims less than its own steps spend ({_text(again)}); do not trust it")
        typer.echo(f"{file}: ε = {_text(again)}, δ = {one.delta:g}, one image of {one.population} of {one.dataset}")
    for name in dict.fromkeys(one.dataset for one in statements.values()):
        together = [one for one in statements.values() if one.dataset == name]
        if len(together) > 1:
            delta = max(one.delta for one in together)
            typer.echo(f"all {len(together)} models of {name}: ε = {_text(joint_epsilons(together))}, δ = {delta:g}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    from dpmix.files import read_json

    for metrics in sorted(path.rglob("metrics.json")):
        record = read_json(metrics)
        run = record.get("experiment") if isinstance(record, dict) else None
        if isinstance(run, dict) and not run.get("release"):
            raise PrivacyError(f"{metrics} is of a run without release: true, which no ε covers; do not hand it out")
    files = sorted(path.rglob("model.safetensors"))
    if not files:
        raise DataError(f"{path} holds no model.safetensors; a run with release: true leaves one")
    return files


def _text(epsilons: dict[str, float]) -> str:
    return ", ".join(f"{value:.4f} ({name})" for name, value in sorted(epsilons.items())) or "∞"
