"""What `docs/reliability.md` says of the drill, from the file of its results."""

import re
from collections import Counter
from collections.abc import Sequence
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


def score(results: Sequence[Result], machine: str) -> str:
    """The figures, as Markdown."""
    endings = Counter(one.ending for one in results)
    killed = sum(one.group.startswith("SIGKILL") for one in results)
    groups = list(dict.fromkeys(case.group for cases in HARMS.values() for case in cases))
    header = (IDENTICAL, REFUSED, FAILED)
    lines = [
        f"**{len(results)} harms, {killed} of them SIGKILLs: {len(results) - endings[FAILED]} ended as they should.** "
        f"Machine: {machine}.",
        "",
        "| Harm | Done | Identical tables | Refused in one line | Failed |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for group in dict.fromkeys(one.group for one in results):
        counts = Counter(one.ending for one in results if one.group == group)
        lines.append(f"| {group} | {counts.total()} | {' | '.join(str(counts[ending]) for ending in header)} |")
    missing = [group for group in groups if all(one.group != group for one in results)]
    if missing:
        lines += ["", f"Not done on this machine yet: {'; '.join(missing)}."]
    wrong = dict.fromkeys(f"- {one.group}: {one.name}" for one in results if one.ending == FAILED)
    if wrong:
        lines += ["", "Failed:", "", *wrong]
    return "\n".join([*lines, ""])


def write(path: Path) -> None:
    """Put the figures of a file of results into the page."""
    text = score(read(path), path.stem)
    before, _, rest = REPORT.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    REPORT.write_text(f"{before}{_BEGIN}{text}{_END}{after}", encoding="utf-8")
