"""SIGINT, SIGTERM and SIGHUP, as a terminal, a batch system and a lost connection send them."""

import signal
import time
from random import Random

from .case import Case, Harm, Missed
from .place import Call, Done, Place

_PATIENCE = 60


def _terminal(call: Call, sign: int) -> None:
    call.kill(sign=sign)


def _process(call: Call, sign: int) -> None:
    call.process.send_signal(sign)


SENT = {
    "SIGINT from the terminal": (_terminal, signal.SIGINT),
    "SIGINT to Snakemake": (_process, signal.SIGINT),
    "SIGTERM to Snakemake": (_process, signal.SIGTERM),
    "SIGTERM to all": (_terminal, signal.SIGTERM),
    "SIGHUP to all": (_terminal, signal.SIGHUP),
}


def interrupted(name: str) -> Harm:
    """A harm: a run and the table are being made, and the call gets a signal in the middle of the run."""
    send, sign = SENT[name]

    def harm(place: Place, random: Random) -> Done:
        place.remove_runs(random, 0.0)
        call = place.start(Case("", "", harm).spelled(place))
        while call.running() and not call.jobs():
            time.sleep(0.2)
        time.sleep(random.uniform(0, 3))
        if not call.running():
            raise Missed
        send(call, sign)
        done = call.wait(_PATIENCE)
        if done.status == 0:
            raise Missed
        return done

    return harm


CASES = [Case("signals", name, interrupted(name)) for name in SENT]
