"""The union of the views of several methods: which pictures to make, each once, so that every method has its own.

Views are keyed by (seed, step, example) and by what they are, not by the method that asks for them. So with one seed

- base views T(x) with the same transforms are the same for every method; those of fewer are the first of those of more.
  (Not of a person with several images: which of them a view shows depends on K_BASE.)
- images of D are the same for methods with the same K_DIFF that draw from the same set. Another K_DIFF draws others.
- the j-th mixture of two methods is the same picture where both mix the same two members of S, with the same α. Methods
  with the same S have all of them in common, up to the smaller K_SELF; others by chance, or where S has the same size.
- an unmixed copy is the member of S that it copies.

`ViewUnion` says this for some methods. It is computed from their settings alone; `dpmix.views.union_views` makes the
pictures. Importing this module loads no torch.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from dpmix.views.mixtures import pairs_of
from dpmix.views.settings import ViewSettings


@dataclass(frozen=True)
class Wanted:
    """The views of one method.

    Attributes:
        settings: what they are made of; without microbatches.
        source: names the set that k_diff images are drawn from; methods with equal names draw from the same one.
    """

    settings: ViewSettings
    source: Hashable = None

    @property
    def base(self) -> ViewSettings | None:
        """The settings of its base views alone, without their number; None if it has none."""
        s = self.settings
        if not s.k_base:
            return None
        return ViewSettings(k_base=1, transforms=s.transforms, padding=s.padding).canonical()

    @property
    def synthetic(self) -> tuple[Hashable, ViewSettings] | None:
        """The set and the settings of its images of D; None if it has none."""
        s = self.settings
        if not s.k_diff:
            return None
        own = {"transforms": s.transforms, "padding": s.padding, "augment_synthetic": s.augment_synthetic}
        return self.source, ViewSettings(k_base=0, k_diff=s.k_diff, **own).canonical()  # type: ignore[arg-type]

    @property
    def kind(self) -> tuple[str, float] | None:
        """What else makes its mixtures than the pairs; None if it has no mixtures that have to be made."""
        s = self.settings
        return (s.mixing, s.alpha) if s.k_self and s.mixing != "unmixed" else None


@dataclass(frozen=True)
class ViewUnion:
    """The union of the views of some methods.

    Of each example it has the same number of plain views, `columns`: base views, then images of D. Mixtures come after
    these, and their number may differ from example to example.

    Attributes:
        wanted: the methods.
        by_person: whether an example is a person with several images.
        bases: the settings of each group of base views, with k_base views.
        synthetics: of each group of k_diff images of D: its set, and its settings.
        members: of each method, the columns of S, in the order of its views.
    """

    wanted: tuple[Wanted, ...]
    by_person: bool
    bases: tuple[ViewSettings, ...]
    synthetics: tuple[tuple[Hashable, ViewSettings], ...]
    members: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, wanted: Sequence[Wanted], *, by_person: bool = False) -> "ViewUnion":
        """The union of these methods' views.

        Raises:
            ValueError: for microbatches, whose views are of two examples.

        >>> plain, mixed = Wanted(ViewSettings(k_base=16)), Wanted(ViewSettings(k_base=16, k_self=16))
        >>> ViewUnion.of([plain, mixed]).views
        32.0
        """
        if any(one.settings.microbatch_size > 1 for one in wanted):
            raise ValueError("the views of a microbatch are of two examples; train each such method by itself")
        counts: dict[tuple[ViewSettings, int], int] = {}
        for one in wanted:
            if one.base:
                key = _base_key(one, by_person)
                counts[key] = max(counts.get(key, 0), one.settings.k_base)
        bases = [_with_views(settings, count) for (settings, _), count in counts.items()]
        synthetics = list(dict.fromkeys(one.synthetic for one in wanted if one.synthetic))
        ends = np.cumsum([0, *(s.k_base for s in bases), *(s.k_diff for _, s in synthetics)]).tolist()
        starts_of_base = dict(zip(counts, ends, strict=False))
        starts_of_synthetic = dict(zip(synthetics, ends[len(bases) :], strict=False))
        members = []
        for one in wanted:
            start = starts_of_base[_base_key(one, by_person)] if one.base else 0
            columns = list(range(start, start + one.settings.k_base))
            if one.synthetic:
                start = starts_of_synthetic[one.synthetic]
                columns += range(start, start + one.settings.k_diff)
            members.append(tuple(columns))
        return cls(tuple(wanted), by_person, tuple(bases), tuple(synthetics), tuple(members))

    @property
    def columns(self) -> int:
        """The number of plain views of each example."""
        return sum(s.k_base for s in self.bases) + sum(s.k_diff for _, s in self.synthetics)

    @cached_property
    def kinds(self) -> dict[tuple[str, float], list[int]]:
        """The methods with mixtures, by their kind: within one, equal pairs of columns are equal pictures."""
        found: dict[tuple[str, float], list[int]] = {}
        for index, one in enumerate(self.wanted):
            if one.kind:
                found.setdefault(one.kind, []).append(index)
        return found

    @property
    def views(self) -> float:
        """The expected number of different views of one example, exactly but for float64's rounding."""
        mixtures = 0.0
        for methods in self.kinds.values():
            for place in range(max(self.wanted[index].settings.k_self for index in methods)):
                mixtures += _distinct_pairs(
                    tuple(
                        sorted({
                            (self.members[index], self.wanted[index].settings.pairs)
                            for index in methods
                            if self.wanted[index].settings.k_self > place
                        })
                    )
                )  # fmt: skip
        return self.columns + mixtures


def distinct(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of some mixtures have to be made, and where each one's picture is then.

    Args:
        codes: int64 of any shape, equal for equal pictures.

    Returns:
        int64 [u], the flat index of one of each picture; and int64 of the shape of `codes`, which of these each is.
    """
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return first, which.reshape(codes.shape)


def _base_key(one: Wanted, by_person: bool) -> tuple[ViewSettings, int]:
    base = one.base
    assert base is not None
    return base, one.settings.k_base if by_person else 0


def _with_views(base: ViewSettings, k_base: int) -> ViewSettings:
    return ViewSettings(k_base=k_base, transforms=base.transforms, padding=base.padding)


@lru_cache(maxsize=4096)
def _distinct_pairs(mixing: tuple[tuple[tuple[int, ...], str], ...]) -> float:
    """How many different pairs of columns some methods draw on average from the same two uniform numbers.

    Which pair a method draws is constant on rectangles of the unit square, so the mean is a finite sum.
    """
    if len(mixing) == 1:
        return 1.0
    ends = [np.unique(np.concatenate([np.arange(n + 1) / n for n in _parts(mixing, axis)])) for axis in range(2)]
    first, second = ((each[1:] + each[:-1]) / 2 for each in ends)
    codes = []
    for columns, pairs in mixing:
        settings = ViewSettings(k_base=len(columns), k_self=1, pairs=pairs)  # type: ignore[arg-type]
        drawn = np.array(columns)[pairs_of(first[:, None], second[None, :], len(columns), settings)]
        codes.append(drawn[..., 0] << 32 | drawn[..., 1])
    ranked = np.sort(codes, axis=0)
    count = 1 + (ranked[1:] != ranked[:-1]).sum(axis=0)
    return float((count * np.outer(np.diff(ends[0]), np.diff(ends[1]))).sum())


def _parts(mixing: tuple[tuple[tuple[int, ...], str], ...], axis: int) -> list[int]:
    """Into how many equal parts each method cuts the first or second uniform number."""
    return [len(columns) - (axis if pairs == "distinct" else 0) for columns, pairs in mixing]
