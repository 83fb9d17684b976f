"""`python -m benchmarks --gpu`: the clipped step beside the non-private one, each as fast as it gets."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks import cases
from benchmarks.cases import Problem
from benchmarks.measure import fastest, machine, ratio, tell, times, write_table
from dpmix.privacy.clipping import _multiply_adds, explain_backend

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
    return 6.0 * _multiply_adds(problem.network(), image) * problem.n * problem.k


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
    title = f"{machine()}-{problem.precision}-n-{problem.n}-K-{problem.k}"
    write_table(title, ["case", "seconds", "images_per_second", "fraction_of_matmul_rate"], rows)
    ours, others = fastest(seconds, "clipped"), fastest(seconds, "non-private")
    return (
        f"clipped/non-private = {ratio(seconds[ours], seconds[others]):.2f}"
        f"  images/s = {images / statistics.median(seconds[ours]):.0f}"
        f"  fraction of {peak / 1e12:.3g} TFLOP/s = {flops / statistics.median(seconds[ours]) / peak:.2f}"
    )
