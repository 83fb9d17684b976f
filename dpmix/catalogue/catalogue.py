"""From `params.yaml` to everything that is computed: tables have cells, cells have experiments, experiments have files.

The settings of a cell come from these places; a later one overrides an earlier one:

1. the scale's defaults for the kind of model, `scratch` or `finetune`;
2. the data set's, under the scale's `datasets`;
3. the method's;
4. those of this method on this data set, under the scale's `dataset_methods`;
5. the table's `fixed`, then the cell's row, then its column.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dpmix import code
from dpmix.artefacts.base import Artefact, digest
from dpmix.artefacts.data import SyntheticSet
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.releasable import ARTEFACTS, overlap, public_sources
from dpmix.catalogue.cells import FURTHER_TARGETS, CellSpec, TableKind, further, made
from dpmix.catalogue.unused import refuse_unused
from dpmix.errors import ParamsError, known, naming
from dpmix.params.models import EncoderSpec
from dpmix.params.read import parse, read
from dpmix.params.scales import Params, ScaleSpec
from dpmix.params.settings import Settings
from dpmix.params.specs import GivenImagesSpec
from dpmix.params.tables import table_target


class Catalogue:
    """All artefacts of one scale, by path.

    Args:
        params: validated parameters.
        scale: the name of one of their scales; by default their own `scale`.

    Attributes:
        scale: the name of the scale.
        spec: its part of the params.
        targets: the artefacts that each target of the workflow shows, by target: `table9`, `figure2`, `claims`.
        tables: the name that each table has in the params, by target: `table9` is "9".
        artefacts: all artefacts of the scale by path, those that others are made from included.
        needed_by: for each of these paths, the targets that cannot be made without it.

    Raises:
        ParamsError: for a name, value or combination of settings that does not fit, in one line.
    """

    def __init__(self, params: Params, scale: str | None = None) -> None:
        self.params = params
        self.scale = known(scale or params.scale, params.scales, "scale")
        self.spec: ScaleSpec = params.scales[self.scale]
        # D needs the names of the classes, which every image store holds. Take the smallest store that this scale
        # makes in any case.
        named = _texts(self.spec.model_dump(exclude={"tables": {"__all__": {"title", "caption"}}}))
        encoders = {name: model.resolution for name, model in params.models.items() if isinstance(model, EncoderSpec)}
        self._names_from = min((side for name, side in encoders.items() if name in named), default=None)
        self.targets: dict[str, list[Artefact]] = {}
        self.tables = {table_target(name): name for name in self.spec.tables}
        self._cells: dict[str, list[CellSpec]] = {}
        for target, name in self.tables.items():
            self._cells[name] = self._table(name).expand(name, self)
            self.targets[target] = [artefact for cell in self._cells[name] for artefact in cell.artefacts]
        for key in self.spec.figures:
            self.targets[f"figure{key}"] = list(self._figure(key))
        self.targets |= {name: needed for name in FURTHER_TARGETS if (needed := further(name).artefacts(self))}
        self.artefacts: dict[str, Artefact] = {}
        self._inputs: dict[str, list[str]] = {}
        self.needed_by: dict[str, set[str]] = {}
        for target, artefacts in self.targets.items():
            for path in self.with_inputs(list(map(self._register, artefacts))):
                self.needed_by.setdefault(path, set()).add(target)
        self._check_release()

    def _check_release(self) -> None:
        """Check that a scale with a run for release holds nothing else that reads private images unprotected.

        Raises:
            ParamsError: for a "public" image folder that holds private images, and for an artefact, table or figure
                that the released model's ε does not cover.
        """
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
        for name in self.spec.tables:
            if reason := self._table(name).not_covered:
                self._refuse_beside_a_release(f"table {name}, {reason},")
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
        """Add an artefact and everything that it is made from to `artefacts`; return its path."""
        path = self.path(artefact)
        if path not in self.artefacts:
            self.artefacts[path] = artefact
            self._inputs[path] = sorted(set(map(self._register, artefact.inputs())))
        return path

    def path(self, artefact: Artefact) -> str:
        """An artefact's path relative to the repository's root, as Snakemake writes it."""
        return artefact.file(self.scale)

    def find(self, path: str | Path) -> Artefact:
        """The artefact at a path.

        Raises:
            ParamsError: if these params ask for no such thing.
        """
        path = Path(path).as_posix()
        if path not in self.artefacts:
            raise ParamsError(
                f"nothing in params.yaml at scale {self.scale} asks for {path}; was it changed since, or dpmix's code?"
            )
        return self.artefacts[path]

    def inputs(self, path: str | Path) -> list[str]:
        """The paths that must exist before the artefact at `path` can be made."""
        self.find(path)
        return list(self._inputs[Path(path).as_posix()])

    def with_inputs(self, paths: Iterable[str]) -> set[str]:
        """These paths and the paths of all their inputs, inputs of inputs included."""
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

    def _table(self, name: str) -> TableKind:
        table = self.spec.tables[name]
        assert isinstance(table, TableKind)
        return table

    def fingerprint(self, target: str) -> str:
        """Ten hex digits, a hash of all that a target shows: labels, their order, paths, and the code that shows them.

        It names the target's stamp file, so that a changed label or run makes Snakemake write the target again.

        Args:
            target: such as `table9`, `figure2`, `claims` or `report`.
        """
        if target == "report":
            return digest([*map(self.fingerprint, sorted(self.targets)), code.digests(["report"])])
        also = () if target in self.tables else ("figures", "claims") if target == "claims" else ("figures",)
        shown: list[Any] = [code.digests(["tables", *also]), *map(self.path, self.targets[target])]
        if target in self.tables:
            name = self.tables[target]
            shown += [[cell.row, cell.column, [self.path(one) for one in cell.artefacts]] for cell in self._cells[name]]
            shown += self._table(name).shown(self)
        elif target in FURTHER_TARGETS:
            shown += further(target).shown(self)
        else:
            number = target.removeprefix("figure")
            figure = self.spec.figures[number]  # type: ignore[index]
            shown.append(figure.model_dump(mode="json"))
            shown += [self.params.datasets[name].label for name in figure.datasets]
            shown += [self.params.methods[name].label for name in figure.methods]
            shown += [experiment.hash for experiment in self.figure_experiments(number).values()]
        return digest(shown)

    def of(self, kind: type[Artefact]) -> list[Artefact]:
        """All artefacts of one kind, in the order of their paths."""
        return [artefact for _, artefact in sorted(self.artefacts.items()) if isinstance(artefact, kind)]

    # Experiments ----------------------------------------------------------------------------------------------------

    def experiment(self, cell: Settings, seed: int, where: str, tuned_as: Settings | None = None) -> Experiment:
        """One run: a cell's settings with every default filled in.

        Args:
            cell: the cell's own settings; they name at least a data set, a model and a method.
            seed: of the run.
            where: the cell in words, for error messages.
            tuned_as: settings that replace the cell's while its learning rate is chosen, if that is `tuned`.

        Raises:
            ParamsError: if a needed setting is missing or the settings do not fit together.
        """
        full = self.resolve(cell, where)
        rate: float | Selection | None
        if full.learning_rate == "tuned":
            tuned = self.resolve(tuned_as.over(cell), where) if tuned_as else full
            experiment = self._build(tuned, self.spec.tuning.seed, None, where, holdout=self.spec.tuning.holdout)
            # The grid holds lr·C, so that one grid serves every clip norm C.
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

    def resolve(self, cell: Settings, where: str) -> Settings:
        """A cell's settings, and where it has none, those of the places that this module's docstring lists.

        Raises:
            ParamsError: if data set, model or method is missing or unknown.
        """
        for key in ("dataset", "model", "method"):
            if getattr(cell, key) is None:
                raise ParamsError(f"params.yaml: {where}: no {key} is given; name one in a row, a column or fixed")
        dataset = known(str(cell.dataset), self.params.datasets, "dataset", where)
        model = self.params.models[known(str(cell.model), self.params.models, "model", where)]
        method = known(str(cell.method), self.params.methods, "method", where)
        track = self.spec.finetune if model.frozen else self.spec.scratch
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
        experiment = made(
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
        # A setting without effect goes back to its default, so that it makes no other run.
        return experiment.canonical()

    def synthetic(self, dataset: str, where: str) -> SyntheticSet:
        """The synthetic set D of a data set, with as many images as its training set or as `synthetic_size` says."""
        spec = self.params.datasets[dataset]
        if spec.parent is not None:
            return self.synthetic(known(spec.parent, self.params.datasets, f"parent of {dataset}"), where)
        diffusion = self.params.diffusion[known(self.spec.synthetic, self.params.diffusion, "diffusion model")]
        size = self.spec.synthetic_size.get(dataset, spec.records)
        if isinstance(diffusion, GivenImagesSpec):
            smallest = min(model.resolution for model in self.params.models.values())
        else:
            smallest = diffusion.saved_resolution or diffusion.resolution
        names_from = self._names_from or smallest
        return SyntheticSet(dataset=spec, size=size, diffusion=diffusion, names_from=names_from)

    # Figures --------------------------------------------------------------------------------------------------------

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
                if key == "1" and experiment.unit != "image":
                    raise ParamsError("params.yaml: figure 1: it shows the views of one image; set unit: image")
                if key == "2" and not experiment.model.frozen:
                    raise ParamsError(f"params.yaml: figure 2: {figure.model} is not an encoder; name one as its model")
                if key == "2":
                    yield made(GradientRecord, f"figure 2, {dataset} / {method}", experiment=experiment)
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


def _views_inputs(experiment: Experiment) -> list[Artefact]:
    return [store for store in (experiment.images(), experiment.synthetic_images()) if store is not None]


def of_config(config: Mapping[str, Any], path: str | Path) -> Catalogue:
    """The catalogue of a Snakemake configuration.

    Args:
        config: the whole configuration, as `dpmix.params.read.load_configuration` reads it.
        path: the params file, which each job reads again.

    Raises:
        ParamsError: for any mistake in the configuration, and if `--config` changed anything but `scale`: jobs read the
            file and would not see the change.
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
    """All strings in a nested value, keys of mappings left out."""
    if isinstance(value, Mapping):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, tuple | list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) else set()
