"""The tables and figures of `params.yaml`: their kinds, and the axes that span them."""

import sys
from typing import Annotated, Any, Union

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    model_validator,
)

from dpmix.params.declared import Declared, LabelKey, Line, Seed, Some, Spec
from dpmix.params.registries import TABLE_KINDS, registered
from dpmix.params.settings import Epsilon, Settings

# A table's name: 1 to 13 for the paper's, and for others lower-case words joined by underscores; see `table_target`.
TABLE_NAME = r"^(1[0-3]|[1-9]|[a-z][a-z0-9]*(_[a-z0-9]+)*)$"
TableName = Annotated[str, Field(pattern=TABLE_NAME, max_length=60)]


Count = Annotated[int, Field(ge=0)]


class Axis(Spec):
    """One axis of a table: its name (`axis`), and exactly one list of values.

    The list holds names of data sets, models or methods, or numbers for ε, K_base, K_self or K_diff. Or `values` gives
    any settings under a label of one's own.
    """

    axis: Annotated[
        Line,
        Field(min_length=1, description="What the axis is called; `Method | Views` makes two levels"),
        Declared(determines=False),
    ]
    dataset: Annotated[Some[str] | None, Field(description="Data sets by name")] = None
    model: Annotated[Some[str] | None, Field(description="Models by name")] = None
    method: Annotated[Some[str] | None, Field(description="Methods by name")] = None
    epsilon: Annotated[Some[Epsilon] | None, Field(description="Values of ε")] = None
    k_base: Annotated[Some[Count] | None, Field(description="Values of K_BASE"), Declared(unit="views")] = None
    k_self: Annotated[Some[Count] | None, Field(description="Values of K_SELF"), Declared(unit="views")] = None
    k_diff: Annotated[Some[Count] | None, Field(description="Values of K_DIFF"), Declared(unit="views")] = None
    values: Annotated[
        dict[LabelKey, Settings] | None,
        Field(min_length=1, description="Any settings, by the label of the row or column"),
    ] = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Axis":
        given = [key for key in self.model_dump(exclude_none=True) if key != "axis"]
        if len(given) != 1:
            raise ValueError(
                f"axis {self.axis!r} needs exactly one list of values, not {given or 'none'}; "
                f"{'keep one of them' if given else 'add one, such as values'}"
            )
        return self


class TableSpec(Spec):
    """What every table has in the params: its kind, and a title and caption in place of the paper's or the layout's.

    Each kind has further fields, in the subclass that `dpmix.params.registries.TABLE_KINDS` names.
    """

    kind: Annotated[str, Field(description="What its cells show: one of docs/tables.md")]
    title: Annotated[
        Annotated[Line, Field(min_length=1)] | None,
        Field(description="Its title; by default that of the paper's table"),
        Declared(determines=False),
    ] = None
    caption: Annotated[
        Line | None,
        Field(description="What stands below the title; by default the caption of the paper's table"),
        Declared(determines=False),
    ] = None


def table_kinds() -> dict[str, type[TableSpec]]:
    """The classes of `TABLE_KINDS`, by the kind's name."""
    return {name: registered(TABLE_KINDS, name) for name in TABLE_KINDS}


class OfItsKind:
    """An annotation that makes pydantic validate a `TableSpec` as the class that its `kind` names."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        kinds: Any = Union[tuple(table_kinds().values())]  # noqa: UP007  # a union of what is known at run time only
        return handler.generate_schema(Annotated[kinds, Field(discriminator="kind")])


def table_target(name: str) -> str:
    """The workflow's target for a table, which is also what its files are called.

    The paper's tables keep their numbers; the underscore keeps the two apart.

    >>> table_target("9"), table_target("my_clipping")
    ('table9', 'table_my_clipping')
    """
    return f"table{name}" if name.isdigit() else f"table_{name}"


def table_order(name: str) -> tuple[int, str]:
    """A key to sort tables by name: the paper's by number, then the added ones by alphabet.

    >>> sorted(["10", "my_clipping", "9"], key=table_order)
    ['9', '10', 'my_clipping']
    """
    return (int(name), "") if name.isdigit() else (sys.maxsize, name)


class FigureSpec(Spec):
    """What a figure shows: Figure 1 the views of one example, Figure 2 histograms of gradient magnitudes."""

    datasets: Annotated[Some[str], Field(description="Data sets by name; Figure 1 shows one")]
    model: Annotated[str, Field(description="Model by name")]
    methods: Annotated[Some[str], Field(description="Methods by name; Figure 1 shows one")]
    example: Annotated[int, Field(ge=0, description="Index of the training image of Figure 1, from 0")] = 0
    fixed: Annotated[Settings, Field(description="Settings of all its runs, over the method's")] = Settings()
    seed: Annotated[Seed, Field(description="Of its runs")] = 1
