"""From `params.yaml` to all that is to be computed: tables to cells, cells to experiments, experiments to files.

A table's cell is settings laid over each other: the scale's defaults for the kind of model, the data set's, the
method's, those of the method on this data set, the table's `fixed`, then the cell's row and column.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from dpmix.errors import ParamsError, naming
from dpmix.experiment import (
    OF_VIEWS,
    Artefact,
    Distance,
    Experiment,
    GradientRecord,
    Selection,
    SyntheticSet,
    ZeroShot,
    digest,
)
from dpmix.params import (
    AccuracyTable,
    Axis,
    EncoderSpec,
    ExternalTable,
    FidTable,
    GivenImagesSpec,
    Params,
    ScaleSpec,
    Settings,
    TableSpec,
    known,
    parse,
    read,
)
from dpmix.releasable import ARTEFACTS, overlap, public_sources
from dpmix.tables.captions import TABLES
from dpmix.unused import refuse_unused

Labels = tuple[str, ...]
Made = TypeVar("Made", bound=Artefact)

ZERO_SHOT, NON_PRIVATE = "Zero-shot (ε = 0)", "Non-private (ε = ∞)"


@dataclass(frozen=True)
class CellSpec:
    """One cell of a table: where it stands and what must be computed for it (nothing for an external result).

    `end` marks the two ends of a ladder, which the paper's tables do not have.
    """

    row: Labels
    column: Labels
    artefacts: tuple[Artefact, ...]
    end: bool = False


class Catalogue:
    """All artefacts of one scale, by path.

    Args:
        params: validated parameters.
        scale: which of their scales; by default the one they name.

    Raises:
        ParamsError: with one line, for any name, value or combination that does not fit.
    """

    def __init__(self, params: Params, scale: str | None = None) -> None:
        self.params = params
        self.scale = known(scale or params.scale, params.scales, "scale")
        self.spec: ScaleSpec = params.scales[self.scale]
        # Class names are looked up in the smallest store that an encoder of this scale needs anyway.
        named = _texts(self.spec.model_dump())
        encoders = {name: model.resolution for name, model in params.models.items() if isinstance(model, EncoderSpec)}
        self._names_from = min((side for name, side in encoders.items() if name in named), default=None)
        self.targets: dict[str, list[Artefact]] = {}
        self._cells: dict[str, list[CellSpec]] = {}
        for key, table in self.spec.tables.items():
            self._cells[key] = list(self._expand(f"table {key}", table))
            self._check_grid(key)
            self.targets[f"table{key}"] = [artefact for cell in self._cells[key] for artefact in cell.artefacts]
        for key in self.spec.figures:
            self.targets[f"figure{key}"] = list(self._figure(key))
        self.artefacts: dict[str, Artefact] = {}
        self._inputs: dict[str, list[str]] = {}
        self.needed_by: dict[str, set[str]] = {}
        for target, artefacts in self.targets.items():
            for path in self.with_inputs(list(map(self._register, artefacts))):
                self.needed_by.setdefault(path, set()).add(target)
        self._check_release()

    def _check_release(self) -> None:
        """Where one model is released, all of the scale's results are what may be handed out."""
        artefacts = self.artefacts.values()
        released = [artefact for artefact in artefacts if isinstance(artefact, Experiment) and artefact.release]
        if not released:
            return
        private = {run.dataset.path: run.dataset.name for run in released if run.dataset.path}
        for run in released:
            for source in public_sources(run.__dict__):
                for path, name in private.items():
                    if overlap(source, path):
                        self._refuse_beside_a_release(f"{source} holds the images of {name} and")
        for key, table in self.spec.tables.items():
            if table.kind == "runtime":
                self._refuse_beside_a_release(f"table {key}, whose times depend on the secret samples,")
        for artefact in artefacts:
            covered = artefact.release if isinstance(artefact, Experiment) else type(artefact).__name__ in ARTEFACTS
            if not covered:
                self._refuse_beside_a_release(f"{type(artefact).__name__} {self.path(artefact)}")
        if self.spec.figures:
            self._refuse_beside_a_release(f"figure {next(iter(self.spec.figures))}, which shows private images,")

    def _refuse_beside_a_release(self, what: str) -> None:
        raise ParamsError(
            f"params.yaml: scale {self.scale} has a run with release: true, so that results/{self.scale} may be handed "
            f"out whole, but {what} is not covered by its ε; move it to another scale"
        )

    def _register(self, artefact: Artefact) -> str:
        """Keep an artefact, and all that it is made from, by path; its own path."""
        path = self.path(artefact)
        if path not in self.artefacts:
            self.artefacts[path] = artefact
            self._inputs[path] = sorted(set(map(self._register, artefact.inputs())))
        return path

    def path(self, artefact: Artefact) -> str:
        """An artefact's path relative to the repository's root, as Snakemake writes it."""
        return artefact.path(self.scale).as_posix()

    def find(self, path: str | Path) -> Artefact:
        """The artefact at a path.

        Raises:
            ParamsError: if these params ask for no such thing.
        """
        path = Path(path).as_posix()
        if path not in self.artefacts:
            raise ParamsError(f"nothing in params.yaml at scale {self.scale} asks for {path}; was it changed since?")
        return self.artefacts[path]

    def inputs(self, path: str | Path) -> list[str]:
        """The paths that must exist before the artefact at `path` can be made."""
        self.find(path)
        return list(self._inputs[Path(path).as_posix()])

    def with_inputs(self, paths: Iterable[str]) -> set[str]:
        """These paths and those of everything that the artefacts at them are made from, however indirectly."""
        found, left = set[str](), list(paths)
        while left:
            path = left.pop()
            if path not in found:
                found.add(path)
                left += self._inputs[path]
        return found

    def cells(self, table: str) -> list[CellSpec]:
        """The cells of a table, row by row."""
        return self._cells[known(str(table), self._cells, "table")]

    def fingerprint(self, target: str) -> str:
        """A digest of all that a table, a figure or the `report` shows: labels, order, and the files behind them."""
        if target == "report":
            return digest([self.fingerprint(one) for one in sorted(self.targets)])
        kind, number = target.rstrip("0123456789"), target.lstrip("abcdefghijklmnopqrstuvwxyz")
        shown: list[Any] = [self.path(artefact) for artefact in self.targets[target]]
        if kind == "table":
            shown += [
                [cell.row, cell.column, [self.path(one) for one in cell.artefacts]] for cell in self._cells[number]
            ]
            table = self.spec.tables[number]
            if isinstance(table, AccuracyTable) and table.ladder is not None:
                shown += [self.ladder_label(table), self.spec.prompts]
        else:
            figure = self.spec.figures[number]  # type: ignore[index]
            shown.append(figure.model_dump(mode="json"))
            shown += [self.params.datasets[name].label for name in figure.datasets]
            shown += [self.params.methods[name].label for name in figure.methods]
            shown += [experiment.hash for experiment in self.figure_experiments(number).values()]
        return digest(shown)

    def ladder_label(self, table: AccuracyTable) -> str | None:
        """The label of the method that is trained without noise at the end of a table's ladder.

        None for a table without a ladder, and for one whose methods are those of its rows or columns.
        """
        method = table.ladder and (table.ladder.method or table.fixed.method)
        return self.params.methods[method].label if method else None

    def of(self, kind: type[Artefact]) -> list[Artefact]:
        """All artefacts of one kind, in the order of their paths."""
        return [artefact for _, artefact in sorted(self.artefacts.items()) if isinstance(artefact, kind)]

    # Tables ---------------------------------------------------------------------------------------------------------

    def _expand(self, where: str, table: TableSpec) -> Iterator[CellSpec]:
        if isinstance(table, FidTable):
            yield from self._expand_distances(where, table)
            return
        rows, columns = list(self._points(where, table.rows)), list(self._points(where, table.columns))
        if isinstance(table, ExternalTable):
            yield from (CellSpec(row, column, ()) for row, _ in rows for column, _ in columns)
            return
        _check_omit(where, table, [(row, column) for row, _ in rows for column, _ in columns])
        cells = []
        given: list[tuple[Settings, Experiment]] = []
        for (row, row_settings), (column, column_settings) in itertools.product(rows, columns):
            if any(_omits(rule, table, row, column) for rule in table.omit):
                cells.append(CellSpec(row, column, ()))
                continue
            cell = column_settings.over(row_settings).over(table.fixed)
            runs = self._runs(cell, f"{where}, {_place(row, column)}", table)
            cells.append(CellSpec(row, column, runs))
            given.append((cell, runs[0]))
        refuse_unused(where, given)
        yield from self._with_ends(where, table, cells) if table.ladder else cells

    def _runs(self, cell: Settings, where: str, table: AccuracyTable) -> tuple[Experiment, ...]:
        return tuple(self.experiment(cell, seed, where, table.tuned_as) for seed in table.seeds or self.spec.seeds)

    def _with_ends(self, where: str, table: AccuracyTable, cells: list[CellSpec]) -> list[CellSpec]:
        """The cells, and the two ends of the ladder below each block of rows, or else beside the columns.

        A block is what the leading axes that name data sets or models span; the ends take the place of the others.
        """
        below = not all(map(_names_data, table.rows))
        side, across = (table.rows, table.columns) if below else (table.columns, table.rows)
        kept = tuple(itertools.takewhile(_names_data, side))
        depth = len(axis_names(kept))
        rest = ("",) * (len(axis_names(side)) - depth - 1)
        made = list(cells)
        assert table.ladder is not None
        for (block, outer), (other, inner), end in itertools.product(
            self._points(where, kept), self._points(where, across), (ZERO_SHOT, NON_PRIVATE)
        ):
            label = (*block, end, *rest)
            row, column = (label, other) if below else (other, label)
            artefacts = self._end(inner.over(outer).over(table.fixed), end, f"{where}, {_place(row, column)}", table)
            if artefacts:
                made.append(CellSpec(row, column, artefacts, end=True))
        without_noise = [one for cell in made if cell.end for one in cell.artefacts if isinstance(one, Experiment)]
        refuse_unused(f"{where}, ladder", [(table.ladder, run) for run in without_noise])
        order = {row[:depth] if below else row: place for place, row in reversed([*enumerate(c.row for c in cells)])}
        return sorted(made, key=lambda cell: (order[cell.row[:depth] if below else cell.row], cell.end))

    def _end(self, cell: Settings, end: str, where: str, table: AccuracyTable) -> tuple[Artefact, ...]:
        """What one end of the ladder shows for a data set and model; nothing for a network trained from scratch."""
        assert table.ladder is not None
        full = self._resolve(table.ladder.over(cell), where)
        dataset, model = self.params.datasets[str(full.dataset)], self.params.models[str(full.model)]
        if not isinstance(model, EncoderSpec):
            return ()
        if end == NON_PRIVATE:
            endless = Settings(epsilon=math.inf).over(table.ladder.over(cell))
            return self._runs(endless, where, table.model_copy(update={"tuned_as": None}))
        return (ZeroShot(dataset=dataset, model=model, prompts=self.spec.prompts),) if model.has_text else ()

    def _check_grid(self, key: str) -> None:
        """A table has the paper's levels, and each of its places once."""
        layout, places = TABLES[int(key)], set()
        for cell in self._cells[key]:
            for what, labels, names in (
                ("rows", cell.row, layout.row_names),
                ("columns", cell.column, layout.column_names),
            ):
                if len(labels) != len(names):
                    raise ParamsError(
                        f"params.yaml: table {key}: its {what} have {len(labels)} levels, not the {len(names)} of "
                        f"table {key} ({', '.join(names) or 'none'}); mend its axes"
                    )
            place = (cell.row, cell.column)
            if place in places:
                raise ParamsError(f"params.yaml: table {key}: two cells are labelled {_place(*place)}; rename one")
            places.add(place)

    def _points(self, where: str, axes: tuple[Axis, ...]) -> Iterator[tuple[Labels, Settings]]:
        """The product of a table's axes on one side: labels, and settings laid over each other in order."""
        for combination in itertools.product(*(self._axis(where, axis) for axis in axes)):
            settings = Settings()
            for _, over in combination:
                settings = over.over(settings)
            yield tuple(part for label, _ in combination for part in split_labels(label)), settings

    def _axis(self, where: str, axis: Axis) -> list[tuple[str, Settings]]:
        if axis.values is not None:
            return list(axis.values.items())
        ((key, values),) = axis.model_dump(exclude_none=True, exclude={"axis"}).items()
        return [(self._label(where, key, value), Settings(**{key: value})) for value in values]

    def _label(self, where: str, key: str, value: str | float) -> str:
        named: dict[str, Mapping[str, Any]] = {
            "dataset": self.params.datasets,
            "model": self.params.models,
            "method": self.params.methods,
        }
        if key in named:
            return str(named[key][known(str(value), named[key], f"{key} in {where}")].label)
        if key == "epsilon":
            return "ε = ∞" if value == math.inf else f"ε = {value:g}"
        return str(value)

    # Experiments ----------------------------------------------------------------------------------------------------

    def experiment(self, cell: Settings, seed: int, where: str, tuned_as: Settings | None = None) -> Experiment:
        """The experiment that settings describe, with every default filled in.

        Raises:
            ParamsError: if a needed setting is missing or the settings do not fit together.
        """
        full = self._resolve(cell, where)
        rate: float | Selection | None
        if full.learning_rate == "tuned":
            tuned = self._resolve(tuned_as.over(cell), where) if tuned_as else full
            experiment = self._build(tuned, self.spec.tuning.seed, None, where, holdout=self.spec.tuning.holdout)
            # The grid is lr·C: one grid serves every C.
            rates = tuple(unit / experiment.clip_norm for unit in self.spec.tuning.learning_rates)
            rate = Selection(experiment=experiment, learning_rates=rates)
        elif isinstance(full.learning_rate, dict):
            if full.epsilon is None:
                raise ParamsError(f"params.yaml: {where}: epsilon is not set; give it there")
            if full.epsilon not in full.learning_rate:
                raise ParamsError(f"params.yaml: {where}: learning_rate has no entry for ε = {full.epsilon:g}; add one")
            rate = full.learning_rate[full.epsilon]
        elif full.learning_rate is None:
            raise ParamsError(f"params.yaml: {where}: learning_rate is not set; give a number, or `tuned`")
        else:
            rate = full.learning_rate
        return self._build(full, seed, rate, where)

    def _resolve(self, cell: Settings, where: str) -> Settings:
        for key in ("dataset", "model", "method"):
            if getattr(cell, key) is None:
                raise ParamsError(f"params.yaml: {where}: no {key} is given")
        dataset = known(str(cell.dataset), self.params.datasets, f"dataset in {where}")
        model = self.params.models[known(str(cell.model), self.params.models, f"model in {where}")]
        method = known(str(cell.method), self.params.methods, f"method in {where}")
        track = self.spec.finetune if isinstance(model, EncoderSpec) else self.spec.scratch
        of_method = Settings(**self.params.methods[method].model_dump(exclude={"label"}))
        layers = [
            self.spec.datasets.get(dataset, Settings()),
            of_method,
            self.spec.dataset_methods.get(dataset, {}).get(method, Settings()),
            cell,
        ]
        full = track
        for layer in layers:
            full = layer.over(full)
        return full

    def _build(
        self, full: Settings, seed: int, rate: "float | Selection | None", where: str, holdout: float = 0.0
    ) -> Experiment:
        given = full.model_dump(exclude_none=True, exclude={"dataset", "model", "learning_rate"})
        experiment = _made(
            Experiment,
            where,
            **given,
            dataset=self.params.datasets[str(full.dataset)],
            model=self.params.models[str(full.model)],
            synthetic=self.synthetic(str(full.dataset), where),
            learning_rate=rate,
            holdout=holdout,
            seed=seed,
        )
        # What does not matter to a run is not said of it either.
        return experiment.canonical()

    def synthetic(self, dataset: str, where: str) -> SyntheticSet:
        """D for a data set: as many images as its training set unless `synthetic_size` says otherwise."""
        spec = self.params.datasets[dataset]
        if spec.parent is not None:
            return self.synthetic(known(spec.parent, self.params.datasets, f"parent of {dataset}"), where)
        diffusion = self.params.diffusion[known(self.spec.synthetic, self.params.diffusion, "diffusion model")]
        size = self.spec.synthetic_size.get(dataset, spec.train)
        if isinstance(diffusion, GivenImagesSpec):
            smallest = min(model.resolution for model in self.params.models.values())
        else:
            smallest = diffusion.saved_resolution or diffusion.resolution
        names_from = self._names_from or smallest
        return SyntheticSet(dataset=spec, size=size, diffusion=diffusion, names_from=names_from)

    # Distances and figures ------------------------------------------------------------------------------------------

    def _expand_distances(self, where: str, table: FidTable) -> Iterator[CellSpec]:
        model = self.params.models[known(table.model, self.params.models, f"model in {where}")]
        extractors = {name: self._extractor(where, name) for name in table.extractors}
        given: dict[str, list[tuple[Settings, Experiment]]] = {}
        sets = {"Train vs Test": "test", "Train vs Diffusion": "synthetic"}
        for name in table.datasets:
            dataset = self.params.datasets[known(name, self.params.datasets, f"dataset in {where}")]
            d = self.synthetic(name, where)
            for extractor in extractors.values():

                def distance(extractor: EncoderSpec | None = extractor, **pair: Any) -> tuple[Artefact]:
                    common = {"dataset": dataset, "samples": table.samples, "resolution": model.resolution}  # noqa: B023
                    return (_made(Distance, where, **common, extractor=extractor, synthetic=d, **pair),)  # noqa: B023

                if table.kind == "fid-sets":
                    for label, second in sets.items():
                        column = (extractor.label if extractor else "InceptionV3", label)
                        yield CellSpec((dataset.label,), column, distance(first="train", second=second))
                    continue
                for split, (label, settings) in itertools.product(("train", "test"), table.methods.items()):
                    for key in sorted(settings.model_fields_set - {"method", "subset", "mix_with", *OF_VIEWS}):
                        raise ParamsError(f"params.yaml: {where}, {label}: {key} changes no view; remove it")
                    cell = settings.over(Settings(dataset=name, model=table.model, learning_rate=1.0, epsilon=1.0))
                    views = self.experiment(cell, self.spec.seeds[0], f"{where}, {dataset.label} / {label}")
                    given.setdefault(label, []).append((settings, views))
                    column = (split.capitalize(), label)
                    yield CellSpec((dataset.label,), column, distance(first="views", second=split, views=views))
        for label, pairs in given.items():
            refuse_unused(f"{where}, {label}", pairs)

    def _extractor(self, where: str, name: str) -> EncoderSpec | None:
        if name == "inception":
            return None
        spec = self.params.models[known(name, [*self.params.models, "inception"], f"extractor in {where}")]
        if not isinstance(spec, EncoderSpec):
            raise ParamsError(f"params.yaml: {where}: {name} is not an encoder; extractors are encoders or inception")
        return spec

    def _figure(self, key: str) -> Iterator[Artefact]:
        figure = self.spec.figures[key]  # type: ignore[index]
        if key == "1" and (len(figure.datasets), len(figure.methods)) != (1, 1):
            raise ParamsError(
                "params.yaml: figure 1: it shows the views of one example; name one data set and one method"
            )
        given = []
        for dataset in figure.datasets:
            for method in figure.methods:
                cell = figure.fixed.over(Settings(dataset=dataset, model=figure.model, method=method))
                experiment = self.experiment(cell, figure.seed, f"figure {key}, {dataset} / {method}")
                given.append((figure.fixed, experiment))
                if key == "2" and not isinstance(experiment.model, EncoderSpec):
                    raise ParamsError(f"params.yaml: figure 2: {figure.model} is not an encoder; name one as its model")
                if key == "2":
                    yield _made(GradientRecord, f"figure 2, {dataset} / {method}", experiment=experiment)
                else:
                    yield from _views_inputs(experiment)
        refuse_unused(f"figure {key}", given)

    def figure_experiments(self, key: str) -> dict[tuple[str, str], Experiment]:
        """The experiments of a figure by (data set, method)."""
        figure = self.spec.figures[key]  # type: ignore[index]
        return {
            (dataset, method): self.experiment(
                figure.fixed.over(Settings(dataset=dataset, model=figure.model, method=method)),
                figure.seed,
                f"figure {key}",
            )
            for dataset in figure.datasets
            for method in figure.methods
        }


def _made(kind: type[Made], where: str, **values: Any) -> Made:
    """An artefact of these values; one that cannot be is one line about `where`."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        what = f"{place} is not set; give it there" if first["type"] == "missing" else f"{place} {message}".strip()
        raise ParamsError(f"params.yaml: {where}: {what}") from error


def split_labels(label: str) -> Labels:
    """`Self-Aug | 16` stands in two label columns."""
    return tuple(part.strip() for part in label.split("|"))


def axis_names(axes: tuple[Axis, ...]) -> Labels:
    """The names of the label columns (or header rows) that these axes make."""
    return tuple(name for axis in axes for name in split_labels(axis.axis))


def _views_inputs(experiment: Experiment) -> list[Artefact]:
    made = [experiment.images(), experiment.synthetic_images()]
    return [artefact for artefact in made if artefact is not None]


def of_config(config: Mapping[str, Any], path: str | Path) -> Catalogue:
    """The catalogue of a workflow's configuration, which jobs will read again from the file at `path`.

    Raises:
        ParamsError: for any mistake in it, or an override that jobs could not see.
    """
    with naming(path):
        chosen = parse(config)
        scale = chosen.scale
        if chosen.model_copy(update={"scale": ""}) != read(Path(path)).model_copy(update={"scale": ""}):
            raise ParamsError(
                f"only scale can be set with --config; for anything else edit {path} or give --configfile"
            )
        return Catalogue(chosen, scale)


def _texts(value: Any) -> set[str]:
    """All strings in a nested value."""
    if isinstance(value, Mapping):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, tuple | list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) else set()


def _place(row: Labels, column: Labels) -> str:
    return " / ".join((*row, *column))


def _check_omit(where: str, table: AccuracyTable, places: list[tuple[Labels, Labels]]) -> None:
    """Every rule of `omit` names axes and labels that exist; one that matches nothing is a typo."""
    names = axis_names((*table.rows, *table.columns))
    for rule in table.omit:
        for axis, label in rule.items():
            known(axis, names, f"axis in omit of {where}:")
            labels = dict.fromkeys((*row, *column)[names.index(axis)] for row, column in places)
            known(label, labels, f"{axis} in omit of {where}:")


def _names_data(axis: Axis) -> bool:
    """Whether an axis goes through data sets or models, rather than through what is done with them."""
    if axis.values is None:
        return axis.dataset is not None or axis.model is not None
    return all((one.dataset or one.model) and not one.method for one in axis.values.values())


def _omits(rule: dict[str, str], table: AccuracyTable, row: Labels, column: Labels) -> bool:
    names = axis_names((*table.rows, *table.columns))
    here = dict(zip(names, (*row, *column), strict=True))
    return all(here.get(axis) == label for axis, label in rule.items())
