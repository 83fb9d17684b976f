"""Progress of long work on stderr: a bar on a terminal, and a line every half minute in a log file.

Of a release's steps neither times nor a speed are shown, as they depend on who was sampled.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TypeVar

Item = TypeVar("Item")

_EVERY_SECONDS = 30.0
_WITHOUT_TIMES = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}"
_SHARES = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def progress(
    items: Iterable[Item], label: str, unit: str = "step", total: int | None = None, *, counted: bool = True
) -> Iterable[Item]:
    """Iterate over `items` and show progress on stderr.

    Args:
        items: what is iterated over.
        label: what is being done, such as "decoding".
        unit: of the items, in the singular.
        total: how many items there are; by default their length, if they have one.
        counted: whether to show how many items there are; else per cent alone, where their number is private.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc=label, unit=unit, total=total, leave=False, bar_format=None if counted else _SHARES)
    return _lines(items, label, unit, total, counted)


def untimed(items: Sequence[Item], label: str, unit: str = "step") -> Iterable[Item]:
    """Iterate over `items` and show progress on stderr of which nothing depends on how long an item takes.

    A log file gets a line after each tenth of the items: one every half minute would say how many were done by then.
    Arguments are those of `progress`.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(items, desc=label, unit=unit, leave=False, bar_format=_WITHOUT_TIMES)
    return _tenths(items, label, unit)


def say(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def _lines(items: Iterable[Item], label: str, unit: str, total: int | None, counted: bool) -> Iterator[Item]:
    started = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - told >= _EVERY_SECONDS:
            told = now
            at = f"{done}{f' of {total}' if total else ''} {unit}s"
            if not counted:
                at = f"{100 * done // total} %" if total else "at work"
            left = f", about {(now - started) / done * (total - done):.0f} s left" if total and done else ""
            say(f"{label}: {at} in {now - started:.0f} s{left}")
        yield item


def _tenths(items: Sequence[Item], label: str, unit: str) -> Iterator[Item]:
    total = len(items)
    told = {tenth * total // 10 for tenth in range(1, 10)} - {0}
    for done, item in enumerate(items):
        if done in told:
            say(f"{label}: {done} of {total} {unit}s")
        yield item
