"""From an entry of `claims.yaml` to the cells that it compares, in a scale's tables or among the paper's numbers."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from dpmix.claims.entries import NAME, Cells, Claim, Part
from dpmix.errors import ParamsError, nearest, suggestion

T = TypeVar("T")
# How alike a label must be to one that is there to be taken for it misspelt.
_SLIP = 0.8
Key = tuple[str, ...]


@dataclass(frozen=True)
class Grid(Generic[T]):
    """A table's cells for comparisons: the names of its axes, the rows' first, and its cells by their labels."""

    axes: Key
    cells: Mapping[Key, T]

    def labels(self, axis: str) -> list[str]:
        """The labels of one axis, in order."""
        at = self.axes.index(axis)
        return list(dict.fromkeys(key[at] for key in self.cells))


@dataclass(frozen=True)
class Pair(Generic[T]):
    """Two cells, of which the claim says that the first is higher.

    Attributes:
        label: what the two have in common, such as `CIFAR-10, ε = 1`.
        higher: the cell that should be higher.
        lower: the cell that should be lower.
        by: for the points of `expects: falling`: what the two values should fall by; else empty.
        names: for such points, what the two are called.
    """

    label: str
    higher: T
    lower: T
    by: tuple[T, ...] = ()
    names: tuple[str, ...] = ()

    def turned(self) -> "Pair[T]":
        """The pair the other way round."""
        return Pair(self.label, self.lower, self.higher, self.by[::-1], self.names[::-1])

    @property
    def place(self) -> str:
        """The label, with the names of points: `CIFAR-10, Self-Aug over +Jitter`."""
        return ", ".join(filter(None, (self.label, " over ".join(self.names))))


@dataclass(frozen=True)
class Contrast(Generic[T]):
    """Pairs over which one part of a claim is averaged.

    Attributes:
        label: what they compare, such as `DP-Mix_Self over Self-Aug`.
        pairs: of cells.
        table: of the higher cells.
        shared: the labels that both sides have.
    """

    label: str
    pairs: tuple[Pair[T], ...]
    table: str = ""
    shared: Key = ()


@dataclass(frozen=True)
class Place(Generic[T]):
    """Where the cells of claims are looked up.

    Attributes:
        scale: by which labels are chosen that a claim gives by scale.
        grid: the grid of a table by its name, or of `figure2`; None for one that is not there.
        tables: the names of all tables that a claim may speak of.
        known: whether a label could be on an axis (table, axis, label). Of labels that are not there, those that are
            known, or like no other, are left out; others are typing errors.
        named: for other names that a claim may give, such as a data set's in the params, the labels they stand for.
    """

    scale: str
    grid: Callable[[str], Grid[T] | None]
    tables: Collection[str]
    known: Callable[[str, str, str], bool]
    named: Mapping[str, str] = field(default_factory=dict)


def contrasts(claim: Claim, place: Place[T]) -> list[Contrast[T]]:
    """What a claim compares there; empty if none of its cells are there.

    Raises:
        ParamsError: for a table, axis or label that does not exist, or sides that do not fit together, in one line.
    """
    found: list[Contrast[T]] = []
    for part in claim.parts:
        if part.points is not None:
            found += _of_points(claim, part, place)
        for higher, lower in part.pairs():
            found += _of_sides(claim, higher, lower, place)
    found = [one for one in found if one.pairs]
    # Whatever of table and shared labels tells the contrasts apart comes first.
    told = [len({one.table for one in found}) > 1, len({one.shared for one in found}) > 1]
    named = []
    for one in found:
        context = ", ".join((*([one.table] if told[0] else []), *(one.shared if told[1] else ())))
        named.append(replace(one, label=": ".join(filter(None, (context, one.label)))))
    return named


def _of_sides(claim: Claim, higher: Cells, lower: Cells, place: Place[T]) -> list[Contrast[T]]:
    """A contrast for each label of every list on an axis for which the other side has one label."""
    sides = [_Side(claim, cells, place) for cells in (higher, lower)]
    if not all(side.there for side in sides):
        return []
    for side, other in (sides, sides[::-1]):
        side.each = [axis for axis in side.lists if axis in other.single]
    made = []
    for first, second in itertools.product(*(side.alternatives() for side in sides)):
        above, below = sides[0].free(first), sides[1].free(second)
        if set(above.axes) != set(below.axes):
            uneven = " and ".join(sorted(set(above.axes) ^ set(below.axes)))
            raise ParamsError(
                f"{NAME}: {claim.id}: {uneven} has a label on one side only; give both sides one, or neither"
            )
        order = [below.axes.index(axis) for axis in above.axes]
        by_key = {tuple(key[at] for at in order): cell for key, cell in below.cells.items()}
        pairs = [Pair(", ".join(key), cell, by_key[key]) for key, cell in above.cells.items() if key in by_key]
        label, shared = _versus(sides[0].words(first), sides[1].words(second), {*first, *second})
        table = f"Table {higher.table}" if higher.table else "Figure 2"
        made.append(Contrast(label, tuple(pairs), table, tuple(shared)))
    return made


def _of_points(claim: Claim, part: Part, place: Place[T]) -> list[Contrast[T]]:
    """One contrast of all pairs of points with the same labels on the free axes."""
    assert part.points is not None
    found: dict[Key, list[tuple[str, T, T]]] = {}
    everywhere = set.intersection(*({(axis, str(label)) for axis, label in p.by.labels.items()} for p in part.points))
    for point in part.points:
        sides = [_Side(claim, cells, place) for cells in (point.value, point.by)]
        if not all(side.there for side in sides):
            continue
        value, by = (side.free({}) for side in sides)
        if value.axes != by.axes:
            uneven = " and ".join(sorted(set(value.axes) ^ set(by.axes))) or "the order of the axes"
            raise ParamsError(
                f"{NAME}: {claim.id}: {uneven} differs between value and by of a point; give both the same free axes"
            )
        for key, cell in value.cells.items():
            if key in by.cells:
                words = [label for axis, label in sides[1].words({}).items() if (axis, label) not in everywhere]
                found.setdefault(key, []).append((", ".join(words), cell, by.cells[key]))
    pairs = [
        Pair(", ".join(key), value, other, (by, other_by), (first, second))
        for key, points in found.items()
        for (first, value, by), (second, other, other_by) in itertools.combinations(points, 2)
    ]
    return [Contrast("the nearer over the farther", tuple(pairs))]


class _Side(Generic[T]):
    """One side of a comparison at one place: its grid, and the labels that are fixed, listed or free."""

    def __init__(self, claim: Claim, cells: Cells, place: Place[T]) -> None:
        self._claim = claim
        name = _table(claim, cells, place)
        grid = place.grid(name)
        self.single: dict[str, str] = {}
        self.lists: dict[str, tuple[str, ...]] = {}
        self.each: list[str] = []
        self.there = grid is not None
        if grid is None:
            return
        self._grid, self.axes = grid, grid.axes
        for axis in cells.labels:
            if axis not in grid.axes:
                raise ParamsError(f"{NAME}: {claim.id}: unknown axis {axis!r} of {_called(name)}; "
                                  f"{suggestion(axis, grid.axes)}")  # fmt: skip
            try:
                choice = cells.choice(axis, place.scale)
            except KeyError:
                self.there = False  # labels by scale, and none for this one
                return
            there = grid.labels(axis)
            given = (choice,) if isinstance(choice, str) else choice or ()
            asked = tuple(label if label in there else place.named.get(label, label) for label in given)
            for label in asked:
                # Params of one's own may have none of the project's data sets; but what is nearly there is a slip.
                if label in there or place.known(name, axis, label):
                    continue
                if nearest(label, there, likeness=_SLIP):
                    raise ParamsError(f"{NAME}: {claim.id}: unknown {axis} {label!r} in {_called(name)} at scale "
                                      f"{place.scale}; {suggestion(label, there)}")  # fmt: skip
            if isinstance(choice, str):
                (self.single[axis],) = asked
            elif choice is not None:
                self.lists[axis] = asked

    def alternatives(self) -> list[dict[str, str]]:
        """For each combination of labels on the axes of `each`, these labels by axis."""
        lists = [[label for label in self.lists[axis] if label in self._grid.labels(axis)] for axis in self.each]
        return [dict(zip(self.each, labels, strict=True)) for labels in itertools.product(*lists)]

    def free(self, chosen: Mapping[str, str]) -> Grid[T]:
        """The cells that have the single labels and the `chosen` ones, by their labels on the other axes."""
        fixed = {**self.single, **chosen}
        left = [at for at, axis in enumerate(self._grid.axes) if axis not in fixed]
        limits = {axis: labels for axis, labels in self.lists.items() if axis not in fixed}
        cells = {}
        for key, cell in self._grid.cells.items():
            here = dict(zip(self._grid.axes, key, strict=True))
            if all(here[axis] == label for axis, label in fixed.items()) and all(
                here[axis] in labels for axis, labels in limits.items()
            ):
                cells[tuple(key[at] for at in left)] = cell
        return Grid(tuple(self._grid.axes[at] for at in left), cells)

    def words(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """The fixed labels by axis, in the order of the axes."""
        fixed = {**self.single, **chosen}
        return {axis: fixed[axis] for axis in self._grid.axes if axis in fixed}


def _versus(higher: Mapping[str, str], lower: Mapping[str, str], told: Collection[str]) -> tuple[str, list[str]]:
    """What two sides differ in, such as `DP-Mix_Self over Self-Aug`, and the labels that they share.

    Labels on the axes `told` are part of the first also where they are the same.
    """
    shared = [axis for axis, label in higher.items() if lower.get(axis) == label and axis not in told]
    above, below = (
        ", ".join(_word(axis, label) for axis, label in side.items() if axis not in shared) for side in (higher, lower)
    )
    return f"{above} over {below}", [_word(axis, higher[axis]) for axis in shared]


def _word(axis: str, label: str) -> str:
    """A label, with its axis where it would say nothing alone."""
    if re.fullmatch(r"[\d.]+", label):
        return f"{axis} = {label}"
    return f"{axis}: {label}" if re.match(r"(Yes|No)\b", label) else label


def _called(name: str) -> str:
    return "figure 2" if name == "figure2" else f"table {name}"


def _table(claim: Claim, cells: Cells, place: Place[T]) -> str:
    """The name of the table that cells are of, or `figure2`."""
    if cells.figure is not None:
        return "figure2"
    name = cells.table or ""
    if name not in place.tables:
        raise ParamsError(f"{NAME}: {claim.id}: unknown table {name!r}; {suggestion(name, place.tables)}")
    return name
