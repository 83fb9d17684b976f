"""`python -m benchmarks --gpu`: the clipped step beside the non-private one, each as fast as it gets.

And beside other libraries' in float32 with all its bits, which all of them have, each with all examples at once.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks import cases
from benchmarks.cases import NotInstalled, Problem
from benchmarks.measure import fastest, machine, peak_on_gpu, ratio, tell, times, write_table
from dpmix.privacy.backend_choice import explain_backend, multiply_adds

FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def compare(problem: Problem, physical: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """Seconds of both steps for each physical batch (in examples; times K in images) and memory format that fits."""
    steps: dict[str, cases.Step] = {}
    for label, memory_format in FORMATS.items():
        shaped = replace(problem, memory_format=memory_format)
        for size in physical:
            for name, make in (
                (f"clipped, {size} examples, {label}", lambda p=shaped, s=size: cases.clipped(p, "auto", s)),
                (f"non-private, {size * problem.k} images, {label}",
                 lambda p=shaped, s=size: cases.non_private(p, s * p.k)),
            ):  # fmt: skip
                step = make()
                try:
                    step()
                except torch.OutOfMemoryError:
                    tell(f"  {name}: out of memory")
                    continue
                steps[name] = step
    return times(steps, rounds, problem.device)


def matmul_rate(device: str, dtype: torch.dtype, size: int, repeats: int) -> float:
    """FLOP/s of the best of some large matrix products: what this device can reach at this precision."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> dict[str, torch.Tensor]:
        return {"product": a @ b}

    return 2 * size**3 / min(times({"matrix product": product}, repeats, device)["matrix product"])


def step_flops(problem: Problem) -> float:
    """Forward and backward: two FLOPs a multiply-add, three passes."""
    image = problem.examples()[0][0, :1]
    return 6.0 * multiply_adds(problem.network(), image) * problem.n * problem.k


def libraries(problem: Problem, rounds: int) -> list[list[str]]:
    """A row for each library's step on the same examples, all at once: seconds, images a second and memory.

    Memory is the most MiB that torch held beyond what it held before; JAX holds its own, which is not counted.
    """
    makers: dict[str, Callable[[], cases.Step]] = {
        "ours (auto)": lambda: cases.clipped(problem, "auto", problem.n),
        "ours, ghost": lambda: cases.clipped(problem, "ghost", problem.n),
        "ours (engine: jax)": lambda: cases.jax_privacy(problem, problem.n),
        "vmap over views, mean over K": lambda: cases.vmap_per_view(problem),
        "Opacus hooks, mean over K": lambda: cases.opacus(problem),
        "Opake": lambda: cases.opake(problem, problem.n),
    }
    steps, peaks = dict[str, cases.Step](), dict[str, str]()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for name, make in makers.items():
            try:
                step = make()
                peak = peak_on_gpu(step, problem.device)
            except NotInstalled as error:
                tell(f"  no row for {name}: {error}")
                continue
            except torch.OutOfMemoryError:
                tell(f"  {name}: out of memory")
                continue
            steps[name], peaks[name] = step, "" if "jax" in name else f"{peak:.0f}"
        seconds = times(steps, rounds, problem.device)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    images = problem.n * problem.k
    return [[name, f"{median:.4f}", f"{images / median:.0f}", peaks[name]] for name, median in medians.items()]


def run(problem: Problem, physical: Sequence[int], rounds: int, product: int) -> str:
    """Measure, write the table, and give the line of ratios."""
    tell(explain_backend(problem.network(), problem.examples()[0]))
    peak = matmul_rate(problem.device, getattr(torch, problem.precision), product, rounds)
    seconds = compare(problem, physical, rounds)
    images, flops = problem.n * problem.k, step_flops(problem)
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        rows.append([name, f"{median:.4f}", f"{images / median:.0f}", f"{flops / median / peak:.3f}"])
    write_table(_title(problem), ["case", "seconds", "images_per_second", "fraction_of_matmul_rate"], rows)
    ours, others = fastest(seconds, "clipped"), fastest(seconds, "non-private")
    return (
        f"clipped/non-private = {ratio(seconds[ours], seconds[others]):.2f}"
        f"  images/s = {images / statistics.median(seconds[ours]):.0f}"
        f"  fraction of {peak / 1e12:.3g} TFLOP/s = {flops / statistics.median(seconds[ours]) / peak:.2f}"
    )


def run_libraries(problem: Problem, rounds: int) -> None:
    """Measure the libraries and write their table."""
    rows = libraries(problem, rounds)
    write_table(f"{_title(problem)}-libraries", ["case", "seconds", "images_per_second", "peak_mib"], rows)


def _title(problem: Problem) -> str:
    return f"{machine()}-{problem.precision}-n-{problem.n}-K-{problem.k}"
