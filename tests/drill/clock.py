"""A clock that jumps: files from the future and the past, and a call to which it is another day."""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

from .case import Case, Harm, Missed
from .place import Done, Place

_DAY = 24 * 3600
# libfaketime would serve, but in Debian 12's version Python's sleep fails where the monotonic clock is left alone, and
# waits for ever where it is not.
_SOURCE = Path(__file__).with_suffix(".c")


@functools.cache
def library() -> Path | None:
    """What makes the clock of a process wrong that loads it first; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    made = Path(tempfile.mkdtemp(prefix="clock-")) / "clock.so"
    made.parent.chmod(0o755)
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, _SOURCE, "-ldl"], check=True)
    return made


def dated(days: float, share: float) -> Harm:
    """A harm: files that were made while the clock was wrong, as their times say; then the table is made again.

    Args:
        days: by which it was wrong.
        share: of the files, chosen at random.
    """

    def harm(place: Place, random: Random) -> None:
        then = time.time() + days * _DAY
        files = sorted(path for part in ("data", "results") for path in (place.folder / part).rglob("*"))
        for path in random.sample(files, round(share * len(files))):
            os.utime(path, (then, then), follow_symlinks=False)

    return harm


def on_another_day(days: int) -> Harm:
    """A harm: the run and the table are made by a call to which the clock is wrong by so much."""

    def harm(place: Place, random: Random) -> Done:
        preloaded = library()
        if preloaded is None:
            raise Missed
        place.remove_runs(random, 0.0)
        wrong = {"LD_PRELOAD": str(preloaded), "CLOCK_WRONG_BY": str(days * _DAY)}
        return place.run(Case("", "", harm).spelled(place), **wrong)

    return harm


CASES = [
    Case("clock", "half of the files a year ahead", dated(365, 0.5), times=2),
    Case("clock", "half of the files a year back", dated(-365, 0.5), times=2),
    Case("clock", "all files ahead", dated(365, 1.0)),
    Case("clock", "a call on another day, ahead", on_another_day(400)),
    Case("clock", "a call on another day, back", on_another_day(-400)),
]
