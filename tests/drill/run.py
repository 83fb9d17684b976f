"""Do the cases in turn, and write down how each ended."""

import csv
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from random import Random

from dpmix.files import atomic_file

from .case import Broken, Case, Missed
from .judge import FAILED, content, in_one_line, judge, lines
from .place import Done, World

_TRIES = 5


@dataclass(frozen=True)
class Result:
    """How one case ended.

    Attributes:
        world: where.
        group: of the case.
        name: of the case.
        during: what the call that was harmed said of it, if it ended by itself.
        ending: `identical`, `refused in one line` or `failed`, after one call by the README's command.
        seconds: that all took.
        said: the line, or what is wrong.
    """

    world: str
    group: str
    name: str
    during: str
    ending: str
    seconds: float
    said: str


def _during(done: Done | None) -> str:
    if done is None:
        return ""
    if done.status == 0:
        return "finished"
    return lines(done.output)[0] if in_one_line(done) else f"status {done.status}"


def one(world: World, case: Case, seed: str, expected: dict[str, bytes], more: dict[str, str]) -> Result | None:
    """Do a case once, or again if the harm came too late; None if it always did."""
    random = Random(seed)
    for _ in range(_TRIES):
        started = time.monotonic()
        with world.fresh() as place:
            place.environment |= more
            try:
                done = case.harm(place, random)
            except Missed:
                continue
            except TimeoutError as error:
                during, ending, said = str(error), FAILED, "the call does not end"
            except Broken as error:
                during, ending, said = str(error), FAILED, "a call beside the harm ended as it must not"
            else:
                ending, said = judge(place, case.spelled(place), expected)
                during = _during(done)
            during = during.replace(str(place.folder), ".")
        seconds = round(time.monotonic() - started, 1)
        return Result(world.name, case.group, case.name, during, ending, seconds, said)
    return None


def drill(world: World, cases: Iterable[Case], seed: int, target: Path | None = None, at_once: int = 1) -> list[Result]:
    """Do all cases, and write each result as soon as it is there.

    Args:
        world: where.
        cases: in about this order; those that need something around them come last.
        seed: of all random moments and choices.
        target: a CSV file of results that gets a line for each.
        at_once: how many are done at a time, each in a copy of its own.
    """
    expected = content(world.place().results)
    found: list[Result] = []

    def do(items: Iterable[tuple[Case, int]], more: dict[str, str], at_once: int) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            named = {
                pool.submit(one, world, case, f"{seed} {case.group} {case.name} {number}", expected, more): case
                for case, number in items
            }
            for future in as_completed(named):
                case, result = named[future], future.result()
                tell(f"{result.ending if result else 'nothing to harm':20} {world.name}: {case.group}: {case.name}")
                if result:
                    found.append(result)
                    if result.said:
                        tell(f"    {result.said}")
                    if target:
                        append(target, result)

    cases = list(cases)
    do([(case, number) for case in cases if not case.around for number in range(case.times)], {}, at_once)
    for around in dict.fromkeys(case.around for case in cases if case.around):
        with around() as more:
            do([(case, number) for case in cases if case.around == around for number in range(case.times)], more, 1)
    return found


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def forget(path: Path, cases: Iterable[Case]) -> None:
    """Write a CSV file of results without those of these cases, or a new one."""
    again = {(case.group, case.name) for case in cases}
    kept = [one for one in read(path) if (one.group, one.name) not in again] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([[one.name for one in fields(Result)], *map(astuple, kept)])


def append(path: Path, result: Result) -> None:
    """Add a result to a CSV file of results."""
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(astuple(result))


def read(path: Path) -> list[Result]:
    """The results in a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Result(**{**row, "seconds": float(row["seconds"])}) for row in csv.DictReader(file)]
