"""The application: all commands of `dpmix`, those for people and those that the workflow calls (`dpmix step`)."""

import functools
from collections.abc import Callable
from typing import Any

import typer

from dpmix.cli.account import account
from dpmix.cli.agree import agree, reference
from dpmix.cli.card import card
from dpmix.cli.check import check
from dpmix.cli.classify import classify
from dpmix.cli.evaluate import evaluate
from dpmix.cli.export import export
from dpmix.cli.plan import plan
from dpmix.cli.predict import predict
from dpmix.cli.statement import statement
from dpmix.cli.steps import steps
from dpmix.cli.synthesize import synthesize
from dpmix.errors import naming

app = typer.Typer(
    name="dpmix",
    help="Mixup under differential privacy: train, account, and reproduce the paper's tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(account)
app.command()(check)
app.command()(plan)
app.command()(synthesize)
app.command()(predict)
app.command()(evaluate)
app.command()(card)
app.command()(export)
app.command(hidden=True)(classify)  # what predict was called when a model was one file
app.command()(agree)
app.command()(reference)
app.command()(statement)
app.add_typer(steps, name="step", help="What the workflow's rules run: each makes the files that it is given.")


def _naming_its_params(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with `params.yaml` in its error messages replaced by the file that `--params` gives."""

    @functools.wraps(command)
    def named(**options: Any) -> Any:
        with naming(options.get("params") or "params.yaml"):
            return command(**options)

    return named


for _each in (*app.registered_commands, *steps.registered_commands):
    if _each.callback is not None:
        _each.callback = _naming_its_params(_each.callback)
