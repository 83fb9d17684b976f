"""A run that has begun: its seed and its key in the record of what was spent, drawn once and kept in the work folder.

A run that goes on is the one on record, with the same noise, sampling and steps, or it is refused. So it is when code
that computes it, or the rule of its learning rate, has changed since. Its checkpoint bears the name of the old code, so
`train` would begin at step 0 again and spend what was spent once more; and a model that two versions of the code have
trained is nobody's experiment. The record counts both either way, but to spend more is a choice of the person.
"""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix import __version__
from dpmix.errors import DataError
from dpmix.files import write_json
from dpmix.own.choices.request import Request
from dpmix.own.training import spent
from dpmix.own.training.work_folder import BEGUN
from dpmix.params.declared import Seed, Spec

if TYPE_CHECKING:
    from dpmix.artefacts.experiment import Experiment
    from dpmix.privacy.plan import Plan


class Begun(Spec):
    """The seed of a run, its key in the record, and what determines its result.

    Attributes:
        key: of its `dpmix.own.training.spent.Run`.
        seed: of the views, and in research also of sample and noise.
        run: the hash of its `dpmix.artefacts.experiment.Experiment`, with seed 0, which holds code too (`dpmix.code`).
        version: of dpmix, when it began.
    """

    key: str
    seed: Seed
    run: str
    version: str


def begun(asked: Request, plan: "Plan", run: "Experiment", record: spent.Record) -> tuple[int, spent.Run]:
    """The seed and the entry in the record of the run in the work folder that was entered; entered now if it is new.

    Args:
        asked: what was asked for.
        plan: the noise, sampling and steps that are about to be executed.
        run: what is about to be trained, with any seed.
        record: of what was spent on the images.

    Raises:
        DataError: if what is kept is damaged, the record has lost the run, or has it with another plan, as after a
            change of the files of an unfinished run, or if code has changed that computes it.
    """
    path = Path(BEGUN)
    named = run.model_copy(update={"seed": 0}).hash
    if not path.exists():
        entry = record.begin(_run(asked, plan))
        seed = (asked.seed or 0) if asked.research else secrets.randbits(32)
        write_json(path, Begun(key=entry.key, seed=seed, run=named, version=__version__).model_dump())
        return seed, entry
    kept = Begun.from_file(asked.work / BEGUN, f"delete {asked.work} and train afresh: what it spent stays on record")
    found = next((one for one in record.runs() if one.key == kept.key), None)
    if found is None:
        raise DataError(f"{record.path} has lost this run, {kept.key}; put back the file that had it")
    if _planned(found) != _planned(_run(asked, plan)):
        raise DataError(
            f"{asked.work} is an unfinished run on record with another plan than it has now, and cannot go on; delete "
            "it and train afresh: what it spent stays on record"
        )
    if kept.run != named:
        raise DataError(
            f"code or settings of the unfinished run in {asked.work} have changed since it began; put back dpmix "
            f"{kept.version} as it was, or delete the folder and train afresh: what it spent stays on record"
        )
    return kept.seed, found


def _run(asked: Request, plan: "Plan") -> spent.Run:
    """The run before its first step; its key and day are drawn with its entry."""
    return spent.Run(
        key="",
        model=asked.output.name,
        begun="",
        state="research" if asked.research else "running",
        unit=asked.unit,
        population=plan.population,
        noise_multiplier=plan.noise_multiplier,
        sampling_rate=plan.step_rate,
        planned=plan.steps,
        steps=0,
        work=str(asked.work),
        delta=plan.delta,
    )


def _planned(run: spent.Run) -> tuple[str, int, float, float, int, float]:
    return run.unit, run.population, run.noise_multiplier, run.sampling_rate, run.planned, run.delta
