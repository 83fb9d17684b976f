"""`make bench`: a table of time and memory, and one line of ratios.

Times of one comparison are taken in turns in one process, and their ratio is the median over rounds, because machines
are noisy. Peak memory is that of a process of its own, less what it held before its first step.
"""

import csv
import io
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks import cases
from dpmix.files import write_text
from dpmix.training.outcome import hardware

RESULTS = Path(__file__).parent / "results"
K = 34
ROUNDS = 3
HEAD = {"n": 1000, "k": 36, "d": 512, "classes": 257}


def cases_by_name() -> dict[str, tuple[str, object]]:
    """Name -> (what it is compared with, a function that builds its step)."""
    return {
        **{
            f"non-private, n = 8, physical batch {size}": ("n = 8", lambda size=size: cases.non_private(8, K, size))
            for size in (34, 68, 272)
        },
        "clipped, sequential, n = 8": ("n = 8", lambda: cases.clipped(8, K, "sequential", 8)),
        "clipped, sequential, n = 4": ("n = 4", lambda: cases.clipped(4, K, "sequential", 4)),
        "clipped, vectorized, n = 4": ("n = 4", lambda: cases.clipped(4, K, "vectorized", 4)),
        "clipped, reference (vmap), n = 4": ("n = 4", lambda: cases.clipped(4, K, "reference", 4)),
        "Opacus hooks, mean over K, n = 4": ("n = 4", lambda: cases.opacus(4, K)),
        "one head, materialised": ("heads", lambda: cases.one_head_materialised(physical=125, **HEAD)),
        "one head, closed form": ("heads", lambda: cases.heads(1, physical=125, **HEAD)),
        "32 heads, closed form": ("heads", lambda: cases.heads(32, physical=25, **HEAD)),
    }


def peak_memory(name: str) -> float:
    """MiB that two steps of a case need beyond the process at rest."""
    command = [sys.executable, "-m", "benchmarks", "--memory", name]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout)["mib"])


def _memory(name: str) -> None:
    step = cases_by_name()[name][1]()  # type: ignore[operator]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"mib": (after - before) / 1024}))


def _times() -> dict[str, list[float]]:
    """Seconds of each case, one per round, cases of a comparison in turns."""
    seconds: dict[str, list[float]] = {}
    groups: dict[str, list[str]] = {}
    for name, (group, _) in cases_by_name().items():
        groups.setdefault(group, []).append(name)
    for names in groups.values():
        steps = {name: cases_by_name()[name][1]() for name in names}  # type: ignore[operator]
        for round_ in range(ROUNDS + 1):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if round_ > 0:  # the first warms up
                    seconds.setdefault(name, []).append(time.perf_counter() - started)
                print(f"  {name}: {time.perf_counter() - started:.2f} s", file=sys.stderr, flush=True)
    return seconds


def _ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--memory":
        _memory(sys.argv[2])
        return
    print(f"{hardware()}, torch {torch.__version__}, {torch.get_num_threads()} threads", file=sys.stderr)
    seconds = _times()
    memory = {name: peak_memory(name) for name in seconds if "head" not in name}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "seconds", "peak_mib"])
    for name, values in seconds.items():
        writer.writerow([name, f"{statistics.median(values):.3f}", f"{memory[name]:.0f}" if name in memory else ""])
    print(f"{'case':44}{'median s':>10}{'peak MiB':>10}")
    for name, values in seconds.items():
        print(f"{name:44}{statistics.median(values):10.2f}{memory.get(name, float('nan')):10.0f}")
    best = min((n for n in seconds if n.startswith("non-private")), key=lambda n: statistics.median(seconds[n]))
    private, rival = "clipped, sequential, n = 4", "Opacus hooks, mean over K, n = 4"
    machine = re.sub(r"[^A-Za-z0-9]+", "-", f"{hardware()}-torch-{torch.__version__}-{platform.machine()}").strip("-")
    write_text(RESULTS / f"{machine}.csv", text.getvalue())
    print(
        f"clipped/non-private = {_ratio(seconds, 'clipped, sequential, n = 8', best):.2f}"
        f"  opacus/clipped = {_ratio(seconds, rival, private):.2f}"
        f"  memory clipped/opacus = {memory[private] / memory[rival]:.2f}"
        f"  heads32/one = {_ratio(seconds, '32 heads, closed form', 'one head, materialised'):.2f}"
    )


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    main()
