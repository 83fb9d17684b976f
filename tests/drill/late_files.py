"""A network file system: what a job wrote is there for its own machine, and for others some seconds later.

When a job's process ends, the files that it renamed into place are hidden, and another process brings them back after a
while. That is what a cluster's login node sees of a compute node's files.
"""

from random import Random

from .case import Case, Harm
from .place import Done, Place

# Python runs this at its start, in every process that has its folder on PYTHONPATH.
_HIDE = """\
import atexit, os, subprocess, sys

if sys.argv[:1] == ["-m"] and "step" in sys.orig_argv:
    renamed, replace = [], os.replace

    def noted(source, target, **how):
        replace(source, target, **how)
        renamed.append(os.path.abspath(target))

    os.replace = noted

    def hide():
        pairs = [(path, path + ".late") for path in renamed if os.path.exists(path)]
        for path, late in pairs:
            os.rename(path, late)
        back = ["import os, sys, time; time.sleep(float(sys.argv[1]))"]
        back += [f"os.rename({late!r}, {path!r})" for path, late in pairs]
        subprocess.Popen(
            [sys.executable, "-S", "-c", "\\n".join(back), os.environ["DRILL_LATE_SECONDS"]],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    atexit.register(hide)
"""


def late(seconds: float) -> Harm:
    """A harm: the run and the table are made, and the files are seen so much later."""

    def harm(place: Place, random: Random) -> Done:
        place.remove_runs(random, 0.0)
        folder = place.folder.parent / "late"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_HIDE)
        path = f"{folder}:{place.environment['PYTHONPATH']}"
        done = place.run(Case("", "", harm).spelled(place), PYTHONPATH=path, DRILL_LATE_SECONDS=str(seconds))
        return done

    return harm


CASES = [
    Case("late files", "by 3 s", late(3), times=2),
    Case("late files", "by 20 s, longer than Snakemake waits", late(20)),
]
