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
from dpmix.catalogue import stamps
from dpmix.catalogue.catalogue import of_config
from dpmix.catalogue.changed import refuse_changed
from dpmix.catalogue.jobs import check_words, jobs, needed_for
from dpmix.catalogue.release_splits import refuse_drawn_splits
from dpmix.errors import DpmixError, one_line
from dpmix.params.read import load_configuration
from dpmix.params.registries import encoder_libraries
from dpmix.workflow import retries
from dpmix.workflow.call import when_called
from snakemake.exceptions import WorkflowError

# Jobs run the Python that runs Snakemake, also where no environment is activated.
shell.prefix(f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")

# Snakemake puts the path of a rule's environment into shell commands, where it takes braces for names.
if "{" in str(workflow.basedir):
    raise SystemExit(
        f"error: braces in {workflow.basedir} are names to Snakemake; rename that folder"
    )

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

# What a job ran out of, it gets more of when it is tried again.
GROWING = retries.resources(workflow)

# What others wait for goes before all training jobs, which say their own priority.
FIRST = 3


# A job on a cluster's node hears what the process that submitted it was asked for.
if workflow.is_main_process:
    os.environ["DPMIX_TARGETS"] = "[]"


envvars:
    "DPMIX_TARGETS",


# Rules whose jobs depend on what a call asks for: all heads of a stream that it needs are trained in one job, because
# the views cost, not the heads, and nothing that it does not need.
OF_A_CALL = [
    workflow.current_basedir.join(name)
    for name in ("fid.smk", "train.smk", "attacks.smk")
]


def check_call(targets, words):
    """Refuse what cannot be made, in one line, before Snakemake begins."""
    if not workflow.is_main_process:
        return
    try:
        check_words(CATALOGUE, words, {rule.name for rule in workflow.rules})
        # What results were made of may be other images, or another encoder, since; file times alone would not tell.
        needed = needed_for(CATALOGUE, words if targets else [])
        refuse_drawn_splits(CATALOGUE)
        refuse_changed(
            map(CATALOGUE.artefacts.get, sorted(needed)), SCALE, CATALOGUE.params
        )
    except DpmixError as error:
        raise SystemExit(f"error: {one_line(error)}") from None


def define_jobs(targets, words):
    """Define the jobs of a call with these targets and words (`dpmix.workflow.call`), and say what runs in any case."""
    global NEEDED
    asked = words if targets else []
    if workflow.is_main_process:
        os.environ["DPMIX_TARGETS"] = json.dumps(asked)
    NEEDED = needed_for(CATALOGUE, json.loads(os.environ["DPMIX_TARGETS"]))
    for file in OF_A_CALL:
        workflow.include(file)
    return stamps.outdated(CATALOGUE, asked) if workflow.is_main_process else []


def jobs_for(*kinds):
    """The jobs of artefacts of these kinds that this call is to make."""
    return jobs(CATALOGUE, *kinds, needed=NEEDED)


def made_from(pattern):
    """An input function: the files that the artefact at `pattern`, filled with a job's wildcards, is made from."""

    def inputs(wildcards):
        try:
            return ancient(CATALOGUE.inputs(pattern.format(**wildcards)))
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


# Paths say what a file is made of, and stamps what a table shows; times of files say nothing (`ancient`).
def sources_of(target):
    """The files that a table, a figure, the claims or the report shows."""
    return ancient(stamps.sources_of(CATALOGUE, target))


def files_of(target):
    """The files of a table, a figure, the claims or the report, and the stamp that says what these show."""
    return [*stamps.files_of(CATALOGUE, target), stamps.stamp_of(CATALOGUE, target)]


def inputs_of(job):
    """The files that a job needs and does not make itself."""
    needed = {path for output in job.paths for path in CATALOGUE.inputs(output)}
    return ancient(sorted(needed - set(job.paths)))


def title_of(name):
    """What a table is called below its number."""
    return CATALOGUE.spec.tables[name].layout(name).title
