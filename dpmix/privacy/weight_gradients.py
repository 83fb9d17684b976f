"""Per-example weight gradients of convolutions on a GPU, for half precision: one kernel for all examples of a batch.

cuDNN computes them as one convolution with a group for each example, and works through groups one by one. Here each
example's gradient is a matrix product over its views and positions,

    G[o, (r, s, c)] = sum over k, p, q of  gradient[k, p, q, o]  x[k, p * stride - padding + r * dilation, ..., c],

whose second matrix is never written down: its entries are read from the input where they lie. Sums are in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_LARGEST = 2**31  # the kernels count the numbers of one example in 32 bits


def fits(x: Tensor, gradient: Tensor) -> bool:
    """Whether `weight_gradients` takes these: x [n, K, C, H, W] and gradient [n, K, O, P, Q].

    Both have to be in the same half precision, with less than 2**31 numbers an example.
    """
    half = x.dtype == gradient.dtype and x.dtype in (torch.bfloat16, torch.float16)
    return half and max(x[0].numel(), gradient[0].numel()) < _LARGEST


def weight_gradients(
    x: Tensor,
    gradient: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """The gradient of a convolution's weight for each of n examples, summed over the K views of each.

    Args:
        x: the convolution's input [n, K, C, H, W].
        gradient: of the loss in its output, [n, K, O, P, Q].
        kernel: height R and width S of the kernel.
        stride: down and across.
        padding: of zeros, above and on the left as below and on the right.
        dilation: down and across.

    Returns:
        float32 [n, O, C, R, S].
    """
    x, gradient = channels_last(x), channels_last(gradient)
    n, k, height, width, c = x.shape
    p, q, o = gradient.shape[2:]
    columns = kernel[0] * kernel[1] * c
    # Fastest of those tried on an H200 with a WRN-16-4.
    rows_of_tile = 128 if o >= 128 else max(16, triton.next_power_of_2(o))
    columns_of_tile = min(128, max(16, triton.next_power_of_2(columns)))
    tiles = triton.cdiv(o, rows_of_tile), triton.cdiv(columns, columns_of_tile)
    result = torch.empty(n, o, *kernel, c, device=x.device)
    _weight_gradient[(tiles[0] * tiles[1], n)](
        x, gradient, result, k * p * q, height, width, p, q, c, o, *kernel, *stride, *padding, *dilation,
        64, rows_of_tile, columns_of_tile, tiles[1], num_warps=8 if o >= 128 else 4,
    )  # fmt: skip
    return result.permute(0, 1, 4, 2, 3).contiguous()


@triton.jit
def _weight_gradient(
    x, gradient, result,
    M: tl.constexpr, H: tl.constexpr, W: tl.constexpr, P: tl.constexpr, Q: tl.constexpr, C: tl.constexpr,
    OUT: tl.constexpr, R: tl.constexpr, S: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    PAD_H: tl.constexpr, PAD_W: tl.constexpr, DILATION_H: tl.constexpr, DILATION_W: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_J: tl.constexpr, TILES_J: tl.constexpr,
):  # fmt: skip
    """One tile of one example's gradient: M = K P Q positions, columns j = (r, s, c)."""
    tile, example = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o = (tile // TILES_J) * BLOCK_O + tl.arange(0, BLOCK_O)
    j = (tile % TILES_J) * BLOCK_J + tl.arange(0, BLOCK_J)
    columns: tl.constexpr = R * S * C
    r, s, c = j // C // S * DILATION_H, j // C % S * DILATION_W, j % C
    x += example * (M // (P * Q)) * H * W * C
    gradient += example * M * OUT
    shift = (r * W + s) * C + c
    total = tl.zeros((BLOCK_O, BLOCK_J), tl.float32)
    for start in range(0, M, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        top, left = m // Q % P * STRIDE_H - PAD_H, m % Q * STRIDE_W - PAD_W
        row, column = top[:, None] + r[None, :], left[:, None] + s[None, :]
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W) & (j < columns)[None, :] & (m < M)[:, None]
        corner = ((m // (P * Q) * H + top) * W + left) * C
        values = tl.load(x + corner[:, None] + shift[None, :], mask=inside, other=0.0)
        there = (m < M)[:, None] & (o < OUT)[None, :]
        gradients = tl.load(gradient + m[:, None] * OUT + o[None, :], mask=there, other=0.0)
        total = tl.dot(tl.trans(gradients), values, total)
    there = (o < OUT)[:, None] & (j < columns)[None, :]
    tl.store(result + (example * OUT + o[:, None]) * columns + j[None, :], total, mask=there)


def channels_last(x: Tensor) -> Tensor:
    """[n, K, C, H, W] -> [n, K, H, W, C], contiguous: torch's own copy takes several times as long."""
    moved = x.permute(0, 1, 3, 4, 2)
    if moved.is_contiguous() or not x.is_contiguous():
        return moved.contiguous()
    n, k, c, height, width = x.shape
    result = torch.empty_like(moved, memory_format=torch.contiguous_format)
    positions, block_c = height * width, min(64, triton.next_power_of_2(c))
    tiles = triton.cdiv(positions, 128), triton.cdiv(c, block_c)
    _transpose[(n * k, *tiles)](x, result, c, positions, block_c, 128, num_warps=4)
    return result


@triton.jit
def _transpose(x, result, C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """A tile of one image: [C, P] -> [P, C]."""
    image = tl.program_id(0).to(tl.int64) * C * P
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    values = tl.load(x + image + c[:, None] * P + p[None, :], mask=(c < C)[:, None] & (p < P)[None, :])
    tl.store(result + image + p[:, None] * C + c[None, :], tl.trans(values), mask=(p < P)[:, None] & (c < C)[None, :])
