"""How long started processes have computed, whatever runs beside them."""

import resource


def of_children() -> float:
    """Seconds of the processor that the processes started from here, and ended since, have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
