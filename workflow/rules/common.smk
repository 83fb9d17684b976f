import os
import sys

from dpmix.catalogue import of_config
from dpmix.errors import DpmixError
from dpmix.experiment import (
    Distance,
    Experiment,
    GradientRecord,
    PlanFile,
    Selection,
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


# A call for single tables or files trains what they need and nothing else. A call for everything trains all heads of a
# stream in one job, whichever table needs them: the views cost, not the heads. Rules are defined before Snakemake says
# what was asked for, hence the command line.
FOR_EVERYTHING = {"all", "all_tables", "report", f"{RESULTS}/report/index.html"}
FOR_A_PART = {"all_figures", *CATALOGUE.targets}


def asked_for_everything(arguments):
    """Whether a command line asks for all tables, or, by naming nothing, for all there is."""
    part = any(
        word in FOR_A_PART or word.startswith(("results/", "data/"))
        for word in arguments
    )
    return not part or not FOR_EVERYTHING.isdisjoint(arguments)


def jobs_for(*kinds):
    """The bundles of artefacts of these kinds that this call is to make."""
    both = [CATALOGUE.bundles(*kinds, everything=whole) for whole in (False, True)]
    if "--target-jobs" in sys.argv:
        # A job on a cluster node is started by the name of its rule, which may be of either sort.
        return list({bundle.name: bundle for bundle in both[0] + both[1]}.values())
    return both[asked_for_everything(sys.argv[1:])]


def made_from(pattern):
    """An input function: the files that the artefact at `pattern`, filled with a job's wildcards, is made from."""

    def inputs(wildcards):
        try:
            return CATALOGUE.inputs(pattern.format(**wildcards))
        except DpmixError as error:
            raise WorkflowError(str(error)) from None

    return inputs


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
