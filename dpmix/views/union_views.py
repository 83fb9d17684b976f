"""Makes the union of the views of several methods (`dpmix.views.union`), each picture once.

What a method takes out of it is, to the last bit, what `make_views` makes for it alone.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpmix.data.images import Images
from dpmix.data.persons import Persons
from dpmix.random import KeyedRandom
from dpmix.views.finite import pictures, which_pictures
from dpmix.views.mixing import base_views, chosen_synthetic, mix, mixed, moved, synthetic_views
from dpmix.views.mixtures import draw_pairs, draw_weights
from dpmix.views.person_views import choose_places
from dpmix.views.settings import ViewSettings
from dpmix.views.union import ViewUnion, distinct

# How many mixtures are made at a time, which bounds the memory for their pixels.
_AT_ONCE = 1024


@dataclass(frozen=True)
class UnionViews:
    """The union of the views of n examples.

    Attributes:
        parts: float32 [m, C, R, R] in [0, 1], the pictures in parts; made when they are asked for, and once.
        rows: of each method, int64 [n, K] on the device: which picture each of its views is, in the order of `parts`.
        targets: of each method, float32 [n, K, classes] on the device; rows sum to 1.
    """

    parts: Iterator[Tensor]
    rows: list[Tensor]
    targets: list[Tensor]


def make_union_views(
    private: Images,
    units: npt.NDArray[np.int64],
    union: ViewUnion,
    random: KeyedRandom,
    sources: Mapping[Hashable, Images | None],
    device: torch.device | str = "cpu",
    persons: Persons | None = None,
) -> UnionViews:
    """The union of the views of some examples.

    Args:
        private: the private training set.
        units: int64 [n], which of its examples; or which persons, each of whom has an image.
        union: of the methods' views.
        random: draws keyed by these n examples or persons.
        sources: the sets that images of D are drawn from, by the names that `union` has for them.
        device: where the views are made.
        persons: who has which of the images, if `union` is by person.

    Raises:
        ValueError: as `make_views` does, or if `union` is by person and `persons` are not given.
        DataError: as `make_views` does.
    """
    if union.by_person != (persons is not None):
        raise ValueError("views by person need the persons; give them, and no others")
    groups = []
    for settings in union.bases:
        shown = units
        if persons is not None:
            shown = persons.images(units, choose_places(persons.counts(units), settings.k_base, random))
        groups.append(base_views(private, shown, settings, random, device))
    groups += [synthetic_views(private, settings, random, sources[name], device) for name, settings in union.synthetics]
    plain = torch.cat([images for images, _ in groups], dim=1)
    labels = torch.cat([one for _, one in groups], dim=1)
    flat = plain.flatten(0, 1)
    count, size = len(flat), (plain.shape[-2], plain.shape[-1])
    start = np.arange(len(units))[:, None] * union.columns
    rows = [start + np.array(members) for members in union.members]
    targets = [labels[:, list(members)] for members in union.members]
    parts = [iter([flat])]
    for index, one in enumerate(union.wanted):
        if one.settings.k_self:
            members, s = np.array(union.members[index]), one.settings
            pairs = draw_pairs(random, len(members), s)
            weights, _ = draw_weights(random, "lambda", s.k_self, s, size)
            drawn = mix(targets[index], torch.from_numpy(pairs), torch.from_numpy(weights))
            targets[index] = torch.cat([targets[index], drawn], dim=1)
            if not one.kind:
                rows[index] = np.concatenate([rows[index], start + members[pairs[..., 0]]], axis=1)
    for methods in union.kinds.values():
        pictures = _Mixtures(union, methods, random, start, size)
        for index, which in pictures.which.items():
            rows[index] = np.concatenate([rows[index], count + which], axis=1)
        parts.append(pictures.made(flat))
        count += len(pictures.pairs)
    return UnionViews(
        (part for several in parts for part in several),
        [moved(torch.from_numpy(one), device) for one in rows],
        [moved(one, device) for one in targets],
    )


def plain_pictures(
    units: npt.NDArray[np.int64], union: ViewUnion, random: KeyedRandom, sources: Mapping[Hashable, Images | None]
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Which picture each plain view of a union is, of groups of base views, then of images of D.

    Args:
        units: int64 [n], as `make_union_views` takes them; no persons.
        union: of the methods' views.
        random: draws keyed by these n examples.
        sources: the sets that images of D are drawn from.

    Returns:
        Of each group int64 [n, K]: which image of its set each view is of, and which of that image's pictures
        (`dpmix.views.finite`); where an image has no end of them, -1.
    """
    found = []
    for settings in union.bases:
        shown = np.broadcast_to(np.asarray(units)[:, None], (len(units), settings.k_base))
        found.append((shown, _which(random, "base", settings.k_base, settings)))
    for name, settings in union.synthetics:
        source = sources[name]
        assert source is not None
        chosen = chosen_synthetic(random, len(source), settings.k_diff)
        found.append((chosen, _which(random, "diff", settings.k_diff, settings)))
    return found


def _which(random: KeyedRandom, stream: str, count: int, settings: ViewSettings) -> npt.NDArray[np.int64]:
    if pictures(settings) is None:
        return np.full((len(random.examples), count), -1, dtype=np.int64)
    return which_pictures(random, stream, count, settings)


class _Mixtures:
    """The different mixtures of methods of one kind.

    Attributes:
        which: of each method, int64 [n, k_self], which of these its mixtures are.
        pairs: int64 [u, 2], the two pictures of each, among all plain views of the n examples.
    """

    def __init__(
        self, union: ViewUnion, methods: list[int], random: KeyedRandom, start: np.ndarray, size: tuple[int, int]
    ) -> None:
        settings = [union.wanted[index].settings for index in methods]
        longest = max(settings, key=lambda one: one.k_self)
        self._settings, most = longest, longest.k_self
        weights, boxes = draw_weights(random, "lambda", most, longest, size)
        pairs, places = [], []
        for index, one in zip(methods, settings, strict=True):
            columns = np.array(union.members[index])
            pairs.append(start[..., None] + columns[draw_pairs(random, len(columns), one)])
            places.append(np.arange(len(start))[:, None] * most + np.arange(one.k_self))
        drawn, place = np.concatenate(pairs, axis=1), np.concatenate(places, axis=1)
        total = len(start) * union.columns
        # Equal numbers are the same mixture, the j-th of an example, of the same two pictures.
        codes = (place * total + drawn[..., 0]) * total + drawn[..., 1]
        first, which = distinct(codes) if len(methods) > 1 else (np.arange(codes.size), np.arange(codes.size))
        which = which.reshape(codes.shape)
        ends = np.cumsum([one.k_self for one in settings])[:-1]
        self.which = dict(zip(methods, np.split(which, ends, axis=1), strict=True))
        self.pairs = drawn.reshape(-1, 2)[first]
        place = place.reshape(-1)[first]
        self._weights = weights.reshape(-1)[place]
        self._boxes = None if boxes is None else boxes.reshape(-1, 4)[place]

    def made(self, plain: Tensor) -> Iterator[Tensor]:
        """Their images, some at a time, from all plain views [n · columns, C, R, R]."""
        for first in range(0, len(self.pairs), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            pairs, weights = torch.from_numpy(self.pairs[part])[None], torch.from_numpy(self._weights[part])[None]
            boxes = None if self._boxes is None else self._boxes[part][None]
            yield mixed(plain[None], pairs, weights, boxes, self._settings)[0]
