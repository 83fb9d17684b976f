"""What is left of a run: the model's folder with what was spent on its images, or of research the metrics alone."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.files import atomic_directory
from dpmix.own.choices.commands import command
from dpmix.own.choices.setup import Setup, split
from dpmix.own.model.card import accuracy_deviation
from dpmix.own.training import spent, totals
from dpmix.own.training.work_folder import SCALE
from dpmix.privacy.accounting import rounded_up
from dpmix.progress import say
from dpmix.release.statement import read_statement
from dpmix.seals import read_record

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan


def write(made: Setup, plan: "Plan", run: Experiment, record: spent.Record, encoder: Path) -> None:
    """Write the folder of a model that was trained in the work folder, or of research its metrics alone, and say so.

    Args:
        made: the run.
        plan: its plan.
        run: what was trained.
        record: of what was spent on the images.
        encoder: the folder of the frozen encoder.

    Raises:
        PrivacyError: if the record has lost steps.
        DpmixError: if the folder cannot be written.
    """
    from dpmix.own.model import model_folder

    asked, metrics = made.request, run.path(SCALE)
    if asked.research:
        with atomic_directory(asked.output) as temporary:
            shutil.copyfile(metrics, temporary / "metrics.json")
        say(
            f"accuracy {read_record(metrics)['accuracy']:.2f} % of the test images; {asked.output.name} is not for "
            "release"
        )
        return
    released = metrics.parent / "model.safetensors"
    facts: dict[str, Any] = {
        "learning_rate": "rule" if asked.learning_rate is None else "given",
        "population_public": f"the number of training {asked.unit}s is published with the model",
        "command": command(asked),
    }
    if asked.evaluate_epsilon is not None:
        from dpmix.own.training.released_accuracy import noisy_accuracy

        facts["evaluation"] = noisy_accuracy(run, SCALE, released, encoder, made, record, asked.evaluate_epsilon)
    everything = record.runs()
    runs = [one for one in everything if one.covered and one.unit == asked.unit]
    joint, delta = totals.together(runs, asked.unit)
    said, own = float(rounded_up(totals.tightest(joint), 4)), min(read_statement(released).epsilons.values())
    if said < own * (1 - 1e-3):
        raise PrivacyError(
            f"{record.path} has {said} as the epsilon of all models, and this one has spent {own:.4f}; it was changed "
            "meanwhile: put back the file that had all runs"
        )
    facts["together"] = {
        "epsilon": said,
        "delta": delta,
        "models": len(runs),
        "test_epsilon": float(rounded_up(totals.on_test_images(record.measured(), asked.unit), 4)),
        **totals.not_counted(everything, asked.unit),
    }
    # So that `dpmix evaluate` finds the same test images again.
    model_folder.write(asked.output, model=released, encoder=encoder, privacy=facts, config={"split": split(asked)})
    if found := facts.get("evaluation"):
        say(
            f"accuracy {found['accuracy']:.1f} % of {found['images']} test {asked.unit}s, with noise of standard "
            f"deviation {accuracy_deviation(found):.1f}, for ε = {found['epsilon']:g} of them"
        )
    said = read_record(metrics)["epsilon"]["pld"]
    say(f"{asked.output.name}: ε = {rounded_up(said, 4)} for one {asked.unit} at δ = {plan.delta:g}")
