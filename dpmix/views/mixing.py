"""Algorithm 1 up to the gradient: makes of one private example the views S and S' with soft labels.

S holds K_base draws of T(x) and K_diff images drawn from the synthetic set D; S' holds K_self mixtures

    lambda a + (1 - lambda) b,  lambda ~ Beta(alpha, alpha),                                            (Eq. 3)

of pairs from S, with the same lambda for images and labels. Section 3.1 remarks that CutMix may take mixup's place:
then a box of b, of area 1 - lambda, is pasted into a, and the label's lambda is the share of pixels that a keeps. The
program that was released mixes a with itself, which leaves it as it is, and its label with that of b (`unmixed`). No
other private example enters the views of one: that is why clipping their mean gradient bounds the sensitivity by C.

Microbatches (section 3, Table 1) are the exception that the paper argues against: their views come from two private
examples, so the sensitivity is 2 C, which `dpmix.privacy.plan` accounts for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmix.data.images import Images, check_alike
from dpmix.random import KeyedRandom
from dpmix.views.augmentation import augment
from dpmix.views.mixtures import draw_pairs, draw_weights, mode_of
from dpmix.views.settings import ViewSettings


@dataclass(frozen=True)
class Views:
    """S and S' of n examples.

    Attributes:
        images: float32 [n, K, C, R, R] in [0, 1].
        targets: float32 [n, K, classes], rows sum to 1.
        weights: float32 [n, K_self], the lambda of each mixture (empty when nothing is mixed); with CutMix, the exact
            share of pixels that come from the pair's first member.
        pairs: int64 [n, K_self, 2], the two members of S in each mixture.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    pairs: Tensor


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    """Integer labels [...] to float32 [..., classes], 1 at the label and 0 elsewhere."""
    return torch.nn.functional.one_hot(torch.as_tensor(np.ascontiguousarray(labels, dtype=np.int64)), classes).float()


def make_views(
    private: Images,
    indices: Sequence[int] | np.ndarray,
    settings: ViewSettings,
    random: KeyedRandom,
    synthetic: Images | None = None,
    device: torch.device | str = "cpu",
) -> Views:
    """S and S' of some private examples (Algorithm 1, up to the gradient).

    Args:
        private: the private training set.
        indices: int64 [n], which of its examples; or int64 [n, k_base], which image each base view shows, as
            `dpmix.views.person_views` chooses them.
        settings: what the views are made of.
        random: draws keyed by these n examples, in the order of `indices`.
        synthetic: D; needed if k_diff > 0.
        device: where the views are made.

    Returns:
        K = k_base + k_diff + k_self views of each example, in this order, with soft labels.

    Raises:
        ValueError: if k_diff > 0 and there is no D, or D has fewer than k_diff images.
        DataError: if k_diff > 0 and D has other classes, another order of them, or images of another shape.

    >>> private = Images(np.zeros((10, 1, 8, 8), dtype=np.uint8), np.arange(10) % 2, ("no", "yes"))
    >>> views = make_views(private, [3, 7], ViewSettings(k_base=2, k_self=4), KeyedRandom(0, 0, [3, 7]))
    >>> views.images.shape, views.targets[0, -1]  # both members of a mixture show the class of example 3
    (torch.Size([2, 6, 1, 8, 8]), tensor([0., 1.]))
    """
    parts, labels = [], []
    if settings.k_base:
        images, own = base_views(private, indices, settings, random, device)
        parts.append(images)
        labels.append(own)
    if settings.k_diff:
        images, drawn = synthetic_views(private, settings, random, synthetic, device)
        parts.append(images)
        labels.append(drawn)
    images, targets = torch.cat(parts, dim=1), moved(torch.cat(labels, dim=1), device)
    weights = torch.zeros(len(random.examples), settings.k_self)
    pairs = torch.zeros(*weights.shape, 2, dtype=torch.int64)
    if settings.k_self:
        pairs = torch.from_numpy(draw_pairs(random, images.shape[1], settings))
        mixed_images, mixed_targets, weights = _mixtures(images, targets, pairs, settings, random, "lambda")
        images = torch.cat([images, mixed_images], dim=1)
        targets = torch.cat([targets, mixed_targets], dim=1)
    return Views(images, targets, weights, pairs)


def base_views(
    private: Images,
    indices: Sequence[int] | np.ndarray,
    settings: ViewSettings,
    random: KeyedRandom,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The K_base views T(x) of some private examples, and their labels; see `make_views`.

    Those of a smaller k_base are the first of those of a larger one.

    Returns:
        float32 [n, k_base, C, R, R] on the device, and float32 [n, k_base, classes] on the CPU.
    """
    indices = np.asarray(indices, dtype=np.int64)
    views = augment(
        _gather(private, indices, device), settings.k_base, settings.transforms, random, "base",
        padding=settings.padding,
    )  # fmt: skip
    own = one_hot(private.labels[indices], private.num_classes)
    return views, own if indices.ndim == 2 else own[:, None].expand(-1, settings.k_base, -1)


def synthetic_views(
    private: Images,
    settings: ViewSettings,
    random: KeyedRandom,
    synthetic: Images | None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The K_diff views of each example that are images of D, and their labels; see `make_views`.

    With another k_diff, other images are drawn.

    Returns:
        float32 [n, k_diff, C, R, R] on the device, and float32 [n, k_diff, classes] on the CPU.

    Raises:
        ValueError: if there is no D, or D has fewer than k_diff images.
        DataError: if D has other classes, another order of them, or images of another shape.
    """
    if synthetic is None or len(synthetic) < settings.k_diff:
        raise ValueError(f"k_diff = {settings.k_diff} needs a synthetic set D of at least that many images; give one")
    check_alike(private, synthetic)
    chosen = chosen_synthetic(random, len(synthetic), settings.k_diff)
    views = _of_synthetic(synthetic, chosen, settings, random, device)
    return views, one_hot(synthetic.labels[chosen], private.num_classes)


def chosen_synthetic(random: KeyedRandom, population: int, k_diff: int) -> np.ndarray:
    """Which k_diff images of D each example is mixed with, different ones, int64 [n, k_diff].

    Args:
        random: draws keyed by the n examples.
        population: |D|.
        k_diff: how many.
    """
    return _without_replacement(random, "diff", population, k_diff)


def mix(members: Tensor, pairs: Tensor, weights: Tensor) -> Tensor:
    """Mixup (Eq. 3): lambda a + (1 - lambda) b for pairs (a, b) of each example's own members.

    Args:
        members: [n, |S|, ...], images or soft labels.
        pairs: int64 [n, m, 2], places in S.
        weights: [n, m], the lambda of each pair.

    Returns:
        The mixtures, [n, m, ...].

    >>> mix(torch.tensor([[0.0, 10.0]]), pairs=torch.tensor([[[0, 1]]]), weights=torch.tensor([[0.25]]))
    tensor([[7.5000]])
    """
    pairs = pairs.to(members.device)
    rows = torch.arange(len(members), device=members.device)[:, None]
    scale = weights.to(members).view(*weights.shape, *[1] * (members.dim() - 2))
    return torch.lerp(members[rows, pairs[..., 1]], members[rows, pairs[..., 0]], scale)


def cut(members: Tensor, pairs: Tensor, boxes: Tensor) -> Tensor:
    """CutMix: a with the pixels of b inside a box, for pairs (a, b) of each example's own members.

    Args:
        members: images [n, |S|, C, H, W].
        pairs: int64 [n, m, 2], places in S.
        boxes: int64 [n, m, 4]: top, bottom, left and right of each box in pixels, bottom and right excluded.

    Returns:
        The mixtures, [n, m, C, H, W].
    """
    pairs, boxes = pairs.to(members.device), boxes.to(members.device)
    examples = torch.arange(len(members), device=members.device)[:, None]
    row = torch.arange(members.shape[-2], device=members.device)
    column = torch.arange(members.shape[-1], device=members.device)
    top, bottom, left, right = boxes[..., None].unbind(dim=2)
    in_rows, in_columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    inside = (in_rows[..., :, None] & in_columns[..., None, :])[:, :, None]
    return torch.where(inside, members[examples, pairs[..., 1]], members[examples, pairs[..., 0]])


def _mixtures(
    images: Tensor, targets: Tensor, pairs: Tensor, settings: ViewSettings, random: KeyedRandom, stream: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixtures (or unmixed copies), their soft labels and their weights, which are drawn from Beta(alpha, alpha).

    Args:
        images: float32 [n, |S|, C, H, W].
        targets: float32 [n, |S|, classes].
        pairs: int64 [n, m, 2], places in S.
        settings: `mixing` and `alpha`.
        random: draws keyed by the n examples.
        stream: the purpose of the draws.

    Returns:
        [n, m, C, H, W], [n, m, classes], and float32 [n, m], the weight of each pair's first member.
    """
    size = (images.shape[-2], images.shape[-1])
    drawn, boxes = draw_weights(random, stream, pairs.shape[1], settings, size)
    weights = torch.from_numpy(drawn)
    return mixed(images, pairs, weights, boxes, settings), mix(targets, pairs, weights), weights


def mixed(images: Tensor, pairs: Tensor, weights: Tensor, boxes: np.ndarray | None, settings: ViewSettings) -> Tensor:
    """The images of mixtures (`dpmix.views.mixing_modes`).

    Args:
        images: float32 [n, |S|, C, H, W].
        pairs: int64 [n, m, 2], places in S.
        weights: float32 [n, m].
        boxes: int64 [n, m, 4], with CutMix.
        settings: `mixing`.

    Returns:
        float32 [n, m, C, H, W].
    """
    return mode_of(settings).images(images, pairs, weights, None if boxes is None else torch.from_numpy(boxes))


def make_microbatch_views(
    private: Images,
    units: np.ndarray,
    settings: ViewSettings,
    seed: int,
    step: int,
    device: torch.device | str = "cpu",
) -> Views:
    """The views of n microbatches (Table 1), each of which is clipped as one.

    Each slot of a microbatch has the augmented views of its example. With `microbatch_mixup`, view k of the first
    example is mixed with view k of the second; the mixtures join the other views (`added`) or replace them (`alone`).

    Args:
        private: the private training set.
        units: int64 [n, size], indices of examples; -1 marks an empty slot. Its views are black and their targets zero,
            so that loss and gradient are zero: a microbatch that lost a record keeps its size.
        settings: of the views; k_diff and k_self are 0.
        seed: the run's seed.
        step: the step, from 0.
        device: where the views are made.
    """
    n, size = units.shape
    flat = units.reshape(-1)
    present = torch.from_numpy((flat >= 0).astype(np.float32)).to(device)
    safe = np.where(flat >= 0, flat, 0)
    single = ViewSettings(k_base=settings.k_base, transforms=settings.transforms, padding=settings.padding)
    made = make_views(private, safe, single, KeyedRandom(seed, step, safe), device=device)
    k = settings.k_base
    # An empty slot was read as record 0, which belongs to another microbatch; it must have no effect here.
    blanked = made.images * present.view(-1, 1, 1, 1, 1)
    images = blanked.view(n, size, k, *made.images.shape[2:])
    targets = (made.targets * present[:, None, None]).view(n, size, k, private.num_classes)
    weights = torch.zeros(n, 0)
    pairs = torch.zeros(n, 0, 2, dtype=torch.int64)
    flat_images, flat_targets = images.flatten(1, 2), targets.flatten(1, 2)
    if settings.microbatch_mixup != "none":
        unit_random = KeyedRandom(seed, step, np.arange(n) if n == 0 else units.max(axis=1))
        first = torch.arange(k)
        pairs = torch.stack([first, first + k], dim=-1).expand(n, -1, -1)
        # A lone example has no partner: it is mixed with itself.
        whole = torch.from_numpy((units >= 0).all(axis=1))
        lone = torch.from_numpy(np.where(units[:, 0] >= 0, 0, 1))[:, None, None] * k
        pairs = torch.where(whole[:, None, None], pairs, first[None, :, None] + lone)
        mixed_images, mixed_targets, weights = _mixtures(
            flat_images, flat_targets, pairs, settings, unit_random, "microbatch"
        )
        if settings.microbatch_mixup == "alone":
            return Views(mixed_images, mixed_targets, weights, pairs)
        flat_images = torch.cat([flat_images, mixed_images], dim=1)
        flat_targets = torch.cat([flat_targets, mixed_targets], dim=1)
    return Views(flat_images, flat_targets, weights, pairs)


def _gather(images: Images, indices: np.ndarray, device: torch.device | str) -> Tensor:
    # Fancy indexing copies, so the tensor does not share memory with the read-only store.
    return moved(torch.from_numpy(images.images[indices]), device)


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """On the device: to a GPU from pinned memory, so that views are made while it still computes."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _of_synthetic(
    synthetic: Images, chosen: np.ndarray, settings: ViewSettings, random: KeyedRandom, device: torch.device | str
) -> Tensor:
    n, count = chosen.shape
    drawn = _gather(synthetic, chosen.reshape(-1), device)
    if not settings.augment_synthetic:
        return (drawn.float() / 255).view(n, count, *drawn.shape[1:])
    drawn = drawn.view(n, count, *drawn.shape[1:])
    return augment(drawn, count, settings.transforms, random, "diff", padding=settings.padding)


def _without_replacement(random: KeyedRandom, stream: str, population: int, count: int) -> np.ndarray:
    """`count` different integers below `population` for each example, int64 [n, count] (Floyd's algorithm)."""
    uniform = random.uniform(stream, count)
    chosen = np.empty(uniform.shape, dtype=np.int64)
    for slot, top in enumerate(range(population - count, population)):
        candidate = np.minimum((uniform[:, slot] * (top + 1)).astype(np.int64), top)
        taken = (chosen[:, :slot] == candidate[:, None]).any(axis=1)
        chosen[:, slot] = np.where(taken, top, candidate)
    return chosen
