"""Time, memory and where the figures go."""

import csv
import io
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.cases import Step
from dpmix.files import write_text
from dpmix.provenance import hardware

RESULTS = Path(__file__).parent / "results"


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def times(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    warm_up: Mapping[str, Callable[[], object]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each step in each round, by a clock. The steps take turns, as a machine's speed drifts.

    Round 0 warms up: with `warm_up`, if given, which is shorter.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in (steps if round_ or warm_up is None else warm_up).items():
            _finish(device)
            started = clock()
            step()
            _finish(device)
            took = clock() - started
            if round_:
                seconds[name].append(took)
            tell(f"  round {round_} of {rounds}: {name}: {took:.2f} s" + ("" if round_ else " (warming up)"))
    return seconds


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def fastest(seconds: Mapping[str, Sequence[float]], prefix: str) -> str:
    """The case with the smallest median among those whose name starts with `prefix`."""
    return min((name for name in seconds if name.startswith(prefix)), key=lambda name: statistics.median(seconds[name]))


def memory_of(step: Step) -> float:
    """MiB at the peak of two calls beyond what this process holds now. For a process of its own: peaks only grow."""
    before = _status_mib("VmRSS")
    step()
    step()
    return _status_mib("VmHWM") - before


def peak_on_gpu(step: Callable[[], object], device: str) -> float:
    """MiB that torch held on the GPU at the peak of one call beyond what it held before; 0 on a processor."""
    if not device.startswith("cuda"):
        step()
        return 0.0
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _status_mib(field: str) -> float:
    """A figure of this process's memory. Linux inherits `ru_maxrss` from a parent, but not what /proc tells."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def machine() -> str:
    """The hardware, torch and its threads, as a file name."""
    words = f"{hardware()} {torch.get_num_threads()} threads torch {torch.__version__} {platform.machine()}"
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")


def write_rates(name: str, seconds: Mapping[str, Sequence[float]], images: Mapping[str, int]) -> Mapping[str, float]:
    """Write the median time of each case and its images per second as `results/NAME-<machine>.csv`.

    Args:
        name: of the comparison.
        seconds: of each case, round by round.
        images: of each case, in a round.

    Returns:
        The medians.
    """
    medians = {case: statistics.median(values) for case, values in seconds.items()}
    rows = [[case, f"{median:.3f}", images[case], f"{images[case] / median:.1f}"] for case, median in medians.items()]
    write_table(f"{name}-{machine()}", ["case", "seconds", "images", "images_per_second"], rows)
    return medians


def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The table as `results/NAME.csv`, and on stdout in columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(RESULTS / f"{name}.csv", text.getvalue())
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        first, *others = (str(cell) for cell in row)
        print("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))]))
