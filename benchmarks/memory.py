"""`python -m benchmarks.memory`: an encoder's speed on the processor, with and without `keep_freed_memory`.

Each of the two ways has a process of its own, and they take turns. Prints images per second, seconds spent in the
kernel and pages asked for, and the ratio of the times: its median over rounds.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

WAYS = ("as it is", "freed memory kept")


def measure(kept: bool, size: int = 64, batches: int = 6, side: int = 96) -> dict[str, float]:
    """Forward passes of EfficientNet-Lite0 over `batches` times `size` images, after two to warm up.

    Returns:
        `seconds` by the clock, `kernel` seconds of it, `pages` asked for, and `images` per second.
    """
    import torch

    from dpmix.execution import keep_freed_memory
    from dpmix.models.efficientnet_lite0 import backbone

    if kept:
        keep_freed_memory()
    network = backbone().eval()
    images = torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for _ in range(2):
            network(images)
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(batches):
            network(images)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "kernel": after.ru_stime - before.ru_stime,
        "pages": after.ru_minflt - before.ru_minflt,
        "images": size * batches / seconds,
    }


def in_a_process(kept: bool) -> dict[str, float]:
    """`measure` in a process of its own, since an allocator cannot be told to forget again."""
    code = f"import json; from benchmarks.memory import measure; print(json.dumps(measure({kept})))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def main(rounds: int = 5) -> None:
    """Print what each round found, and the median of the ratios."""
    ratios = []
    for number in range(1, rounds + 1):
        found = [in_a_process(kept) for kept in (False, True)]
        for way, one in zip(WAYS, found, strict=True):
            print(
                f"round {number}, {way}: {one['images']:.0f} images/s, {one['kernel']:.2f} s in the kernel, "
                f"{one['pages']:.0f} pages",
                flush=True,
            )
        ratios.append(found[0]["seconds"] / found[1]["seconds"])
    print(f"{WAYS[0]} / {WAYS[1]}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
