"""Every rule of the workflow, in a plan of everything: what its jobs wait for, make and run, by the catalogue."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel, EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import CanaryAttack, Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.published_privacy import PublishedPrivacy
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read

GPUS, THREADS = 2, 2
STEPS: dict[type[Artefact], str] = {
    ImageStore: "images",
    EncoderModel: "encoder",
    DiffusionModel: "diffusion",
    SyntheticSet: "synthetic",
    SyntheticStore: "synthetic-images",
    PlanFile: "plans",
    PublishedPrivacy: "plans",
    Experiment: "train",
    GradientRecord: "train",
    Selection: "train",
    ZeroShot: "zero-shot",
    Distance: "distances",
    CanaryAttack: "attacks",
}
# Steps that compute on a GPU, of which those of training may use all of a node.
ON_GPU = {"train": GPUS, "zero-shot": 1, "distances": 1, "synthetic": 1}
# Steps that compute on the threads that the params give a job; those beside the above may train a small model.
ON_THREADS = (*ON_GPU, "encoder", "diffusion")


@dataclass(frozen=True)
class Job:
    """What Snakemake says of one job."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str
    threads: int
    priority: int
    resources: str


def entry(block: str, name: str) -> str:
    found = re.search(rf"^    {name}: (.*)$", block, flags=re.MULTILINE)
    return found[1] if found else ""


def jobs_in(text: str) -> list[Job]:
    made = []
    for block in re.split(r"^\[.*\]$", text, flags=re.MULTILINE):
        rule = re.search(r"^(?:local)?rule (\S+):", block, flags=re.MULTILINE)
        if rule:
            inputs, outputs = (tuple(filter(None, entry(block, name).split(", "))) for name in ("input", "output"))
            command = re.search(r"^Shell command: (.*)$", block, flags=re.MULTILINE)
            said = command[1] if command and command[1] != "None" else ""
            threads, priority = int(entry(block, "threads") or 1), int(entry(block, "priority") or 0)
            made.append(Job(rule[1], inputs, outputs, said, threads, priority, entry(block, "resources")))
    return made


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The workflow with the project's own params, but for two GPUs and two threads a job."""
    folder = tmp_path_factory.mktemp("rules")
    shutil.copytree(repository / "workflow", folder / "workflow")
    shutil.copy(repository / "environment.yml", folder)
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    changed, count = re.subn(
        r"bundle: \{ by: model[^}]*\}", f"bundle: {{ by: model, threads: {THREADS}, gpus: {GPUS} }}", text
    )
    assert count == 1
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def catalogue(clone: Path) -> Catalogue:
    return Catalogue(read(clone / "params.yaml"), "demo")


def planned(clone: Path, repository: Path, *targets: str) -> list[Job]:
    """What Snakemake would run for these."""
    arguments = ["--cores", "4", "--dry-run", "--printshellcmds", *targets]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=clone, capture_output=True, text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return jobs_in(run.stdout + run.stderr)


@pytest.fixture(scope="module")
def jobs(clone: Path, repository: Path) -> list[Job]:
    """Of everything."""
    return planned(clone, repository, "all", "all_tables", "all_figures")


@pytest.fixture(scope="module")
def making(jobs: list[Job], catalogue: Catalogue) -> list[tuple[Job, list[Artefact]]]:
    """The jobs that make artefacts, with these."""
    found = [(job, [catalogue.artefacts[path] for path in job.outputs if path in catalogue.artefacts]) for job in jobs]
    return [(job, artefacts) for job, artefacts in found if artefacts]


def test_every_artefact_has_one_job(making: list[tuple[Job, list[Artefact]]], catalogue: Catalogue) -> None:
    assert sorted(path for job, _ in making for path in job.outputs) == sorted(catalogue.artefacts)
    assert {type(one) for _, artefacts in making for one in artefacts} == set(STEPS)


def test_a_job_waits_for_all_that_its_files_are_made_from(
    making: list[tuple[Job, list[Artefact]]], catalogue: Catalogue
) -> None:
    for job, artefacts in making:
        needed = {catalogue.path(source) for artefact in artefacts for source in artefact.inputs()}
        assert set(job.inputs) == needed - set(job.outputs), job.rule
    assert sum(bool(job.inputs) for job, _ in making) > 10


def test_a_job_runs_the_step_of_its_files(making: list[tuple[Job, list[Artefact]]]) -> None:
    assert {STEPS[type(artefacts[0])] for _, artefacts in making} == set(STEPS.values())
    for job, artefacts in making:
        (step,) = {STEPS[type(artefact)] for artefact in artefacts}
        launch = "python -m dpmix"
        if step == "train":
            launch = f"python -m torch.distributed.run --standalone --nproc-per-node={GPUS} -m dpmix"
        threads = f" --threads {THREADS}" if step in ON_THREADS else ""
        expected = f"{launch} step {step} {' '.join(job.outputs)} --params params.yaml --scale demo{threads}"
        command, _, log = job.command.partition(" 2> >(tee ")
        assert command == expected
        assert re.fullmatch(r"logs/\S+\.log >&2\)", log)
        assert job.threads == (THREADS if step in ON_THREADS else 1)
        assert re.findall(r"gpu=(\d+)", job.resources) == ([str(ON_GPU[step])] if step in ON_GPU else [])


def test_logs_are_apart(jobs: list[Job]) -> None:
    logs = re.findall(r"tee (\S+) >&2", " ".join(job.command for job in jobs))
    assert len(logs) == len(set(logs)) == len([job for job in jobs if job.command])


KINDS = {"table": ("csv", "md", "tex", "json"), "figure": ("png", "pdf", "csv")}


def test_a_table_or_figure_waits_for_all_that_it_shows(jobs: list[Job], catalogue: Catalogue) -> None:
    by_rule = {job.rule: job for job in jobs}
    assert len(catalogue.targets) >= 15
    for target, artefacts in catalogue.targets.items():
        if target == "claims":
            continue
        noun, name = re.fullmatch(r"(table|figure)_?(\w+)", target).groups()  # type: ignore[union-attr]
        job = by_rule[target]
        stamp = f"results/demo/stamps/{target}-{catalogue.fingerprint(target)}"
        assert set(job.inputs) == {catalogue.path(artefact) for artefact in artefacts}
        assert set(job.outputs) == {f"results/demo/{noun}s/{target}.{kind}" for kind in KINDS[noun]} | {stamp}
        step = f"python -m dpmix step {noun} {name} --params params.yaml --scale demo 2> "
        assert job.command.startswith(step)


def test_the_claims_wait_for_the_runs_that_they_compare(jobs: list[Job], catalogue: Catalogue) -> None:
    (job,) = (job for job in jobs if job.rule == "claims")
    assert set(job.inputs) == {catalogue.path(artefact) for artefact in catalogue.targets["claims"]}
    stamp = f"results/demo/stamps/claims-{catalogue.fingerprint('claims')}"
    assert set(job.outputs) == {"results/demo/claims.md", "results/demo/claims.json", stamp}
    assert job.command.startswith("python -m dpmix step claims --params params.yaml --scale demo 2> ")


def test_the_report_waits_for_every_table_and_figure(jobs: list[Job], catalogue: Catalogue) -> None:
    by_rule = {job.rule: job for job in jobs}
    report, both = by_rule["report"], (by_rule["all_tables"], by_rule["all_figures"])
    everything = {path for target in catalogue.targets for path in by_rule[target].outputs}
    assert set(report.inputs) == everything
    assert everything - set(by_rule["claims"].outputs) == {path for job in both for path in job.inputs}
    for noun, job in zip(("table", "figure"), both, strict=True):
        assert {path for path in job.inputs if "/stamps/" not in path} == {
            path for path in everything if f"/{noun}s/" in path
        }
    (whole,) = (job for job in jobs if job.rule == "all")
    assert set(whole.inputs) == everything | set(report.outputs)
    stamp = f"results/demo/stamps/report-{catalogue.fingerprint('report')}"
    assert set(report.outputs) == {"results/demo/report/index.html", stamp}
    assert report.command.startswith("python -m dpmix step report --params params.yaml --scale demo 2> ")


def test_what_others_wait_for_goes_first(making: list[tuple[Job, list[Artefact]]]) -> None:
    """Then tuning, then networks from scratch, which take longest."""
    found: dict[str, set[int]] = {}
    for job, artefacts in making:
        (step,) = {STEPS[type(artefact)] for artefact in artefacts}
        first = artefacts[0]
        if isinstance(first, Selection):
            step = "tune"
        elif isinstance(first, Experiment) and first.encoder() is None:
            step = "scratch"
        found.setdefault(step, set()).add(job.priority)
    first = found["images"] | found["encoder"] | found["diffusion"] | found["synthetic"] | found["synthetic-images"]
    assert first == found["plans"]
    (top,), (tune,), (scratch,), (train,) = (found[step] for step in ("plans", "tune", "scratch", "train"))
    assert top > tune > scratch > train == 0


@pytest.mark.parametrize("name", ["my-synthetic-set", "my-synthetic"])
def test_a_data_set_may_be_called_as_d_is(clone: Path, repository: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(clone / "workflow", tmp_path / "workflow")
    shutil.copy(clone / "environment.yml", tmp_path)
    text, count = re.subn(r"\bdigits\b", name, (clone / "params.yaml").read_text(encoding="utf-8"))
    assert count > 3
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    wanted = Catalogue(read(tmp_path / "params.yaml"), "demo")
    rule_of = {path: job.rule for job in planned(tmp_path, repository, "table12") for path in job.outputs}
    for kind, rule in ((ImageStore, "images"), (SyntheticStore, "synthetic_images")):
        paths = [path for path in map(wanted.path, wanted.of(kind)) if path in rule_of]
        assert paths
        assert {rule_of[path] for path in paths} == {rule}
