"""Progress of long work: a live bar on a terminal, a line now and then in a log file."""

import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str, unit: str = "step", total: int | None = None) -> Iterable[Item]:
    """`items`, with their progress on stderr: several times a second on a terminal, every half minute elsewhere."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(items, desc=label, unit=unit, total=total, mininterval=interval, maxinterval=2 * interval)
