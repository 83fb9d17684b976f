"""Matrix products of float32 in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices keep 24 bits, whatever `torch.set_float32_matmul_precision` allows.

    Where a norm and the sum that it bounds come from different products, TF32 or bfloat16 would round them differently
    and the bound would be off by up to 2^-8, times whatever the summands cancel.
    """
    settings = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
