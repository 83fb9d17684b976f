"""How a parameter is declared: once, as a pydantic field, with all that is known of it.

    padding: Annotated[int, Field(ge=0, description="…"), Declared(unit="pixels", unless="nothing is cropped")] = 0

Its type, bounds, default and description are pydantic's; `Declared` has what pydantic does not know. The schema of
`params.yaml`, the hash of a run, the keys of what runs share, and docs/params.md are derived from these.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

PositiveInt = Annotated[int, Field(gt=0)]

PositiveFloat = Annotated[float, Field(gt=0)]

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a seed is listed twice, which would count one run twice")
    return values


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]


@dataclass(frozen=True)
class Declared:
    """What is said of a parameter beside its type, bounds, default and description.

    Attributes:
        unit: what a number counts or measures, such as pixels; empty where it has no unit.
        determines: whether another value makes another result. What does not is in no hash.
        unless: when that is otherwise, as a clause: `nothing is cropped`. A setting of a run that then makes no
            difference is at its default in the hash.
        added: whether it came after the first results. At its default it is left out of the hash, so that what was
            made before keeps its path.
        of_head: whether heads that are trained on the same views at the same time may differ in it.
        view: what `dpmix.views.settings.ViewSettings` calls it, if the views of an example are made by it.
    """

    unit: str = ""
    determines: bool = True
    unless: str = ""
    added: bool = False
    of_head: bool = False
    view: str = ""


class Spec(BaseModel):
    """A frozen pydantic model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def declared(field: FieldInfo) -> Declared:
    """What is said of a field of a `Spec`; of one that says nothing, that it determines the result.

    >>> class Crop(Spec):
    ...     padding: Annotated[int, Declared(unit="pixels")] = 0
    >>> declared(Crop.model_fields["padding"]).unit
    'pixels'
    """
    return next((one for one in field.metadata if isinstance(one, Declared)), Declared())


def undetermining(spec: Spec) -> dict[str, Any]:
    """What of a value makes no other result, at any depth, in the form that pydantic's `exclude` takes.

    That is every field that does not determine the result, and every added one that is at its default.

    >>> class Net(Spec):
    ...     label: Annotated[str, Declared(determines=False)]
    ...     depth: int
    ...     stride: Annotated[int, Declared(added=True)] = 1
    >>> class Run(Spec):
    ...     net: Net
    >>> undetermining(Run(net=Net(label="A net", depth=3)))
    {'net': {'label': True, 'stride': True}}
    """
    never, added = _left_out(type(spec))
    values = spec.__dict__
    found: dict[str, Any] = dict.fromkeys(never, True)
    found |= {name: True for name, default in added.items() if values[name] == default}
    for name in type(spec).model_fields.keys() - found.keys():
        if isinstance(values[name], Spec) and (inside := undetermining(values[name])):
            found[name] = inside
    return found


# A catalogue asks it of a kind thousands of times.
@cache
def _left_out(kind: type[Spec]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The fields of a kind that never determine a result, and the added ones with their defaults."""
    said = {name: (declared(field), field.default) for name, field in kind.model_fields.items()}
    never = tuple(name for name, (one, _) in said.items() if not one.determines)
    return never, {name: default for name, (one, default) in said.items() if one.added and one.determines}
