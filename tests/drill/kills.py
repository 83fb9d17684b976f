"""SIGKILL at a random moment: of all of a call's processes, of Snakemake alone, and of a job alone."""

import time
from random import Random
from threading import Lock

from .case import DVC, SNAKEMAKE, Case, Harm, Missed
from .place import Call, Done, Place

# How long a call takes that is left alone, and when it begins to work, by what it is to make: a kill's moment is drawn
# from these.
_SECONDS: dict[tuple[str, float | None, int], tuple[float, float]] = {}
_MEASURING = Lock()
_PATIENCE = 60


def _prepared(place: Place, random: Random, share: float | None) -> None:
    if share is None:
        place.remove_table()
    else:
        place.remove_runs(random, share)


def _everything(call: Call) -> None:
    # Twice, because what is killed first may have started something since it was listed.
    for _ in range(2):
        call.kill()


def _snakemake(call: Call) -> None:
    """Its jobs go on, and write what they make."""
    call.kill(one for one in call.family() if any("snakemake" in word for word in one.cmdline()[:3]))


def _job(call: Call) -> None:
    call.kill(call.jobs())


WHO = {"everything": _everything, "Snakemake alone": _snakemake, "a job alone": _job}


def _begun(place: Place, call: Call) -> bool:
    """Whether Snakemake has read the workflow and works in this folder; or has ended."""
    return not call.running() or any((place.folder / ".snakemake" / "locks").glob("*"))


def _measured(place: Place, spelled: str, key: tuple[str, float | None, int]) -> bool:
    """Time a call, unless one of its kind was timed."""
    with _MEASURING:
        if key in _SECONDS:
            return False
        call = place.start(spelled)
        while not _begun(place, call):
            time.sleep(0.05)
        begun = time.monotonic() - call.started
        _SECONDS[key] = begun, call.wait().seconds - begun
        return True


def killed(command: str, who: str, share: float | None) -> Harm:
    """A harm: start the command, and kill at a moment that is drawn from the time that it takes.

    One moment in four is drawn from the whole call, three from when it works and no more reads the workflow.

    Args:
        command: as the README has it.
        who: is killed.
        share: of the table's runs that are to be made again; None for the table alone.
    """

    def harm(place: Place, random: Random) -> Done | None:
        spelled = Case("", "", harm, command).spelled(place)
        _prepared(place, random, share)
        key = command, share, len(place.made_for_target())
        if _measured(place, spelled, key):
            raise Missed
        begins, works = _SECONDS[key]
        call = place.start(spelled)
        if who == "a job alone":
            while call.running() and not call.jobs():
                time.sleep(0.2)
            time.sleep(random.uniform(0, 0.7 * works))
        elif random.random() < 0.25:
            time.sleep(random.uniform(0, begins + works))
        else:
            while not _begun(place, call):
                time.sleep(0.05)
            time.sleep(random.uniform(0, works))
        if not call.running() or (who == "a job alone" and not call.jobs()):
            call.wait()
            raise Missed
        WHO[who](call)
        if who == "a job alone":
            return call.wait(_PATIENCE)
        call.process.wait()
        return None

    return harm


def _case(command: str, who: str, share: float | None, times: int, small: bool = False) -> Case:
    what = {None: "the table alone", 0.0: "a run and the table"}.get(share, "all runs and the table")
    name = f"{who}, {what}{' of one run' if small else ''}"
    return Case(f"SIGKILL, {command.split()[0]}", name, killed(command, who, share), command, times, small=small)


CASES = [
    _case(SNAKEMAKE, "everything", None, 40),
    _case(SNAKEMAKE, "Snakemake alone", None, 20),
    _case(SNAKEMAKE, "a job alone", None, 10),
    _case(SNAKEMAKE, "everything", 0.0, 6),
    _case(SNAKEMAKE, "Snakemake alone", 0.0, 2),
    _case(SNAKEMAKE, "a job alone", 0.0, 3),
    _case(SNAKEMAKE, "everything", 1.0, 1),
    _case(SNAKEMAKE, "everything", None, 70, small=True),
    _case(SNAKEMAKE, "Snakemake alone", None, 30, small=True),
    _case(SNAKEMAKE, "a job alone", None, 16, small=True),
    _case(DVC, "everything", None, 6),
    _case(DVC, "everything", 0.0, 2),
]
