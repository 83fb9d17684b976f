"""`Artefact`, the base of all specifications: typed, validated fields, and a path that ends in a hash of them.

A changed parameter therefore makes a new path, so that a result of other parameters is never read by mistake, even
where Snakemake or DVC has lost its records of earlier runs.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from dpmix import code
from dpmix.params.declared import Spec, undetermining

# Part of every hash. Raise it when results change although no parameter does: all results then get new paths.
SEMANTICS = 2


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
        images: with `bundle: { by: images }`, artefacts of the same work, model and images are one job; empty for those
            that have no work in common, which share a job as with `by: stream`.
        priority: of the jobs that could run, those with the highest are started first.
    """

    work: str
    model: str
    seed: str
    stream: str
    images: str = ""
    priority: int = 0


class Artefact(Spec):
    """The specification of one result. Its file at `path` is written whole or not at all, so if it exists, it is done.

    Attributes:
        folder: where files of this kind lie: below `results/<scale>`, or for shared data below the repository's root.
    """

    folder: ClassVar[str]

    def rooms(self) -> tuple[str, ...]:
        """The rooms of the package, or modules of them, whose code computes it from its inputs (`dpmix.code`)."""
        return ()

    def entries(self) -> tuple[str, ...]:
        """What it uses in these by a registered name, such as its transforms, as `dpmix.code.entry` calls it."""
        return ()

    def code(self) -> dict[str, str]:
        """The digest of each room, and of each entry of a registry, that computes it or one of its inputs."""
        return code.digests(_all_code(self))

    def key(self) -> dict[str, Any]:
        """The values that determine this artefact's result, as JSON; `hash` is computed from them.

        Fields are left out that are declared not to determine it, such as labels, and fields that were added later and
        have their default value. A field that is itself an artefact is replaced by that artefact's key.
        """
        without = undetermining(self)
        values = {name: getattr(self, name) for name in type(self).model_fields if without.get(name) is not True}
        within = {name: value.key() for name, value in values.items() if isinstance(value, Artefact)}
        return {**self.model_dump(mode="json", exclude={**without, **dict.fromkeys(within, True)}), **within}

    @cached_property
    def hash(self) -> str:
        """Ten hex digits: a hash of the kind of artefact, of its `key`, and of code that is not the recorded one."""
        changed = {} if code.as_recorded() else code.unrecorded(_all_code(self))
        return digest({"kind": type(self).__name__, **self.key(), **({"code": changed} if changed else {})})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values. Cached properties, such as `hash`, are not copied, since they would be wrong."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def path(self, scale: str) -> Path:
        """Where its file lies, relative to the repository's root, for results of the scale of this name."""
        raise NotImplementedError

    def file(self, scale: str) -> str:
        """Its `path` as Snakemake writes it, worked out once."""
        if scale not in self._files:
            self._files[scale] = self.path(scale).as_posix()
        return self._files[scale]

    @cached_property
    def _files(self) -> dict[str, str]:
        return {}

    def inputs(self) -> list["Artefact"]:
        """The artefacts that must exist before this one can be made."""
        return []

    def job_share(self) -> JobShare:
        """With which artefacts it shares a job: by default with all of its kind, or with `by: stream` with none."""
        return JobShare(type(self).__name__.lower(), "", "", self.hash)


def _all_code(artefact: Artefact) -> set[str]:
    found = {*artefact.rooms(), *artefact.entries()}
    for source in artefact.inputs():
        found |= _all_code(source)
    return found
