"""The entries of `claims.yaml`: which cells a claim compares, what it expects of them, and where the paper says so."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dpmix.errors import ParamsError, suggestion
from dpmix.params.declared import Line, PositiveFloat, Some, Spec
from dpmix.params.read import load_yaml
from dpmix.wording import should_be

FILE = Path(__file__).with_name("claims.yaml")
NAME = "dpmix/claims/claims.yaml"
"""What messages call the file."""

Label = Annotated[str, Field(min_length=1)]
# One label; several, of which the claim must hold for each, or over which it is averaged; or one of these by scale.
Choice = Label | Some[Label] | dict[str, Label | Some[Label]]

Text = Annotated[Line, Field(min_length=1)]

Expects = Literal["greater", "not-less", "equal", "falling", "same-epsilon"]
"""What a claim expects: see `Claim.expects`."""


def _text(axis: str, label: Any) -> Any:
    """A label, or labels at any depth, with whole numbers as text.

    Raises:
        ValueError: for a word that YAML reads as true or false.
    """
    if isinstance(label, bool):
        raise ValueError(f"the label of {axis!r} is read as {str(label).lower()}; write it in quotes")
    if isinstance(label, list):
        return [_text(axis, one) for one in label]
    if isinstance(label, dict):
        return {scale: _text(axis, one) for scale, one in label.items()}
    return str(label) if isinstance(label, int) else label


class Cells(Spec):
    """Cells of one table, or of Figure 2: those that have all the given labels.

    In YAML it is one mapping, of `table` (or `figure`) and labels by the name of their axis:
    `{ table: "3", Method: DP-Mix_Self, ε: [ε = 1, ε = 2] }`. An axis without a label is free.
    """

    table: str | None = None
    figure: Literal["2"] | None = None
    labels: dict[str, Choice] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "labels" in raw:
            return raw
        own = ("table", "figure")
        labels = {str(axis): _text(str(axis), label) for axis, label in raw.items() if axis not in own}
        return {**{key: _text(key, raw[key]) for key in own if key in raw}, "labels": labels}

    @model_validator(mode="after")
    def _of_one(self) -> "Cells":
        if (self.table is None) == (self.figure is None):
            raise ValueError('cells are of one table, or of figure "2"; name it, such as { table: "3" }')
        return self

    def choice(self, axis: str, scale: str) -> str | tuple[str, ...] | None:
        """The label or labels of an axis at a scale; None if it is free.

        Raises:
            KeyError: if the labels are given by scale, and this scale is not among them.
        """
        given = self.labels.get(axis)
        return given[scale] if isinstance(given, dict) else given


class Point(Spec):
    """One point of a claim that a value falls as another rises: `value` and `by` are cells with the same free axes."""

    value: Cells
    by: Cells


class Part(Spec):
    """One comparison of a claim, in one of three forms.

    - `higher` and `lower`: the first cells have higher values than the second. Cells with the same labels on the free
      axes make a pair. A list on an axis for which the other side has one label means each label of the list.
    - `cells`, `along` and `rising`: on the axis `along`, values rise from each label of `rising` to the next.
    - `points`: a value falls as another rises.
    """

    higher: Cells | None = None
    lower: Cells | None = None
    cells: Cells | None = None
    along: Label | None = None
    rising: Annotated[tuple[Label, ...], Field(min_length=2)] | None = None
    points: Annotated[tuple[Point, ...], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Part":
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if given not in ({"higher", "lower"}, {"cells", "along", "rising"}, {"points"}):
            raise ValueError(
                "a part has higher and lower, or cells, along and rising, or points, and no others; "
                f"it has {', '.join(sorted(given)) or 'none'}"
            )
        return self

    def pairs(self) -> list[tuple[Cells, Cells]]:
        """The (higher, lower) cells of a part in one of the first two forms."""
        if self.higher is not None and self.lower is not None:
            return [(self.higher, self.lower)]
        if self.cells is None or self.along is None or self.rising is None:
            return []
        steps = zip(self.rising[1:], self.rising[:-1], strict=True)
        return [(self._at(above), self._at(below)) for above, below in steps]

    def _at(self, label: str) -> Cells:
        assert self.cells is not None
        assert self.along is not None
        return self.cells.model_copy(update={"labels": {**self.cells.labels, self.along: label}})


class Claim(Spec):
    """One claim of the paper.

    Attributes:
        id: its name: lower-case words joined by hyphens.
        brief: the same in a few words, beside its interval in a picture; without it the id stands there.
        says: the claim in a sentence.
        where: where the paper or the poster makes it.
        expects: of the difference between the higher and the lower cells, averaged over pairs, that it is `greater`
            than 0; `not-less` than -`margin`; or `equal` to 0 within `margin`. `falling`, for parts with points: that
            the value falls as the other rises. `same-epsilon`: that the runs of both cells spent the same ε.
        margin: in the table's unit, of `not-less` and `equal`.
        why: why that margin.
        compare: a `difference` of values, or their `ratio`.
        parts: of which each must hold.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    brief: Annotated[Line, Field(min_length=1, max_length=34)] | None = None
    says: Text
    where: Some[Text]
    expects: Expects
    margin: PositiveFloat | None = None
    why: Text | None = None
    compare: Literal["difference", "ratio"] = "difference"
    parts: Some[Part]

    @model_validator(mode="after")
    def _fits_together(self) -> "Claim":
        bounded = self.expects in ("not-less", "equal")
        if bounded and (self.margin is None or self.why is None):
            raise ValueError(f"expects: {self.expects} needs a margin, and why it is that large; add margin and why")
        if not bounded and (self.margin is not None or self.why is not None):
            raise ValueError(f"expects: {self.expects} has no margin; remove margin and why, or expect not-less")
        if bounded and self.compare == "ratio":
            raise ValueError("a margin is in the table's unit, which a ratio does not have; remove compare or margin")
        if any((part.points is not None) != (self.expects == "falling") for part in self.parts):
            raise ValueError("parts with points go with expects: falling, and no others do; mend one of them")
        return self


def load(path: Path = FILE) -> tuple[Claim, ...]:
    """The claims of a file, in its order.

    Raises:
        ParamsError: for a file that cannot be read, or its first mistake, in one line.
    """
    return _loaded(path, path.stat().st_mtime_ns if path.is_file() else 0)


@cache
def _loaded(path: Path, _changed: int) -> tuple[Claim, ...]:
    raw = load_yaml(path)
    if not isinstance(raw, list) or not raw:
        raise ParamsError(f"{NAME}: expected a list of claims, each with an id; get the project's file back")
    claims: list[Claim] = []
    for number, entry in enumerate(raw, 1):
        name = str(entry["id"]) if isinstance(entry, dict) and isinstance(entry.get("id"), str) else f"entry {number}"
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            raise ParamsError(f"{NAME}: {name}: {_explained(error)}") from error
        if claims[-1].id in {claim.id for claim in claims[:-1]}:
            raise ParamsError(f"{NAME}: {name}: there are two claims of this id; rename one")
    return tuple(claims)


_FORMS: dict[str, type[Spec]] = {"parts": Part, "points": Point}


def _explained(error: ValidationError) -> str:
    """The first mistake of an entry: its place, and what to write instead."""
    errors = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    first = errors[0]
    place = _place(first)
    if first["type"] == "extra_forbidden":
        kind: type[Spec] = Claim
        for part in first["loc"][:-1]:
            kind = _FORMS.get(str(part), kind)
        return f"{place}: unknown key; {suggestion(str(first['loc'][-1]), kind.model_fields)}"
    if first["type"] == "missing":
        return f"{place}: is needed, but not there; add it"
    if first["type"] == "value_error":
        return f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    if first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return f"{place or 'it'}: should be a mapping"
    if first["type"] == "string_pattern_mismatch":
        return f"{place}: should be lower-case words joined by hyphens, not {first['input']!r}"
    if first["type"] in ("too_short", "string_too_short"):
        return f"{place}: should not be empty, or has too few entries; add one"
    return f"{place}: {should_be([one for one in errors if _place(one) == place])}"


def _place(error: Mapping[str, Any]) -> str:
    """The keys that lead to a mistake, without what pydantic adds for the alternatives of a union, such as `str`."""
    return ".".join(str(part) for part in error["loc"] if not set("[]()-") & set(str(part)) and part != "str")
