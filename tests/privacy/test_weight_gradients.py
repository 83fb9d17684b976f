"""The kernel for GPUs against a convolution's own gradient: here in Triton's interpreter, on a GPU for real."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.needs import GPU, needs

TRITON = importlib.util.find_spec("triton") is not None

# n, K, C, O, height, width, kernel, stride, padding, dilation
SHAPES = [
    (2, 3, 3, 16, 8, 8, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 2, 16, 8, 8, 8, (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 2, 5, 7, 9, 6, (2, 3), (1, 2), (0, 2), (2, 1)),
    (3, 1, 4, 130, 5, 5, (1, 1), (1, 1), (1, 0), (1, 1)),
    (2, 2, 70, 6, 4, 7, (3, 1), (3, 1), (2, 0), (1, 3)),
]

COMPARE = """
import json, sys
import torch
from dpmix.privacy.weight_gradients import channels_last, weight_gradients

draws = torch.Generator().manual_seed(0)
worst = []
for dtype, channels_last_first in ((torch.float32, False), (torch.float16, True)):
    for n, k, c, o, height, width, kernel, stride, padding, dilation in json.loads(sys.argv[2]):
        x = torch.randn(n, k, c, height, width, generator=draws).to(dtype)
        like = torch.empty(o, c, *kernel)
        shape = torch.nn.functional.conv2d(x[0].float(), like, None, stride, padding, dilation).shape
        gradient = torch.randn(n, *shape, generator=draws).to(dtype)
        expected = torch.stack([
            torch.nn.grad.conv2d_weight(a.double(), like.shape, b.double(), stride, padding, dilation)
            for a, b in zip(x, gradient)
        ])
        x, gradient = x.to(sys.argv[1]), gradient.to(sys.argv[1])
        assert torch.equal(channels_last(x), x.permute(0, 1, 3, 4, 2))
        if channels_last_first:
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        found = weight_gradients(x, gradient, kernel, stride, padding, dilation)
        assert found.dtype == torch.float32 and found.shape == expected.shape and found.is_contiguous()
        worst.append(float((found.cpu().double() - expected).norm() / expected.norm()))
print(json.dumps(worst))
"""


def errors(device: str, shapes: list[tuple], **environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, device, json.dumps(shapes)],
        cwd=Path(__file__).parents[2], env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs("Triton (part of torch for NVIDIA GPUs)", TRITON)
def test_interpreted() -> None:
    found = errors("cpu", SHAPES, TRITON_INTERPRET="1")
    assert len(found) == 2 * len(SHAPES)
    assert max(found) < 1e-5  # products of half precision are exact in float32, in which they are added up


@needs(GPU, TRITON and torch.cuda.is_available())
def test_compiled() -> None:
    wide = (5, 34, 64, 64, 32, 32, (3, 3), (1, 1), (1, 1), (1, 1))
    found = errors("cuda", [*SHAPES, wide])
    plain, half = found[: len(SHAPES) + 1], found[len(SHAPES) + 1 :]
    assert max(half) < 1e-4
    assert max(plain) < 1e-2  # float32 goes through TF32 here; `fits` lets it go to cuDNN
