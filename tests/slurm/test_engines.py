"""docs/engines.md, followed literally on a throw-away Slurm: each engine makes the same table as this machine does."""

import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from rehearsal.cluster import Cluster, cluster, missing_programs
from tests.drill.judge import content, differences
from tests.drill.place import BIN, Place, World, new_world
from tests.needs import CLUSTER_GENERIC, SLURM, needs
from tests.test_add_a_method import Step, apply, steps
from tests.workflow.test_workflow import REDUCED

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
PARAMS = REDUCED.replace("seeds: [1, 2]", "seeds: [1]")
BLOCKS = steps(PAGE.read_text(encoding="utf-8"))
pytestmark = [pytest.mark.slow, needs(SLURM, not missing_programs()), pytest.mark.timeout(900)]


def commands(word: str) -> list[Step]:
    """The blocks of commands that begin with a word."""
    return [step for step in BLOCKS if step.language == "sh" and step.text.startswith(word)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return new_world("small", tmp_path_factory.mktemp("engines") / "checkout", "table12", params=PARAMS)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with cluster(folder) as running:
        yield running


@pytest.fixture
def place(world: World, slurm: Cluster) -> Iterator[Place]:
    """A checkout that lacks its one run and the table of it."""
    with world.fresh() as fresh:
        path = os.pathsep.join([str(slurm.commands), str(BIN), os.environ.get("PATH", os.defpath)])
        fresh.environment |= {"PATH": path}
        fresh.remove_runs(Random(0), 1.0)
        yield fresh


def follow(step: Step, place: Place) -> str:
    run = subprocess.run(
        ["sh", "-euc", step.text], cwd=place.folder, env=place.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log = place.folder / "allocation.log"
    said = run.stdout + (log.read_text(errors="replace") if log.exists() else "")
    assert run.returncode == 0, said
    return said


@needs(CLUSTER_GENERIC, importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is not None)
def test_a_command_that_submits(place: Place, world: World, slurm: Cluster) -> None:
    (place.folder / "generic").mkdir()
    for step in BLOCKS:
        if step.before.startswith("New file"):
            apply(step, place.folder)
    (step,) = commands("chmod")
    said = follow(step, place)
    assert "with external jobid" in said
    assert differences(content(place.results), content(world.place().results)) == []
    # Also where a job ends in another way than by itself: what the status command is for.
    script = place.folder / "generic" / "status"
    number = slurm.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 60").strip()
    slurm.run("scancel", number)
    for _ in range(60):
        asked = subprocess.run([script, number], env=place.environment, capture_output=True, text=True, check=True)
        if asked.stdout != "running\n":
            break
        time.sleep(1)  # a cancelled job is completing for a moment
    assert asked.stdout == "failed\n"


@pytest.mark.parametrize("word", ["sbatch", "srun"])
def test_inside_one_allocation(word: str, place: Place, world: World) -> None:
    (step,) = commands(word)
    said = follow(step, place)
    assert "2 of 2 steps (100%) done" in said
    assert "SLURM jobid" not in said
    assert differences(content(place.results), content(world.place().results)) == []
