"""`python tests/drill`: harm a finished demo in many ways, and see what one more call makes of it.

Results of cases that are done again take the place of earlier ones.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
# Some library brings a package `tests` of its own, which would be found instead of this folder.
sys.modules["tests"] = tests = ModuleType("tests")
tests.__path__ = [str(ROOT / "tests")]
sys.path.insert(0, str(ROOT))

from dpmix.errors import one_line  # noqa: E402
from dpmix.provenance import hardware  # noqa: E402
from tests.drill.harms import HARMS  # noqa: E402
from tests.drill.judge import FAILED  # noqa: E402
from tests.drill.page import results_of, write  # noqa: E402
from tests.drill.place import new_world  # noqa: E402
from tests.drill.run import drill, forget, tell  # noqa: E402
from tests.workflow.test_workflow import REDUCED  # noqa: E402

# The params of each, where they are not the project's own: the small one's table shows one run.
WORLDS = {"small": REDUCED.replace("seeds: [1, 2]", "seeds: [1]"), "demo": None}


def main() -> int:
    """Run the cases; the exit status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python tests/drill", description=__doc__)
    parser.add_argument("--finished", type=Path, default=ROOT, help="a checkout whose demo is finished; this one")
    parser.add_argument("--target", default="table12", help="the table that is made again and again")
    parser.add_argument("--only", nargs="*", default=[""], help="only cases whose kind or name has one of these in it")
    parser.add_argument("--seed", type=int, default=0, help="of random moments and choices")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    given = parser.parse_args()
    cases = [
        case
        for kind, some in HARMS.items()
        for case in some
        if any(word in f"{kind}: {case.group}: {case.name}" for word in given.only)
    ]  # fmt: skip
    if not cases:
        parser.error(f"no case has {' or '.join(given.only)} in its kind or name")
    # What the small world holds is made in seconds.
    finished = (given.finished / "results/demo/tables" / f"{given.target}.json").exists()
    if not finished and not all(case.small for case in cases):
        parser.error(f"{given.finished} has no finished demo; make demo first")
    path = results_of(hardware())
    found = []
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        Path(scratch).chmod(0o755)
        for name, how in WORLDS.items():
            asked = [case for case in cases if case.small == (name == "small")]
            if not asked:
                continue
            taken = None if how else given.finished
            try:
                world = new_world(name, Path(scratch) / name, given.target, params=how, finished=taken)
            except RuntimeError as error:
                tell(f"error: {one_line(error)}")
                return 2
            forget(path, asked)
            found += drill(world, asked, given.seed, path, given.jobs)
    failed = [one for one in found if one.ending == FAILED]
    tell(f"{len(found) - len(failed)} of {len(found)} ended as they should")
    write()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
