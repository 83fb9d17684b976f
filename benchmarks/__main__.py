"""`make bench`: tables of time and memory, each with one line of ratios. `--gpu` measures on a GPU instead.

Times of one comparison are taken in turns in one process, and their ratio is the median over rounds, because machines
are noisy. Peak memory is that of a process of its own, less what it held before its first step.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

import torch
from typing_extensions import override

from benchmarks import cases, crops, gpu, stream, union
from benchmarks.cases import Dense, NotInstalled, Problem, Step
from benchmarks.measure import fastest, machine, memory_of, ratio, tell, times, write_table
from dpmix.errors import DpmixError, suggestion

STREAMS = {"stream": stream, "union": union, "crops": crops}

K = 34
EIGHT, FOUR = Problem(8, K), Problem(4, K)
LAYOUTS = {label: replace(EIGHT, memory_format=memory_format) for label, memory_format in gpu.FORMATS.items()}
HEAD = {"n": 1000, "k": 36, "d": 512, "classes": 257}

DENSE = "dense network"
DENSES = {f"n = 32, K = {k}": Dense(32, k) for k in (1, 8)}

OURS, OURS_FOUR = "ours (auto), n = 8", "ours (auto), n = 4"
JAX = "ours (engine: jax), n = 4"
OPACUS = "Opacus hooks, mean over K, n = 4"
ONE_HEAD, HEADS = "one head, materialised", "32 heads, closed form"

# Cases that are compared with each other, and in how many rounds.
GROUPS: list[tuple[int, dict[str, Callable[[], Step]]]] = [
    (
        7,
        {
            OURS: lambda: cases.clipped(EIGHT, "auto", 8),
            **{f"non-private, n = 8, {size} images at a time, {label}":
                   lambda size=size, problem=problem: cases.non_private(problem, size)
               for size in (34, 68) for label, problem in LAYOUTS.items()},
        },
    ),
    (
        3,
        {
            OURS_FOUR: lambda: cases.clipped(FOUR, "auto", 4),
            "ours, sequential, n = 4": lambda: cases.clipped(FOUR, "sequential", 4),
            "ours, vectorized, n = 4": lambda: cases.clipped(FOUR, "vectorized", 4),
            "ours, ghost, n = 4": lambda: cases.clipped(FOUR, "ghost", 4),
            "ours, reference (vmap over examples), n = 4": lambda: cases.clipped(FOUR, "reference", 4),
            "vmap over views, mean over K, n = 4": lambda: cases.vmap_per_view(FOUR),
            JAX: lambda: cases.jax_privacy(FOUR),
            OPACUS: lambda: cases.opacus(FOUR),
            "Opake, n = 4": lambda: cases.opake(FOUR, 4),
            "Opake, one example at a time, n = 4": lambda: cases.opake(FOUR, 1),
        },
    ),
    *[
        (
            3,
            {
                f"{DENSE}, ours ({backend}), {label}": lambda backend=backend, problem=problem:
                    cases.clipped(problem, backend, problem.n)
                for backend in ("auto", "sequential", "vectorized", "reference", "ghost")
            }
            | {f"{DENSE}, Opacus hooks, {label}": lambda problem=problem: cases.opacus(problem)}
            | {f"{DENSE}, Opake, {label}": lambda problem=problem: cases.opake(problem, problem.n)}
            # It has no mean over views, so that with more than one it computes another sum.
            | ({f"{DENSE}, Opacus ghost, {label}": lambda problem=problem: cases.opacus_ghost(problem)}
               if problem.k == 1 else {}),
        )
        for label, problem in DENSES.items()
    ],
    (
        3,
        {
            ONE_HEAD: lambda: cases.one_head_materialised(physical=125, **HEAD),
            "one head, materialised for each view":
                lambda: cases.one_head_materialised(physical=25, per_view=True, **HEAD),
            "one head, closed form": lambda: cases.heads(1, physical=125, **HEAD),
            HEADS: lambda: cases.heads(32, physical=25, **HEAD),
        },
    ),
]  # fmt: skip


def peak_memory(name: str) -> float:
    """MiB that two steps of a case need beyond the process at rest."""
    command = [sys.executable, "-m", "benchmarks", "--memory", name]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    mib = float(result.stdout)
    tell(f"  memory: {name}: {mib:.0f} MiB")
    return mib


def made(makers: Mapping[str, Callable[[], Step]]) -> dict[str, Step]:
    """The steps of these cases; a library that is not installed has none, and a line says how to install it."""
    steps = {}
    for name, make in makers.items():
        try:
            steps[name] = make()
        except NotInstalled as error:
            tell(f"  no row for {name}: {error}")
    return steps


def run(rounds: int | None = None) -> str:
    """Measure everything, in `rounds` if given, write the table, and give the line of ratios."""
    seconds: dict[str, list[float]] = {}
    for usual, makers in GROUPS:
        seconds |= times(made(makers), rounds or usual)
    memory = {name: peak_memory(name) for name in seconds if "head" not in name}
    rows = [
        [name, f"{statistics.median(values):.3f}", f"{memory[name]:.0f}" if name in memory else ""]
        for name, values in seconds.items()
    ]
    write_table(machine(), ["case", "seconds", "peak_mib"], rows)
    return (
        f"clipped/non-private = {ratio(seconds[OURS], seconds[fastest(seconds, 'non-private')]):.2f}"
        f"  opacus/clipped = {ratio(seconds[OPACUS], seconds[OURS_FOUR]):.2f}"
        f"  memory clipped/opacus = {memory[OURS_FOUR] / memory[OPACUS]:.2f}"
        f"  heads32/one = {ratio(seconds[HEADS], seconds[ONE_HEAD]):.2f}"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """One whose mistakes are one line, without the usage above it."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help says what there is\n")


def main() -> None:
    parser = _Parser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=("clipping", *STREAMS), default="clipping",
        help="the gradient step, the stream that fine-tunes heads on a ViT-B-16, one pass for several methods, or "
        "crops that are kept",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--gpu", action="store_true", help="on the GPU, in bfloat16")
    which.add_argument("--memory", metavar="CASE", help="print one clipping case's peak memory in MiB")
    parser.add_argument("--rounds", type=_count, help="how often each case is timed, instead of the usual number")
    parser.add_argument(
        "--steps", type=_count, help="steps of the stream, the union or crops, instead of the usual number"
    )
    options = parser.parse_args()
    if options.steps and options.what == "clipping":
        parser.error("--steps is for the stream: python -m benchmarks stream --steps N")
    if options.memory:
        named = {name: make for _, makers in GROUPS for name, make in makers.items()}
        if options.memory not in named:
            raise DpmixError(f"no case is called {options.memory!r}; {suggestion(options.memory, named)}")
        print(memory_of(named[options.memory]()))
        return
    tell(machine())
    if options.gpu and not torch.cuda.is_available():
        raise DpmixError("no GPU found; run without --gpu")
    if options.what in STREAMS:
        of = STREAMS[options.what]
        size = of.GPU if options.gpu else of.CPU
        print(of.run(replace(size, steps=options.steps or size.steps), rounds=options.rounds or 3))
    elif options.gpu:
        problem = Problem(64, K, device="cuda", precision="bfloat16")
        print(gpu.run(problem, (4, 8, 16, 32, 64), rounds=options.rounds or 5, product=8192))
        gpu.run_libraries(Problem(16, K, device="cuda"), rounds=options.rounds or 5)
    else:
        print(run(options.rounds))


if __name__ == "__main__":
    try:
        main()
    except DpmixError as error:
        sys.exit(f"error: {error}")
