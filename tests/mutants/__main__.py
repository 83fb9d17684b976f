"""`python tests/mutants`: plant each fault in a copy of the tree, run its tests, and write down which lived."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from faults import Mutant, read

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults -->\n", "<!-- /faults -->\n"
_SECONDS = 900


def _copy(target: Path) -> Path:
    """The tracked and new files of this checkout, without what is ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def _passes(folder: Path, tests: str) -> bool:
    """Whether these tests pass in a copy of the tree.

    Raises:
        RuntimeError: if they could not be run, which is neither.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests.split()]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False  # a fault that makes a test run for ever is found by it
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"pytest ended with {done.returncode} on {tests}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == 0


def _survives(folder: Path, mutant: Mutant) -> bool:
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(text), encoding="utf-8")
    try:
        return _passes(folder, mutant.tests)
    finally:
        path.write_text(text, encoding="utf-8")


def _score(mutants: list[Mutant], lived: list[Mutant]) -> str:
    """What `docs/reliability.md` says between its marks."""
    areas, alive = (Counter(_area(one) for one in some) for some in (mutants, lived))
    lines = [
        f"**{len(mutants) - len(lived)} of {len(mutants)} were found.**",
        "",
        "| Where | Planted | Found |",
        "| :-- | --: | --: |",
        *(f"| `{area}` | {count} | {count - alive[area]} |" for area, count in sorted(areas.items())),
        "",
    ]
    if lived:
        lines += ["Not found:", "", *(f"- `{one.file}`: {one.why}" for one in lived), ""]
    return "\n".join(lines)


def _area(mutant: Mutant) -> str:
    return "/".join(Path(mutant.file).parts[:2])


def _write(score: str) -> None:
    before, _, rest = REPORT.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    REPORT.write_text(f"{before}{_BEGIN}{score}{_END}{after}", encoding="utf-8")


def main() -> int:
    """Run the faults; the exit status is 1 if one of them lived."""
    parser = argparse.ArgumentParser(prog="python tests/mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only faults whose file or reason has this in it; writes no report")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    given = parser.parse_args()
    mutants = [one for one in read() if given.only in f"{one.file} {one.why}"]
    if not mutants:
        parser.error(f"no fault has {given.only!r} in its file or its reason")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(given.jobs) as pool:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.jobs):
            folders.put(_copy(Path(scratch, str(number))))

        def on_a_copy(work, *arguments):
            folder = folders.get()
            try:
                return work(folder, *arguments)
            finally:
                folders.put(folder)

        tests = list(dict.fromkeys(one.tests for one in mutants))
        passing = list(pool.map(lambda one: on_a_copy(_passes, one), tests))
        broken = [one for one, passes in zip(tests, passing, strict=True) if not passes]
        if broken:
            print(f"error: these tests fail without any fault: {'; '.join(broken)}", file=sys.stderr)
            return 2
        lived = []
        for mutant, alive in zip(mutants, pool.map(lambda one: on_a_copy(_survives, one), mutants), strict=True):
            print(f"{'LIVES ' if alive else 'killed'} {mutant.file}: {mutant.why}", flush=True)
            lived += [mutant] * alive
    print(f"{len(mutants) - len(lived)} of {len(mutants)} found in {time.monotonic() - started:.0f} s")
    if not given.only:
        _write(_score(mutants, lived))
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
