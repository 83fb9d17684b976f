"""`Artefact`, the base of all specifications: typed, validated fields, and a path that ends in a hash of them.

A changed parameter therefore makes a new path, so that a result of other parameters is never read by mistake, even
where Snakemake or DVC has lost its records of earlier runs.
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

# Part of every hash. Raise it when results change although no parameter does: all results then get new paths.
SEMANTICS = 2

# JSON has no infinity: a run without noise has ε "inf" there.
Epsilon = Annotated[float, PlainSerializer(lambda value: "inf" if value == math.inf else value, when_used="json")]


def digest(value: Any, length: int = 10) -> str:
    """The first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def number(value: float) -> str:
    """A number as it stands in a path: 8, 0.5, 1e-05, inf."""
    return f"{value:g}"


class JobShare(NamedTuple):
    """What artefacts must have in common to be made in one job (`dpmix.catalogue.jobs`).

    Attributes:
        work: the kind of work, such as "run"; the job's name begins with it.
        model: the model that the job loads; empty if it loads none.
        seed: with `bundle: { by: model }`, artefacts of the same work, model and seed are one job.
        stream: with `bundle: { by: stream }`, artefacts of the same work, model and stream are one job.
    """

    work: str
    model: str
    seed: str
    stream: str


class Artefact(Spec):
    """The specification of one result. Its file at `path` is written whole or not at all, so if it exists, it is done.

    Attributes:
        folder: where files of this kind lie: below `results/<scale>`, or for shared data below the repository's root.
    """

    folder: ClassVar[str]

    def key(self) -> dict[str, Any]:
        """The values that determine this artefact's result, as JSON; `hash` is computed from them.

        Fields that only describe, such as labels, are left out. A field that is itself an artefact is replaced by that
        artefact's key.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        within = {name: value.key() for name, value in values.items() if isinstance(value, Artefact)}
        return {**_determining(self.model_dump(mode="json", exclude=set(within))), **within}

    @cached_property
    def hash(self) -> str:
        """Ten hex digits: a hash of the kind of artefact and of its `key`."""
        return digest({"kind": type(self).__name__, **self.key()})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values. Cached properties, such as `hash`, are not copied, since they would be wrong."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def path(self, scale: str) -> Path:
        """Where its file lies, relative to the repository's root, for results of the scale of this name."""
        raise NotImplementedError

    def inputs(self) -> list["Artefact"]:
        """The artefacts that must exist before this one can be made."""
        return []

    def job_share(self) -> JobShare:
        """With which artefacts it shares a job: by default with all of its kind, or with `by: stream` with none."""
        return JobShare(type(self).__name__.lower(), "", "", self.hash)


# Fields that do not change a result: labels are only shown; class names are the same in every store of a data set; and
# a data set's `parent` only says whose D it uses, which that D's own key says too.
_NOT_DETERMINING = ("label", "names_from", "parent")


def _determining(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _determining(entry) for key, entry in value.items() if key not in _NOT_DETERMINING}
    if isinstance(value, list):
        return [_determining(entry) for entry in value]
    return value


def key_without_defaults(artefact: Artefact, *names: str) -> dict[str, Any]:
    """An artefact's key, without those of the named fields that have their default value.

    A field that is added later and named here leaves the hashes of older results as they were.
    """
    off = {name for name in names if getattr(artefact, name) == type(artefact).model_fields[name].default}
    return {name: value for name, value in Artefact.key(artefact).items() if name not in off}
