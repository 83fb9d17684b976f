import json
import os
import re
import shlex
import sys

from dpmix.artefacts.data import SyntheticStore
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import of_config
from dpmix.catalogue.jobs import check_words, jobs, needed_for
from dpmix.data import origin
from dpmix.errors import DpmixError, one_line
from dpmix.params.read import load_configuration
from dpmix.params.registries import encoder_libraries
from snakemake.cli import get_argument_parser
from snakemake.exceptions import WorkflowError

# Jobs run the Python that runs Snakemake, also where no environment is activated.
shell.prefix(f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")

FILES = list(map(os.path.relpath, workflow.configfiles))
PARAMS = FILES[-1]

# A mistake in the params is one line, before anything runs. What Snakemake read by rules of its own is replaced.
try:
    asked = load_configuration(FILES, workflow.config_settings.config)
    config.clear()
    config.update(asked)
    CATALOGUE = of_config(config, PARAMS)
except DpmixError as error:
    # Snakemake would set a WorkflowError between two lines of its own.
    raise SystemExit(f"error: {one_line(error)}") from None

SCALE = CATALOGUE.scale
RESULTS = f"results/{SCALE}"
# Quoted for the shell; an empty string behind each brace keeps Snakemake from taking {…} for a wildcard.
QUOTED = shlex.quote(PARAMS).replace("{", "{''")
STEP = f"--params {QUOTED} --scale {SCALE}"

# A run on several GPUs of a node is as many processes.
GPUS = CATALOGUE.spec.bundle.gpus
LAUNCH = (
    f"python -m torch.distributed.run --standalone --nproc-per-node={GPUS} -m dpmix"
    if GPUS > 1
    else "python -m dpmix"
)

# What others wait for goes before all training jobs, which say their own priority.
FIRST = 3


# Rules are defined before Snakemake says what it was asked for, so its own parser is asked. A job on a cluster's node
# hears it from the process that submitted it.
if workflow.is_main_process:
    CALL, _ = get_argument_parser().parse_known_args()
    WORDS = [*CALL.targets, *CALL.forcerun, *CALL.until, *CALL.prioritize]
    os.environ["DPMIX_TARGETS"] = json.dumps(WORDS if CALL.targets else [])


envvars:
    "DPMIX_TARGETS",


# All heads of a stream that the call needs are trained in one job, because the views cost, not the heads, and nothing
# that it does not need.
NEEDED = needed_for(CATALOGUE, json.loads(os.environ["DPMIX_TARGETS"]))

# Images of which data were made here may have changed since; file times alone would not tell.
if workflow.is_main_process:
    try:
        origin.check_all(map(os.path.dirname, NEEDED))
    except DpmixError as error:
        raise SystemExit(f"error: {one_line(error)}") from None


def jobs_for(*kinds):
    """The jobs of artefacts of these kinds that this call is to make."""
    return jobs(CATALOGUE, *kinds, needed=NEEDED)


def made_from(pattern):
    """An input function: the files that the artefact at `pattern`, filled with a job's wildcards, is made from."""

    def inputs(wildcards):
        try:
            return CATALOGUE.inputs(pattern.format(**wildcards))
        except DpmixError as error:
            raise WorkflowError(one_line(error)) from None

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
    """All that earlier params may have left of this target, and of no other whose name begins with its own."""
    return f"{RESULTS}/stamps/{target}-{'?' * len(CATALOGUE.fingerprint(target))}"


def inputs_of(job):
    """The files that a job needs and does not make itself."""
    needed = {path for output in job.paths for path in CATALOGUE.inputs(output)}
    return sorted(needed - set(job.paths))
