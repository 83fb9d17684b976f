"""Two calls at once, of the same target and of others."""

import time
from random import Random

from .case import SNAKEMAKE, Broken, Case, Harm
from .judge import in_one_line, why
from .place import Done, Place


def together(*targets: str) -> Harm:
    """A harm: a run and the table are to be made, and a second call for a target comes while the first one works.

    One of them must finish as if it were alone; the other finishes too, or refuses in one line.
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
                raise Broken(why(done))
        # Either may have come first; one has to have done it.
        best = min(ended, key=lambda done: done.status)
        if best.status:
            raise Broken(f"neither call finishes: {why(best)}")
        return best

    return harm


CASES = [
    Case("two calls at once", "the same target", together("", ""), times=3),
    Case("two calls at once", "another target", together("", "table9"), times=2),
    Case("two calls at once", "everything and one table", together("all_tables", "")),
]
