"""The cluster profile: as a dry run anywhere, and with real jobs on a real, throw-away Slurm."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dpmix.artefacts.data import SyntheticSet, SyntheticStore
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read
from rehearsal.cluster import cluster, missing_programs
from tests.drill.judge import content, differences
from tests.needs import SLURM, needs
from tests.workflow.test_demo import cut

BIN = Path(sys.executable).parent
TABLES = ("table9", "table12")


@pytest.fixture
def clone(tmp_path: Path, repository: Path) -> Path:
    """The workflow in a fresh folder, with nothing computed."""
    folder = tmp_path / "clone"
    for name in ("workflow", "slurm"):
        shutil.copytree(repository / name, folder / name)
    for name in ("params.yaml", "environment.yml"):
        shutil.copy(repository / name, folder)
    return folder


def snakemake(folder: Path, *arguments: str, path: str = os.environ["PATH"]) -> str:
    """Run the profile's command line; its whole output."""
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "slurm", "--cores", "8", *arguments],
        cwd=folder, env={**os.environ, "PATH": f"{BIN}:{path}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    return run.stdout


def test_the_papers_grid_is_a_correct_dry_run(clone):
    output = snakemake(clone, "--dry-run", "table12")
    assert "results/paper/tables/table12.csv" in output
    assert "results/demo" not in output
    trained = re.findall(r"^rule run-\S+:.*?^    resources: (.*?)$", output, flags=re.MULTILINE | re.DOTALL)
    assert trained
    for resources in trained:
        asked = dict(re.findall(r"(\w+)=([^,]+)", resources))
        assert int(asked["gpu"]) >= 1
        assert int(asked["mem_mb"]) >= 16_000
        assert int(asked["runtime"]) >= 60


def test_a_scale_on_the_command_line_wins(clone):
    output = snakemake(clone, "--dry-run", "--config", "scale=demo", "--", "table12")
    assert "results/demo/tables/table12.csv" in output
    assert "results/paper" not in output
    assert ("no sbatch" in output) == (shutil.which("sbatch") is None)


def test_without_slurm_one_line_says_where_jobs_would_run(clone, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "which", "tee"):
        (tools / name).symlink_to(shutil.which(name))
    output = snakemake(clone, "--dry-run", "--config", "scale=demo", "--", "table11", path=str(tools))
    assert len(re.findall(r"^note: no sbatch here", output, flags=re.MULTILINE)) == 1


@pytest.mark.parametrize("answer", [0, 1, None], ids=["accounts", "no accounts", "no sacct"])
def test_whether_a_site_keeps_accounts_is_asked_and_said(clone, tmp_path, answer):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "which", "tee"):
        (tools / name).symlink_to(shutil.which(name))
    for name, code in (("sbatch", 0), ("squeue", 0), ("sacct", answer)):
        if code is not None:
            (tools / name).write_text(f"#!/bin/sh\nexit {code}\n")
            (tools / name).chmod(0o755)
    output = snakemake(clone, "--dry-run", "--config", "scale=demo", "--", "table11", path=str(tools))
    assert output.count("note: this Slurm keeps no accounts") == (0 if answer == 0 else 1)
    assert "no sbatch here" not in output


def kind_of(rule: str) -> str:
    """Of a job's rule, which may end in a name that the catalogue gave it."""
    return re.sub(r"^(plan|tune|run)-.*", r"\1", rule.removeprefix("rule_"))


@pytest.mark.slow
@needs(SLURM, not missing_programs())
@pytest.mark.timeout(900)
def test_jobs_with_what_the_profile_asks_for_make_the_tables_that_this_machine_makes(clone, tmp_path, repository):
    """Tables 9 and 12 of the demo, cut to one seed and one epoch, from nothing but what is fetched: file by file."""
    params = cut(yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8")))
    (clone / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    here = shutil.copytree(clone, tmp_path / "here")
    local = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *TABLES],
        cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert local.returncode == 0, local.stdout
    catalogue = Catalogue(read(clone / "params.yaml"), "demo")
    drawn = {Path(catalogue.path(one)).parent for kind in (SyntheticSet, SyntheticStore) for one in catalogue.of(kind)}
    for folder in here.glob("data/*/*"):
        if folder.is_dir() and folder.relative_to(here) not in drawn:
            shutil.copytree(folder, clone / folder.relative_to(here))
    # Rules that say nothing else, as those of plans and of D's pixels, then show how a GPU is asked for.
    profile = clone / "slurm" / "config.yaml"
    profile.write_text(re.sub("^default-resources:$", r"\g<0>\n  gpu: 1", profile.read_text(), flags=re.MULTILINE))
    home = tmp_path / "slurm"
    home.mkdir()
    with cluster(home) as slurm:
        try:
            output = snakemake(
                clone,
                # There is no reason to wait for one small machine. That it keeps no accounts is found out.
                *("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2"),
                *("--latency-wait", "10", "--retries", "0", "--slurm-keep-successful-logs"),
                *("--config", "scale=demo", "--", *TABLES),
                path=f"{slurm.commands}:{os.environ['PATH']}",
            )  # fmt: skip
        except AssertionError as error:
            pytest.fail(f"{error}\n{slurm.logs()}")
        kept = clone / "logs" / "slurm"
        logs = {path.stem: kind_of(path.relative_to(kept).parts[0]) for path in kept.rglob("*.log")}
        shown = {job: slurm.run("scontrol", "show", "job", job) for job in logs}
    assert differences(content(clone / "results" / "demo"), content(here / "results" / "demo")) == []
    assert {path.stem for path in (clone / "results/demo/tables").glob("*.csv")} == set(TABLES)
    assert output.count("note: this Slurm keeps no accounts") == 1
    assert set(logs) == set(re.findall(r"SLURM jobid (\d+)", output))
    assert set(logs.values()) == {"synthetic", "synthetic_images", "plan", "tune", "run"}
    for job, said in shown.items():
        assert "JobState=COMPLETED" in said
        assert "MinMemoryNode=32000M" in said
        assert "TimeLimit=12:00:00" in said
        asks = re.search("TresPerJob=gres.gpu:1$", said, flags=re.MULTILINE) is not None
        assert asks == (logs[job] in ("plan", "synthetic_images"))


SLOW = """\
from dpmix.workflow import retries


rule slow:
    output:
        "slow.txt",
    resources:
        **retries.resources(workflow),
    shell:
        "test -e begun || {{ touch begun; sleep 600; }}; touch {output}"
"""


@pytest.mark.slow
@needs(SLURM, not missing_programs())
@pytest.mark.timeout(900)
def test_a_job_that_really_runs_out_of_time_gets_more_time_and_no_more_memory(clone, tmp_path, repository):
    """The first attempt would last ten minutes, and the second has nothing to wait for."""
    home = tmp_path / "slurm"
    home.mkdir()
    profile = clone / "slurm" / "config.yaml"
    profile.write_text(profile.read_text().replace("runtime: 720 * attempt", "runtime: 1 * attempt"))
    (clone / "Slow").write_text(SLOW)
    with cluster(home) as slurm:
        output = snakemake(
            clone,
            *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--snakefile", "Slow"),
            path=f"{slurm.commands}:{os.environ['PATH']}",
        )  # fmt: skip
        first, second = re.findall(r"SLURM jobid (\d+)", output)
        shown = {job: slurm.run("scontrol", "show", "job", job) for job in (first, second)}
    assert "JobState=TIMEOUT" in shown[first]
    assert "TimeLimit=00:01:00" in shown[first]
    assert "JobState=COMPLETED" in shown[second]
    assert "TimeLimit=00:02:00" in shown[second]
    assert all("MinMemoryNode=32000M" in one for one in shown.values())
    (log,) = (clone / "logs" / "slurm" / "rule_slow").glob(f"{first}.log")
    assert "DUE TO TIME LIMIT" in log.read_text()
