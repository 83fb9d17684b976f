"""Progress of long work on stderr: a bar on a terminal, and a line every half minute in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

_EVERY_SECONDS = 30.0


def progress(items: Iterable[Item], label: str, unit: str = "step", total: int | None = None) -> Iterable[Item]:
    """Iterate over `items` and show progress on stderr.

    Args:
        items: what is iterated over.
        label: what is being done, such as "decoding".
        unit: of the items, in the singular.
        total: how many items there are; by default their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc=label, unit=unit, total=total, leave=False)
    return _lines(items, label, unit, total)


def say(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def _lines(items: Iterable[Item], label: str, unit: str, total: int | None) -> Iterator[Item]:
    started = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - told >= _EVERY_SECONDS:
            told = now
            of = f" of {total}" if total else ""
            left = f", about {(now - started) / done * (total - done):.0f} s left" if total and done else ""
            say(f"{label}: {done}{of} {unit}s in {now - started:.0f} s{left}")
        yield item
