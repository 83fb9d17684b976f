"""A clock that jumps: files from the future and the past, and a call to which it is another day."""

import os
import time
from pathlib import Path
from random import Random

from .case import Case, Harm
from .place import Done, Place

_DAY = 24 * 3600
# Debian's libfaketime, in the folder of the machine's own libraries.
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


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


def on_another_day(offset: str) -> Harm:
    """A harm: the run and the table are made by a call to which the clock is wrong by so much."""

    def harm(place: Place, random: Random) -> Done:
        place.remove_runs(random, 0.0)
        return place.run(
            Case("", "", harm).spelled(place), LD_PRELOAD=str(LIBRARY), FAKETIME=offset, FAKETIME_DONT_RESET="1"
        )

    return harm


CASES = [
    Case("clock", "half of the files a year ahead", dated(365, 0.5), times=2),
    Case("clock", "half of the files a year back", dated(-365, 0.5), times=2),
    Case("clock", "all files ahead", dated(365, 1.0)),
    Case("clock", "a call on another day, ahead", on_another_day("+400d")),
    Case("clock", "a call on another day, back", on_another_day("-400d")),
]
