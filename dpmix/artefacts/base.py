"""What every artefact is: a typed, validated specification, and a path that ends in a hash of it.

A changed parameter is therefore a new path, and nothing stale is ever read, by Snakemake or by DVC, with or without
their records of earlier runs.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import PlainSerializer

from dpmix.params.specs import (
    Spec,
)

# Raised whenever the meaning of a result changes without a parameter changing: every run is then another run.
SEMANTICS = 2

# JSON has no infinity: a run without noise says "inf".
Epsilon = Annotated[float, PlainSerializer(lambda value: "inf" if value == math.inf else value, when_used="json")]


def digest(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def number(value: float) -> str:
    """A number as it stands in a path: 8, 0.5, 1e-05, inf."""
    return f"{value:g}"


class JobShare(NamedTuple):
    """What the artefacts of one job have in common.

    Attributes:
        work: its kind, which is also how the job's name begins.
        model: whose start costs, such as an encoder's; empty if there is none.
        seed: on one machine, where starting a process costs most, a job has all artefacts of a model and a seed.
        stream: on a cluster it has those of a model and a stream, of which the views or images cost most.
    """

    work: str
    model: str
    seed: str
    stream: str


class Artefact(Spec):
    """Something that one job makes: a file whose presence means that it is whole."""

    folder: ClassVar[str]

    def key(self) -> dict[str, Any]:
        """What determines this artefact, and nothing else; artefacts within it count by their own keys."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        within = {name: value.key() for name, value in values.items() if isinstance(value, Artefact)}
        return {**_determining(self.model_dump(mode="json", exclude=set(within))), **within}

    @cached_property
    def hash(self) -> str:
        """Ten hex digits that stand for the whole specification."""
        return digest({"kind": type(self).__name__, **self.key()})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which must not inherit what was worked out from these."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def path(self, scale: str) -> Path:
        """Where it lies, relative to the repository's root."""
        raise NotImplementedError

    def inputs(self) -> list["Artefact"]:
        """What must be made before it."""
        return []

    def job_share(self) -> JobShare:
        """With what it may be made in one job; by default with all of its kind, or on a cluster alone."""
        return JobShare(type(self).__name__.lower(), "", "", self.hash)


# Labels are for people; D's class names are the same wherever they are looked up; whose D is shared, D itself says.
_NOT_DETERMINING = ("label", "names_from", "parent")


def _determining(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _determining(entry) for key, entry in value.items() if key not in _NOT_DETERMINING}
    if isinstance(value, list):
        return [_determining(entry) for entry in value]
    return value


def key_without_defaults(artefact: Artefact, *names: str) -> dict[str, Any]:
    """An artefact's key without those of the named fields that are as they are by default."""
    off = {name for name in names if getattr(artefact, name) == type(artefact).model_fields[name].default}
    return {name: value for name, value in Artefact.key(artefact).items() if name not in off}
