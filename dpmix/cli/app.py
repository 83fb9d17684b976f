"""The application: all commands of `dpmix`, those for people and those that the workflow calls (`dpmix step`)."""

import functools
from collections.abc import Callable
from typing import Any

import typer

from dpmix.cli.account import account
from dpmix.cli.agree import agree, reference
from dpmix.cli.audit import audit
from dpmix.cli.card import card
from dpmix.cli.check import check
from dpmix.cli.classify import classify
from dpmix.cli.compare import compare
from dpmix.cli.crate import crate
from dpmix.cli.curve import curve
from dpmix.cli.evaluate import evaluate
from dpmix.cli.export import export
from dpmix.cli.options import OPTIONS
from dpmix.cli.plan import plan
from dpmix.cli.predict import predict
from dpmix.cli.report import report
from dpmix.cli.statement import statement
from dpmix.cli.status import status
from dpmix.cli.steps import steps
from dpmix.cli.synthesize import synthesize
from dpmix.cli.train import train
from dpmix.errors import as_typed, naming

app = typer.Typer(
    name="dpmix",
    help="Mixup under differential privacy: train on private images, account, and reproduce the paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# The panels of `dpmix --help`.
_OWN, _PAPER, _PARTS = "Private images of one's own: dpmix train my-images --epsilon 4", "The paper's tables", "Parts"


def _show(command: Callable[..., Any], panel: str, line: str) -> None:
    """Add a command, with its line in the list of all."""
    app.command(short_help=line, rich_help_panel=panel)(command)


_show(check, _OWN, "What is wrong among images; or check a params file.")
_show(plan, _OWN, "What training, or a table, takes and spends; nothing is trained.")
_show(train, _OWN, "A private classifier from a folder of images.")
_show(predict, _OWN, "The classes of images, by a model's folder.")
_show(evaluate, _OWN, "How good a model's folder is; its numbers read the test images.")
_show(compare, _OWN, "Methods at several ε, with seeds; research, not for release.")
_show(audit, _OWN, "A lower bound on ε by canaries, beside the ε that is claimed.")
_show(card, _OWN, "Write the card of a model's folder again.")
_show(export, _OWN, "ONNX, a folder for the hub, or an entry for the leaderboard.")
app.command(hidden=True)(classify)  # what predict was called when a model was one file
_show(statement, _OWN, "ε of released models, each and together, from their steps.")
_show(synthesize, _OWN, "Draw D, public images to mix in, by names of classes alone.")
_show(status, _PAPER, "Runs done, running, failed and missing; how to go on.")
_show(report, _PAPER, "The page of a scale, whatever is done of it; its pictures.")
_show(agree, _PAPER, "Which cells agree with the reference.")
_show(reference, _PAPER, "Render a finished scale into results/reference.")
_show(crate, _PAPER, "A finished scale as an RO-Crate, to hand in or publish.")
_show(curve, _PAPER, "A picture of tables: accuracy against ε.")
_show(account, _PARTS, "σ, T, q and ε for a target ε, or for a noise.")
app.add_typer(
    steps,
    name="step",
    help="What the workflow's rules run: each makes the files that it is given.",
    short_help="What the workflow's rules run.",
    rich_help_panel=_PAPER,
)


def _naming_its_params(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, whose error messages name the file that `--params` gives, and options as they are typed."""

    @functools.wraps(command)
    def named(**options: Any) -> Any:
        with naming(options.get("params") or "params.yaml"), as_typed(OPTIONS):
            return command(**options)

    return named


for _each in (*app.registered_commands, *steps.registered_commands):
    if _each.callback is not None:
        _each.callback = _naming_its_params(_each.callback)
