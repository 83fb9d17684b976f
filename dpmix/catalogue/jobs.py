"""Jobs: which artefacts one process makes together, and which of them a call of Snakemake needs."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dpmix.artefacts.base import Artefact, digest
from dpmix.errors import ParamsError, nearest

if TYPE_CHECKING:
    from dpmix.catalogue.catalogue import Catalogue

# Targets that stand for several tables and figures.
SEVERAL = ("all", "all_tables", "all_figures", "report")


@dataclass(frozen=True)
class Job:
    """Artefacts that one process makes together.

    Attributes:
        name: the kind of work, the model, and a hash of the paths of the whole group, finished ones included. So it
            stays the same while the group is being made, and does not depend on other groups.
        artefacts: those of the group that are to be made.
        paths: their paths, in the same order.
    """

    name: str
    artefacts: tuple[Artefact, ...]
    paths: tuple[str, ...]

    @property
    def priority(self) -> int:
        """Of the jobs that could run, Snakemake starts those with the highest first."""
        return max(artefact.job_share().priority for artefact in self.artefacts)


def jobs(
    catalogue: "Catalogue",
    *kinds: type[Artefact],
    needed: Collection[str] | None = None,
    missing_only: bool = True,
) -> list[Job]:
    """Group artefacts of these kinds into jobs.

    A stream is one sequence of samples, on which linear heads of any number of methods can be trained at once. With
    `bundle: { by: stream }`, for clusters, a job is one stream and all heads on it, on the union of their methods'
    views: encoding these takes nearly all of the time, and a further head nearly none. With `by: images` it is all
    streams of heads on the same images by the same encoder, of which many crops are the same. With `by: model`, for one
    machine, a job has all streams of one model and one seed, because there starting a process and loading the model
    takes longest. Runs in JAX of all seeds share one, because what JAX compiles serves all of a process.

    Args:
        catalogue: the scale.
        kinds: classes of artefacts. A job may hold artefacts of several of them.
        needed: leave out what is not at one of these paths (see `needed_for`); None takes everything.
        missing_only: leave out what is on disk, and jobs of which everything is.

    Returns:
        Jobs that together make each artefact once, in a fixed order.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    by = catalogue.spec.bundle.by
    ordered = sorted(path for path in catalogue.artefacts if needed is None or path in needed)
    for kind in kinds:
        for path in ordered:
            if isinstance(artefact := catalogue.artefacts[path], kind):
                share = artefact.job_share()
                apart = {"stream": share.stream, "images": share.images or share.stream, "model": share.seed}[by]
                groups.setdefault((share.work, share.model, apart), []).append(path)
    found = []
    for (work, model, _), paths in groups.items():
        left = tuple(path for path in sorted(paths) if not (missing_only and Path(path).exists()))
        if left:
            name = "-".join(part for part in (work, model, digest(sorted(paths), 8)) if part)
            found.append(Job(name, tuple(catalogue.artefacts[path] for path in left), left))
    return found


def check_words(catalogue: "Catalogue", words: Iterable[str], rules: Collection[str]) -> None:
    """Refuse a misspelt target, for which Snakemake would only say that no rule makes it.

    Args:
        catalogue: the scale.
        words: the targets of a call, as they are typed. One that is a file's path is Snakemake's to judge, and so is
            one that is similar to no target.
        rules: the names of all rules.

    Raises:
        ParamsError: for a word that is neither a rule nor a path and nearly a target; for an empty one, and a scale
            without its option; and for `claims`, where the scale has nothing to judge them by.
    """
    for word in words:
        if not word:
            raise ParamsError("a target is empty, such as a variable of the shell that is not set; leave it out")
        if word.startswith("scale=") and not Path(word).exists():
            raise ParamsError(f"{word!r} is no target; write --config {word}, and targets before it or after --")
        if word not in rules and PurePosixPath(word).name == word and not Path(word).exists():
            if word == "claims":
                raise ParamsError(
                    f"scale {catalogue.scale} has none of the cells that the paper's claims compare; add a table of "
                    "the paper to it, or choose another scale"
                )
            for meant in nearest(word, [*catalogue.targets, *SEVERAL]):
                raise ParamsError(f"no target is called {word!r}; did you mean {meant!r}?")


def needed_for(catalogue: "Catalogue", targets: Iterable[str]) -> frozenset[str]:
    """The paths of all artefacts that a call of Snakemake with these targets needs, on disk or not.

    Args:
        catalogue: the scale.
        targets: as they are typed: `table9`, `all_tables`, `all_figures`, `all`, `report`, `claims`, a file of one of
            these, or the path of an artefact. Other words, such as the name of a job, are ignored. If nothing else is
            left, every artefact is needed.
    """
    shown, sources = set[str](), set[str]()
    for target in targets:
        path = PurePosixPath(os.path.relpath(target)).as_posix()
        if path in catalogue.artefacts:
            sources.add(path)
        else:
            shown |= shown_by(catalogue, path)
    if not shown and not sources:
        return frozenset(catalogue.artefacts)
    paths = {path for path, wanted_by in catalogue.needed_by.items() if not shown.isdisjoint(wanted_by)}
    return frozenset(paths | catalogue.with_inputs(sources))


def shown_by(catalogue: "Catalogue", word: str) -> set[str]:
    """The tables and figures that a word asks for.

    Args:
        catalogue: the scale.
        word: the name of a rule, or the path of a file that a rule writes; any other asks for none.
    """
    match PurePosixPath(word).parts:
        case ("results", catalogue.scale, "tables" | "figures", file):
            word = file.partition(".")[0]
        case ("results", catalogue.scale, "stamps", file):
            word = file.rpartition("-")[0]
        case ("results", catalogue.scale, "report", "index.html"):
            word = "report"
        case ("results", catalogue.scale, "claims.json" | "claims.md"):
            word = "claims"
    everything = set(catalogue.targets)
    if word in ("all", "report"):
        return everything
    if word in ("all_tables", "all_figures"):
        return {target for target in everything if target.startswith(word.removeprefix("all_").removesuffix("s"))}
    return everything & {word}
