import os
import re
import sys

from dpmix.catalogue import of_config
from dpmix.errors import DpmixError
from dpmix.experiment import (
    Distance,
    Experiment,
    GradientRecord,
    PlanFile,
    Selection,
    SyntheticStore,
    ZeroShot,
)
from snakemake.exceptions import WorkflowError

PARAMS = os.path.relpath(workflow.configfiles[-1])

# A mistake in the params is one line, before anything runs.
try:
    CATALOGUE = of_config(config, PARAMS)
except DpmixError as error:
    # Snakemake would set a WorkflowError between two lines of its own.
    raise SystemExit(f"error: {error}") from None

SCALE = CATALOGUE.scale
RESULTS = f"results/{SCALE}"
STEP = f"--params {PARAMS} --scale {SCALE}"

# A run on several GPUs of a node is as many processes.
GPUS = CATALOGUE.spec.bundle.gpus
LAUNCH = (
    f"python -m torch.distributed.run --standalone --nproc-per-node={GPUS} -m dpmix"
    if GPUS > 1
    else "python -m dpmix"
)

# Of the jobs that could run, those that others wait for go first, then the longest: else a core is idle at the end.
FIRST, TUNING, FROM_SCRATCH = 3, 2, 1


def priority_of(bundle):
    """Of a training job."""
    if isinstance(bundle.artefacts[0], Selection):
        return TUNING
    scratch = (
        isinstance(bundle.artefacts[0], Experiment)
        and not bundle.artefacts[0].encoder()
    )
    return FROM_SCRATCH if scratch else 0


# What one call asks for is trained together: all heads of a stream in one job, because the views cost, not the heads,
# and nothing that no asked table or figure needs.
EVERYTHING, ALL_TABLES, ALL_FIGURES, *_ = CATALOGUE.calls
ASKS_FOR = {
    "all": EVERYTHING,
    "report": EVERYTHING,
    f"{RESULTS}/report/index.html": EVERYTHING,
    "all_tables": ALL_TABLES,
    "all_figures": ALL_FIGURES,
    **{target: {target} for target in CATALOGUE.targets},
}


def asked_for(arguments):
    """The tables and figures that a command line asks for: all, if it names no target."""
    named = [ASKS_FOR[word] for word in arguments if word in ASKS_FOR]
    files = any(word.startswith(("results/", "data/")) for word in arguments)
    asked = frozenset().union(*named) if named or files else EVERYTHING
    return asked if asked in CATALOGUE.calls else frozenset()


def jobs_for(*kinds):
    """The bundles of artefacts of these kinds that this call is to make."""
    # Rules are defined before Snakemake says what was asked for, hence the command line.
    if "--target-jobs" not in sys.argv:
        return CATALOGUE.bundles(*kinds, together=asked_for(sys.argv[1:]))
    # One job on a cluster's node, of whichever call; its name is all that is given.
    named = {word.partition(":")[0] for word in sys.argv}
    jobs = [
        job
        for call in CATALOGUE.calls
        for job in CATALOGUE.bundles(*kinds, together=call)
    ]
    return list({job.name: job for job in jobs if job.name in named}.values())


def made_from(pattern):
    """An input function: the files that the artefact at `pattern`, filled with a job's wildcards, is made from."""

    def inputs(wildcards):
        try:
            return CATALOGUE.inputs(pattern.format(**wildcards))
        except DpmixError as error:
            raise WorkflowError(str(error)) from None

    return inputs


def folders_of(kind):
    """A regular expression of the folders of all artefacts of one kind, and of no other."""
    names = [
        os.path.basename(os.path.dirname(CATALOGUE.path(one)))
        for one in CATALOGUE.of(kind)
    ]
    return "|".join(map(re.escape, names)) or "(?!)"


def sources_of(target):
    """The files that a table or figure shows."""
    return sorted({CATALOGUE.path(artefact) for artefact in CATALOGUE.targets[target]})


def stamp_of(target):
    """An empty file made with a table, a figure or the report, whose name says what these show.

    Other params are another stamp, so that nothing that shows old ones counts as done, with or without .snakemake/.
    """
    return f"{RESULTS}/stamps/{target}-{CATALOGUE.fingerprint(target)}"


def stamps_of(target):
    """All that earlier params may have left."""
    return f"{RESULTS}/stamps/{target}-*"


def outputs_of(bundle):
    """The files of one job."""
    return [CATALOGUE.path(artefact) for artefact in bundle.artefacts]


def inputs_of(bundle):
    """The files that one job needs and does not make itself."""
    needed = {
        path for output in outputs_of(bundle) for path in CATALOGUE.inputs(output)
    }
    return sorted(needed - set(outputs_of(bundle)))
