"""A short drill on a table that takes seconds; what the long one found, as the page says it; and that it can fail."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.drill import clock, damage, disks, environment, kills
from tests.drill.case import Broken, Case
from tests.drill.harms import HARMS
from tests.drill.judge import FAILED, IDENTICAL, REFUSED, content, judge, remedy
from tests.drill.page import RESULTS, all_results, score
from tests.drill.place import Place, World, new_world
from tests.drill.run import Result, drill, read
from tests.needs import ADMINISTRATOR, C_COMPILER, needs
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


@needs(C_COMPILER, shutil.which("cc") is not None)
@pytest.mark.parametrize("name", ["ahead", "back"])
def test_a_call_on_another_day(world: World, name: str) -> None:
    result = ended(world, case(clock.CASES, f"clock: a call on another day, {name}"))
    assert (result.ending, result.during) == (IDENTICAL, "finished")


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


def broken(place: Place, random: Random) -> None:
    raise Broken("status 1: no")


def test_a_call_beside_the_harm_that_ends_as_it_must_not_has_failed(world: World) -> None:
    result = ended(world, Case("two calls at once", "the same target", broken))
    assert (result.ending, result.during) == (FAILED, "status 1: no")


def test_only_what_lies_in_the_checkout_is_deleted(tmp_path: Path) -> None:
    for name in ("there/one.json", "one.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    there = tmp_path / "there"
    again = "delete it and run the same command again"
    assert remedy(f"error: one.json is torn; {again}", there) == [there / "one.json"]
    assert remedy(f"error: {there}/one.json is torn; {again}", there) == [there / "one.json"]
    assert remedy(f"error: {tmp_path}/one.json is torn; {again}", there) == []
    assert remedy(f"error: two.json is torn; {again}", there) == []
    assert remedy(f"error: torn; delete {tmp_path}/one.json and run the same command again", there) == []
    assert remedy("error: torn; delete one.json", there) == [there / "one.json"]


def test_the_page_says_what_the_drill_found(repository: Path) -> None:
    page = (repository / "docs/reliability.md").read_text(encoding="utf-8")
    assert score(all_results()) in page, "run make drill again"


def test_what_was_done_are_the_cases_that_stand_there() -> None:
    asked = Counter({(one.group, one.name): one.times for cases in HARMS.values() for one in cases})
    files = sorted(RESULTS.glob("*.csv"))
    assert files
    for file in files:
        done = Counter((one.group, one.name) for one in read(file))
        assert done
        assert done <= asked
        assert [one for one in read(file) if one.ending == FAILED] == []
