"""A short drill on a table that takes seconds; what the long one found, as the page says it; and that it can fail."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.drill import clock, damage, disks, environment, kills
from tests.drill.case import Case
from tests.drill.harms import HARMS
from tests.drill.judge import FAILED, IDENTICAL, REFUSED, content, judge
from tests.drill.page import RESULTS, score
from tests.drill.place import Place, World, new_world
from tests.drill.run import Result, drill, read
from tests.needs import ADMINISTRATOR, needs
from tests.workflow.test_workflow import REDUCED

# One run.
PARAMS = REDUCED.replace("seeds: [1, 2]", "seeds: [1]")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return new_world("small", tmp_path_factory.mktemp("drill") / "checkout", "table12", params=PARAMS)


def case(cases: Sequence[Case], name: str) -> Case:
    (found,) = [one for one in cases if f"{one.group}: {one.name}" == name]
    return found


def ended(world: World, case: Case) -> Result:
    (result,) = drill(world, [replace(case, times=1)], seed=1)
    return result


def test_a_job_that_is_killed(world: World) -> None:
    harm = kills.killed("snakemake --cores all {target}", "a job alone", None)
    assert ended(world, Case("SIGKILL", "a job", harm)).ending == IDENTICAL


def test_a_damaged_run_is_refused_and_then_made_again(world: World) -> None:
    assert ended(world, case(damage.CASES, "damage, one bit flipped: Experiment")).ending == REFUSED


@needs(ADMINISTRATOR, disks.may_mount())
def test_a_disk_that_is_full(world: World) -> None:
    result = ended(world, case(disks.CASES, "disk full: a table"))
    assert result.ending == IDENTICAL
    assert result.during.startswith("error: cannot write results/demo/tables/table12.")


def test_no_home(world: World) -> None:
    result = ended(world, case(environment.CASES, "environment: HOME unset"))
    assert (result.ending, result.during) == (IDENTICAL, "finished")


def test_files_from_the_future(world: World) -> None:
    assert ended(world, case(clock.CASES, "clock: half of the files a year ahead")).ending == IDENTICAL


def nothing(place: Place, random: Random) -> None:
    """No harm."""


def no_table(place: Place, random: Random) -> None:
    place.remove_table()


@pytest.mark.parametrize(
    ("harm", "command", "ending", "said"),
    [
        (nothing, "true", IDENTICAL, ""),
        (no_table, "true", FAILED, "not as before: tables/table12.csv, tables/table12.json, "),
        (nothing, "sh -c 'exit 1'", FAILED, "status 1: "),
        (nothing, "sh -c 'echo error: one; echo error: two; exit 1'", FAILED, "status 1: error: one / error: two"),
        (nothing, "sh -c 'echo Traceback \\(most recent call last\\); echo error: one; exit 1'", FAILED, "status 1: "),
        (nothing, "sh -c 'echo error: so it is; exit 1'", FAILED, "what it says to do does not help: error: so it is"),
        (nothing, "sh -c 'ls results/demo/tables || exit 0; echo \"error: no good; delete results/demo/tables and "
                  "run the same command again\"; exit 1'", FAILED, "not as before: tables/table12.csv, "),
    ],
)  # fmt: skip
def test_what_is_not_right_is_noticed(world: World, harm, command: str, ending: str, said: str) -> None:
    expected = content(world.place().results)
    assert len(expected) == 5
    with world.fresh() as place:
        harm(place, Random(0))
        found, why = judge(place, command, expected)
    assert found == ending
    assert why.startswith(said)


def test_the_page_says_what_the_drill_found(repository: Path) -> None:
    page = (repository / "docs/reliability.md").read_text(encoding="utf-8")
    files = sorted(RESULTS.glob("*.csv"))
    assert files
    assert any(score(read(file), file.stem) in page for file in files), "run make drill again"


def test_what_was_done_are_the_cases_that_stand_there() -> None:
    asked = Counter({(one.group, one.name): one.times for cases in HARMS.values() for one in cases})
    files = sorted(RESULTS.glob("*.csv"))
    assert files
    for file in files:
        done = Counter((one.group, one.name) for one in read(file))
        assert done
        assert done <= asked
        assert [one for one in read(file) if one.ending == FAILED] == []
