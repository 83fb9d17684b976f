"""`python -m benchmarks.digests [MiB]`: how long the check of a large file's digest takes, beside reading the file.

The file is written first, so both find it in memory where there is enough of it: a disk can only make both slower.
Prints the rates, their ratio as the median over rounds, and how long a store of 20 GB would take.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dpmix.seals import files

_STORE = 20e9  # bytes
_AT_A_TIME = 2**20


def read(path: Path) -> None:
    """Read a file and do nothing with it."""
    with path.open("rb", buffering=0) as file:
        while file.read(_AT_A_TIME):
            pass


def check(path: Path) -> None:
    """What a job does that opens the file: its digest, from all of its bytes, whatever this process knows of it."""
    files._digest.cache_clear()
    files.file_digest(path)


def rates(size: int, rounds: int) -> dict[str, list[float]]:
    """Bytes per second of both ways, one number for each round.

    Args:
        size: of the file, in bytes.
        rounds: how often; the ways take turns.
    """
    ways: dict[str, Callable[[Path], None]] = {"read": read, "check": check}
    found: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.bin")
        with path.open("wb") as file:
            file.writelines(bytes(min(_AT_A_TIME, size - start)) for start in range(0, size, _AT_A_TIME))
        for _ in range(rounds):
            for way, do in ways.items():
                start = time.perf_counter()
                do(path)
                found[way].append(size / (time.perf_counter() - start))
    return found


def main(mebibytes: int = 2048, rounds: int = 5) -> None:
    """Print what was found."""
    found = rates(mebibytes * 2**20, rounds)
    ratio = statistics.median(one / other for one, other in zip(found["read"], found["check"], strict=True))
    speed = statistics.median(found["check"])
    for way, each in found.items():
        print(f"{way}: {statistics.median(each) / 1e6:,.0f} MB/s")
    print(f"check / read, in time: {ratio:.2f}; a store of 20 GB takes {_STORE / speed:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
