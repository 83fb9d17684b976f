"""How a parameter is declared: once, as a pydantic field, with everything that is known about it.

    padding: Annotated[int, Field(ge=0, description="…"), Declared(unit="pixels", unless="nothing is cropped")] = 0

Its type, bounds, default and description are pydantic's; `Declared` has what pydantic does not know. The schema of
`params.yaml`, the hash of a run, the keys of what runs share, and docs/params.md are derived from these.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.fields import FieldInfo

from dpmix.errors import DataError
from dpmix.files import read_json

PositiveInt = Annotated[int, Field(gt=0)]

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _plain(value: float) -> float:
    """A whole number as an int, so that 2 and 2.0 are one setting."""
    return int(value) if value == int(value) else value


Passes = Annotated[PositiveFloat, AfterValidator(_plain), PlainSerializer(_plain, return_type=Any)]

T = TypeVar("T")

# A list of at least one entry.
Some = Annotated[tuple[T, ...], Field(min_length=1)]


def _line(text: str) -> str:
    """The text in one line, as what YAML folds may end in a line break."""
    line = " ".join(text.split())
    if not line.isprintable():
        raise ValueError(f"{line!r} has characters that cannot be printed; remove them")
    return line


# Text that is shown in one line: white space is collapsed.
Line = Annotated[str, AfterValidator(_line)]


def _as_shown(text: str) -> str:
    if not text or text != _line(text):
        raise ValueError("a label is not empty, and has single spaces between its words; rename it")
    return text


# A label that is a key.
LabelKey = Annotated[str, AfterValidator(_as_shown)]

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a seed is listed twice, which would count one run twice; remove one")
    return values


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]


@dataclass(frozen=True)
class Declared:
    """What is known about a parameter besides its type, bounds, default and description.

    Attributes:
        unit: what a number counts or measures, such as pixels; empty if it has no unit.
        determines: whether another value gives another result; if not, it is part of no hash.
        unless: the exception to `determines`, as a clause: `nothing is cropped`. A setting of a run that has no effect
            in this case is hashed with its default value.
        added: whether it was added after the first results. Its default value is then left out of hashes, so that
            earlier results keep their paths.
        of_head: whether heads that are trained at the same time on the same samples may differ in it. They may also
            differ in what determines views.
        view: its name in `dpmix.views.settings.ViewSettings`, if it determines the views of an example.
    """

    unit: str = ""
    determines: bool = True
    unless: str = ""
    added: bool = False
    of_head: bool = False
    view: str = ""


class Spec(BaseModel):
    """A frozen pydantic model that refuses unknown fields, and takes a number for a text as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @classmethod
    def from_file(cls, path: Path, remedy: str) -> Self:
        """What a JSON file holds of this kind.

        Args:
            path: the file.
            remedy: what to do if it is damaged, for the message.

        Raises:
            DataError: if it is missing, cannot be read, is not valid JSON or holds something else.
        """
        try:
            return cls.model_validate(read_json(path, remedy))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise DataError(f"{path} is damaged{f' at {where}' if where else ''}; {remedy}") from error


def declared(field: FieldInfo) -> Declared:
    """The declaration of a field of a `Spec`; a field without one determines the result.

    >>> class Crop(Spec):
    ...     padding: Annotated[int, Declared(unit="pixels")] = 0
    >>> declared(Crop.model_fields["padding"]).unit
    'pixels'
    """
    return next((one for one in field.metadata if isinstance(one, Declared)), Declared())


def undetermining(spec: Spec) -> dict[str, Any]:
    """The fields to leave out of a hash, at any depth, in the form of pydantic's argument `exclude`.

    These are all fields that do not determine the result, and all added fields that have their default value.

    >>> class Net(Spec):
    ...     label: Annotated[str, Declared(determines=False)]
    ...     depth: int
    ...     stride: Annotated[int, Declared(added=True)] = 1
    >>> class Run(Spec):
    ...     net: Net
    >>> undetermining(Run(net=Net(label="A net", depth=3)))
    {'net': {'label': True, 'stride': True}}
    """
    never, added, fields = _left_out(type(spec))
    values = spec.__dict__
    found: dict[str, Any] = dict.fromkeys(never, True)
    found |= {name: True for name, default in added.items() if values[name] == default}
    for name in fields:
        if isinstance(values[name], Spec) and name not in found and (inside := undetermining(values[name])):
            found[name] = inside
    return found


# Cached, because a catalogue calls it thousands of times for each class.
@cache
def _left_out(kind: type[Spec]) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """The fields of a kind that never determine a result, the added ones with their defaults, and all."""
    said = {name: (declared(field), field.default) for name, field in kind.model_fields.items()}
    never = tuple(name for name, (one, _) in said.items() if not one.determines)
    return never, {name: default for name, (one, default) in said.items() if one.added and one.determines}, tuple(said)
