"""Draws digits with random strokes: the demo's public images, on which its encoders and diffusion model are trained.

A digit is a few polylines. Each drawing takes a template, moves its control points at random, makes a spline of them,
warps it (stretch, turn, slant, a smooth wave), scales it to the height of the image as scanned digits are, and draws it
with a pen on a 32 x 32 grid. The ink in blocks of 4 x 4 gives 8 x 8 pixels with 17 levels, the format of scikit-learn's
`digits`. No real digit is read, so that training on these images costs no privacy.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dpmix.random import KeyedRandom

CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

Floats = npt.NDArray[np.float32]
Stroke = tuple[tuple[float, float], ...]

_GRID = 32  # fine pixels per side; a coarse pixel is a block of 4 x 4
_POINTS = 56  # points of ink per digit, about one per fine pixel of a curve
_CONTROLS = 24  # room for the control points of any template
_CHUNK = 500  # drawings at a time: the temporaries stay in the cache

# (class, weight, strokes); points are (x, y) with y downwards, one pair given twice in a row is a sharp corner.
_TEMPLATES: tuple[tuple[int, float, tuple[Stroke, ...]], ...] = (
    (0, 3, (((0.50, 0.00), (0.22, 0.12), (0.12, 0.50), (0.24, 0.90), (0.50, 1.00), (0.76, 0.90), (0.86, 0.50),
             (0.76, 0.12), (0.50, 0.00)),)),
    (0, 1, (((0.62, 0.04), (0.30, 0.10), (0.14, 0.48), (0.22, 0.90), (0.52, 1.00), (0.80, 0.82), (0.86, 0.40),
             (0.74, 0.08), (0.46, 0.02)),)),
    (1, 2, (((0.50, 0.00), (0.50, 0.50), (0.50, 1.00)),)),
    (1, 3, (((0.24, 0.34), (0.40, 0.20), (0.58, 0.00), (0.58, 0.00), (0.57, 0.50), (0.56, 1.00)),)),
    (1, 1, (((0.30, 0.22), (0.54, 0.00), (0.54, 0.00), (0.52, 0.50), (0.50, 1.00)),
            ((0.24, 1.00), (0.50, 1.00), (0.78, 1.00)))),
    (1, 1, (((0.12, 0.50), (0.38, 0.30), (0.60, 0.00), (0.60, 0.00), (0.59, 0.50), (0.58, 1.00)),)),
    (2, 3, (((0.18, 0.20), (0.36, 0.02), (0.62, 0.02), (0.76, 0.22), (0.66, 0.48), (0.40, 0.76), (0.16, 1.00),
             (0.16, 1.00), (0.50, 0.99), (0.86, 0.98)),)),
    (2, 1, (((0.18, 0.18), (0.44, 0.00), (0.70, 0.18), (0.60, 0.52), (0.34, 0.86), (0.18, 0.94), (0.20, 0.80),
             (0.42, 0.84), (0.62, 0.98), (0.88, 0.96)),)),
    (3, 3, (((0.16, 0.10), (0.44, 0.00), (0.74, 0.10), (0.72, 0.34), (0.44, 0.46), (0.44, 0.46), (0.74, 0.56),
             (0.82, 0.80), (0.54, 1.00), (0.16, 0.92)),)),
    (3, 1, (((0.18, 0.04), (0.50, 0.03), (0.80, 0.02), (0.80, 0.02), (0.44, 0.42), (0.44, 0.42), (0.74, 0.54),
             (0.80, 0.80), (0.52, 1.00), (0.18, 0.92)),)),
    (4, 2, (((0.36, 0.00), (0.24, 0.28), (0.10, 0.58), (0.10, 0.58), (0.48, 0.60), (0.90, 0.56)),
            ((0.64, 0.30), (0.58, 0.62), (0.52, 1.00)))),
    (4, 2, (((0.28, 0.06), (0.18, 0.36), (0.24, 0.58), (0.52, 0.58), (0.78, 0.46)),
            ((0.80, 0.06), (0.70, 0.50), (0.52, 1.00)))),
    (4, 1, (((0.64, 0.00), (0.34, 0.34), (0.08, 0.66), (0.08, 0.66), (0.50, 0.66), (0.92, 0.66)),
            ((0.64, 0.00), (0.63, 0.50), (0.62, 1.00)))),
    (5, 3, (((0.82, 0.02), (0.52, 0.02), (0.26, 0.04), (0.26, 0.04), (0.22, 0.24), (0.20, 0.44), (0.20, 0.44),
             (0.46, 0.36), (0.74, 0.46), (0.78, 0.76), (0.54, 1.00), (0.20, 0.94)),)),
    (5, 1, (((0.30, 0.02), (0.27, 0.22), (0.25, 0.42), (0.25, 0.42), (0.52, 0.40), (0.76, 0.62), (0.66, 0.92),
             (0.36, 1.00), (0.18, 0.90)), ((0.30, 0.02), (0.56, 0.03), (0.84, 0.00)))),
    (6, 3, (((0.56, 0.00), (0.34, 0.24), (0.20, 0.56), (0.24, 0.88), (0.50, 1.00), (0.78, 0.88), (0.78, 0.64),
             (0.52, 0.54), (0.26, 0.70)),)),
    (6, 1, (((0.34, 0.00), (0.24, 0.36), (0.22, 0.74), (0.40, 1.00), (0.72, 0.94), (0.80, 0.70), (0.58, 0.54),
             (0.28, 0.68)),)),
    (7, 3, (((0.20, 0.06), (0.48, 0.04), (0.76, 0.02), (0.76, 0.02), (0.62, 0.40), (0.40, 1.00)),
            ((0.26, 0.54), (0.54, 0.52), (0.84, 0.48)))),
    (7, 1, (((0.16, 0.06), (0.48, 0.04), (0.82, 0.02), (0.82, 0.02), (0.60, 0.44), (0.40, 1.00)),)),
    (8, 3, (((0.76, 0.12), (0.48, 0.00), (0.24, 0.14), (0.36, 0.38), (0.64, 0.58), (0.76, 0.84), (0.50, 1.00),
             (0.24, 0.86), (0.36, 0.58), (0.64, 0.38), (0.78, 0.14)),)),
    (8, 1, (((0.50, 0.00), (0.26, 0.12), (0.30, 0.36), (0.50, 0.46), (0.70, 0.36), (0.74, 0.12), (0.50, 0.00)),
            ((0.50, 0.46), (0.22, 0.66), (0.26, 0.92), (0.50, 1.00), (0.74, 0.92), (0.78, 0.66), (0.50, 0.46)))),
    (9, 2, (((0.76, 0.20), (0.54, 0.00), (0.26, 0.10), (0.22, 0.36), (0.46, 0.48), (0.74, 0.32), (0.78, 0.14),
             (0.78, 0.46), (0.72, 0.80), (0.48, 1.00), (0.20, 0.94)),)),
    (9, 1, (((0.78, 0.08), (0.46, 0.02), (0.24, 0.22), (0.40, 0.44), (0.70, 0.34), (0.78, 0.08), (0.78, 0.08),
             (0.68, 0.54), (0.54, 1.00)),)),
)  # fmt: skip


class _Bank(NamedTuple):
    """The templates as arrays, T of them, with C = _CONTROLS control points and P = _POINTS points each."""

    labels: npt.NDArray[np.int64]  # [T]
    weights: npt.NDArray[np.float64]  # [T], summing to one within a class
    controls: Floats  # [T, C, 2], padded with zeros
    shared: npt.NDArray[np.int64]  # [T, C], the jitter each control point takes: equal points move together
    splines: Floats  # [T, P, C], control points -> points of the spline, evenly spaced along the template
    joined: Floats  # [T, P - 1], 1 where a point and the next lie on one stroke, else 0


def _catmull_rom(count: int, where: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A uniform Catmull-Rom spline through `count` points, at parameters 0 <= where < count: [len(where), count]."""
    start = np.minimum(where.astype(np.int64), count - 2)
    t = where - start
    cubic = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    matrix = np.zeros((len(where), count))
    rows = np.arange(len(where))
    for offset, weight in zip((-1, 0, 1, 2), cubic, strict=True):
        np.add.at(matrix, (rows, np.clip(start + offset, 0, count - 1)), weight)
    return matrix


@functools.cache
def _bank() -> _Bank:
    count = len(_TEMPLATES)
    labels = np.array([label for label, _, _ in _TEMPLATES])
    weights = np.array([weight for _, weight, _ in _TEMPLATES], dtype=np.float64)
    weights /= np.bincount(labels, weights=weights)[labels]
    controls = np.zeros((count, _CONTROLS, 2), dtype=np.float32)
    shared = np.zeros((count, _CONTROLS), dtype=np.int64)
    splines = np.zeros((count, _POINTS, _CONTROLS), dtype=np.float32)
    joined = np.ones((count, _POINTS - 1), dtype=np.float32)
    for index, (_, _, strokes) in enumerate(_TEMPLATES):
        fine, lengths = [], []
        for stroke in strokes:
            where = np.linspace(0, len(stroke) - 1, 400)
            path = _catmull_rom(len(stroke), where) @ np.array(stroke)
            along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
            fine.append((where, along))
            lengths.append(along[-1])
        ends = np.rint(np.cumsum(lengths) / np.sum(lengths) * _POINTS).astype(int)
        identities: dict[tuple[float, float], int] = {}
        row = column = 0
        for stroke, (where, along), end in zip(strokes, fine, ends, strict=True):
            even = np.interp(np.linspace(0, along[-1], end - row), along, where)
            splines[index, row:end, column : column + len(stroke)] = _catmull_rom(len(stroke), even)
            controls[index, column : column + len(stroke)] = stroke
            for point in stroke:
                shared[index, column] = identities.setdefault(point, len(identities))
                column += 1
            if end < _POINTS:
                joined[index, end - 1] = 0
            row = end
    return _Bank(labels, weights, controls, shared, splines, joined)


def _curves(random: KeyedRandom, labels: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Warped curves in template units: points [n, P, 2] and which of them are joined to the next [n, P - 1]."""
    bank, n = _bank(), len(labels)
    pick = random.uniform("template")
    choice = np.zeros(n, dtype=np.int64)
    for label in np.unique(labels):
        these = np.flatnonzero(labels == label)
        templates = np.flatnonzero(bank.labels == label)
        bounds = np.cumsum(bank.weights[templates])[:-1]
        choice[these] = templates[np.searchsorted(bounds, pick[these])]

    jitter = random.normal("jitter", _CONTROLS, 2).astype(np.float32) * np.float32(0.042)
    points = np.empty((n, _POINTS, 2), dtype=np.float32)
    for template in np.unique(choice):
        these = np.flatnonzero(choice == template)
        moved = bank.controls[template] + jitter[these][:, bank.shared[template]]
        points[these] = bank.splines[template] @ moved

    warp = random.normal("warp", 7).astype(np.float32)
    phase = random.uniform("phase", 2).astype(np.float32) * np.float32(2 * np.pi)
    x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
    wave_x = 0.042 * warp[:, :1] * np.sin(5 * y + phase[:, :1])
    wave_y = 0.036 * warp[:, 1:2] * np.sin(5 * x + phase[:, 1:])
    x, y = x + wave_x, y + wave_y
    x, y = 0.84 * x * np.exp(0.14 * warp[:, 2:3]), y + 0.1 * warp[:, 3:4] * (y**2 - 0.08)
    x = x - 0.19 * warp[:, 4:5] * y
    turn = 0.09 * warp[:, 5:6]
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return np.stack([x, y], axis=-1), bank.joined[choice]


def _ink(random: KeyedRandom, points: Floats, joined: Floats) -> npt.NDArray[np.uint8]:
    """Curves [n, P, 2] to scanned digits [n, 8, 8] with levels 0 to 16.

    A pen of radius r leaves sum_p w_p exp(-|z - p|^2 / 2 r^2) at z, w_p the length of curve that p stands for. The sum
    is separable in x and y, so a whole chunk is one batched matrix product.
    """
    radius = (1.65 * np.exp(0.2 * random.normal("pen")[:, None])).astype(np.float32)
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    middle, size = (low + high) / 2, np.maximum(high - low, 1e-3)
    room = _GRID - 2.6 * radius
    scale = room / size[:, 0, 1:]
    shrink = np.minimum(scale, room / size[:, 0, :1])
    place = (random.uniform("place")[:, None].astype(np.float32) - 0.5) * np.float32(3.0)
    x = (points[..., 0] - middle[..., 0]) * shrink + _GRID / 2 + place
    y = (points[..., 1] - middle[..., 1]) * scale + _GRID / 2

    steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1)) * joined / 2
    length = np.pad(steps, ((0, 0), (0, 1))) + np.pad(steps, ((0, 0), (1, 0)))
    grid = np.arange(_GRID, dtype=np.float32) + np.float32(0.5)
    # Scanning stretches a narrow digit, and its pen with it: a "one" comes out bold.
    bold = radius * np.clip(0.45 * size[:, 0, 1:] / size[:, 0, :1], 1, 1.8)
    across = np.exp(-0.5 * ((x[..., None] - grid) / bold[..., None]) ** 2)
    down = np.exp(-0.5 * ((y[..., None] - grid) / radius[..., None]) ** 2)
    weight = length / (radius * np.float32(np.sqrt(2 * np.pi)))
    trace = (down * weight[..., None]).transpose(0, 2, 1) @ across
    inked = np.clip((trace - 0.25) / 0.35, 0, 1)
    blocks = inked.reshape(len(x), 8, 4, 8, 4).sum(axis=(2, 4))
    levels: npt.NDArray[np.uint8] = np.rint(blocks).astype(np.uint8)
    return levels


def training_set() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[str]]:
    """What the demo's models are trained on: images uint8 [n, 1, 16, 16], labels int64 [n], and the classes' names."""
    images, labels = draw(12_000, seed=0)
    return images, labels, list(CLASSES)


def draw(count: int, seed: int, resolution: int = 16) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw `count` digits, as nearly equal in number per class as can be.

    Args:
        count: how many. Drawing i shows the digit i mod 10 and depends on (seed, i) alone, so that fewer drawings are
            the first ones of more.
        seed: 0 <= seed < 2**32.
        resolution: side R in pixels; the 8 x 8 drawing is resized by bicubic interpolation, as the private digits are.

    Returns:
        Images uint8 [count, 1, R, R], white ink on black, and labels int64 [count].
    """
    import torch
    import torch.nn.functional as functional

    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.empty((count, 1, resolution, resolution), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        these = slice(start, min(start + _CHUNK, count))
        random = KeyedRandom(seed, 0, np.arange(these.start, these.stop))
        levels = _ink(random, *_curves(random, labels[these]))
        pixels = torch.from_numpy(np.rint(levels[:, None] * (255 / 16)).astype(np.uint8))
        if resolution != pixels.shape[-1]:
            size = (resolution, resolution)
            pixels = functional.interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=True)
        images[these] = pixels.numpy()
    return images, labels
