"""Two calls at once, of the same target and of others."""

import time
from random import Random

from .case import SNAKEMAKE, Case, Harm
from .judge import in_one_line
from .place import Done, Place


def together(*targets: str) -> Harm:
    """A harm: a run and the table are to be made, and a second call for a target comes while the first one works.

    The first must finish as if it were alone; the second finishes too, or refuses in one line.
    """

    def harm(place: Place, random: Random) -> Done:
        place.remove_runs(random, 0.0)
        first, *others = (SNAKEMAKE.format(target=target or place.target) for target in targets)
        calls = [place.start(first)]
        for other in others:
            time.sleep(random.uniform(0, 4))
            calls.append(place.start(other))
        ended = [call.wait() for call in calls]
        for done in ended:
            if done.status and not in_one_line(done):
                return done
        # Either may have come first; one has to have done it.
        return min(ended, key=lambda done: done.status)

    return harm


CASES = [
    Case("two calls at once", "the same target", together("", ""), times=3),
    Case("two calls at once", "another target", together("", "table9"), times=2),
    Case("two calls at once", "everything and one table", together("all_tables", "")),
]
