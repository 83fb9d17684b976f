"""Calls from an environment that lacks something, or by another user."""

import os
import subprocess
from pathlib import Path
from random import Random

from .case import Case, Harm, Missed
from .place import Done, Place

NOBODY = 65534


def called(**how) -> Harm:
    """A harm: the run and the table are made by a call with this environment."""

    def harm(place: Place, random: Random) -> Done:
        place.remove_runs(random, 0.0)
        return place.run(Case("", "", harm).spelled(place), **how)

    return harm


def by_nobody(place: Place, random: Random) -> Done:
    """The checkout is given to another user, who has no home, and makes the run and the table."""
    if not administrator():
        raise Missed
    place.remove_runs(random, 0.0)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(place.folder)], check=True)
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return place.run(Case("", "", by_nobody).spelled(place), prefix=prefix, HOME="/nonexistent", TMPDIR="/tmp")


def not_mine(place: Place, random: Random) -> Done:
    """Another user, to whom the checkout does not belong, makes the run and the table: that cannot be."""
    if not administrator():
        raise Missed
    place.remove_runs(random, 0.0)
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return place.run(Case("", "", not_mine).spelled(place), prefix=prefix, HOME="/nonexistent", TMPDIR="/tmp")


def administrator() -> bool:
    """Whether this user may give files away and act as others."""
    return os.geteuid() == 0 and any(Path(one, "setpriv").exists() for one in os.defpath.split(os.pathsep))


CASES = [
    Case("environment", "HOME unset", called(without=["HOME"])),
    Case("environment", "HOME that cannot be written", called(HOME="/proc")),
    Case("environment", "TMPDIR that is not there", called(TMPDIR="/nonexistent")),
    Case("environment", "umask 077", called(mask=0o077)),
    Case("environment", "no locale", called(LC_ALL="C", LANG="C", PYTHONUTF8="0")),
    Case("environment", "another user, whose the checkout is", by_nobody),
    Case("environment", "another user, whose it is not", not_mine),
]
