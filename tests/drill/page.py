"""What `docs/reliability.md` says of the drill, from the files of its results."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .harms import HARMS
from .judge import FAILED, IDENTICAL, REFUSED
from .run import Result, read

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "reliability.md"
RESULTS = Path(__file__).parent / "results"
_BEGIN, _END = "<!-- drill -->\n", "<!-- /drill -->\n"


def results_of(machine: str) -> Path:
    """Where the results of a machine are."""
    return RESULTS / f"{re.sub(r'[^A-Za-z0-9.]+', '-', machine).strip('-')}.csv"


def score(results: Mapping[str, Sequence[Result]]) -> str:
    """The figures, as Markdown.

    Args:
        results: by the machine's name.
    """
    every = [one for some in results.values() for one in some]
    endings = Counter(one.ending for one in every)
    killed = sum(one.group.startswith("SIGKILL") for one in every)
    groups = list(dict.fromkeys(case.group for cases in HARMS.values() for case in cases))
    header = (IDENTICAL, REFUSED, FAILED)
    machines = "; ".join(f"{len(some)} on {machine}" for machine, some in results.items())
    lines = [
        f"**{len(every)} harms, {killed} of them SIGKILLs: {len(every) - endings[FAILED]} ended as they should.** "
        f"Machines: {machines}.",
        "",
        "| Harm | Done | Identical tables | Refused in one line | Failed |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for group in (group for group in groups if any(one.group == group for one in every)):
        counts = Counter(one.ending for one in every if one.group == group)
        lines.append(f"| {group} | {counts.total()} | {' | '.join(str(counts[ending]) for ending in header)} |")
    if missing := [group for group in groups if all(one.group != group for one in every)]:
        lines += ["", f"Not done yet: {'; '.join(missing)}."]
    if wrong := dict.fromkeys(f"- {one.group}: {one.name}" for one in every if one.ending == FAILED):
        lines += ["", "Failed:", "", *wrong]
    return "\n".join([*lines, ""])


def all_results() -> dict[str, list[Result]]:
    """The results of all machines, by the machine's name."""
    return {path.stem: read(path) for path in sorted(RESULTS.glob("*.csv"))}


def write() -> None:
    """Put the figures of all results into the page."""
    before, _, rest = REPORT.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    REPORT.write_text(f"{before}{_BEGIN}{score(all_results())}{_END}{after}", encoding="utf-8")
