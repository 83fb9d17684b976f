"""Fréchet distances between sets of images: of views from the real images (Table 7), and of D from them (Table 8)."""

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.cells import CellSpec, Labels, made
from dpmix.catalogue.unused import refuse_unused
from dpmix.errors import ParamsError, known
from dpmix.params.declared import Declared, LabelKey, PositiveInt, Some
from dpmix.params.models import EncoderSpec
from dpmix.params.settings import OF_VIEWS, Settings
from dpmix.params.specs import DatasetSpec, InceptionSpec
from dpmix.tables.captions import DISTANCE, TABLES
from dpmix.tables.kinds.base import Measured


class FidTable(Measured):
    """Distances between sets of images of each data set, by the features of each extractor."""

    unit: ClassVar[str] = DISTANCE

    model: Annotated[
        str,
        Field(description="At whose resolution images are stored, and by whose default transforms views are made"),
    ]
    datasets: Annotated[Some[str], Field(description="Data sets by name")]
    extractors: Annotated[Some[str], Field(description="Whose features are compared: encoders by name, or `inception`")]
    samples: Annotated[
        PositiveInt | None,
        Field(description="How many images of each set are compared; by default all"),
        Declared(unit="images"),
    ] = None

    inception: Annotated[
        InceptionSpec,
        Field(description="InceptionV3's weights, where `inception` is among the extractors; by default the published"),
    ] = InceptionSpec()

    @abstractmethod
    def pairs(
        self, where: str, dataset: DatasetSpec, extractor: str, catalogue: Catalogue
    ) -> Iterator[tuple[Labels, dict[str, Any]]]:
        """The columns of one data set and extractor.

        Args:
            where: the table, for messages.
            dataset: the row's.
            extractor: the label of the network whose features are compared.
            catalogue: makes experiments of settings.

        Returns:
            For each column its labels, and the two sets as fields of `Distance`: `first`, `second` and `views`.
        """

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        params = catalogue.params
        model = params.models[known(self.model, params.models, "model", where)]
        extractors = [_extractor(where, name, catalogue) for name in self.extractors]
        for name in self.datasets:
            dataset = params.datasets[known(name, params.datasets, "dataset", where)]
            d = catalogue.synthetic(name, where)
            common: dict[str, Any] = {
                "dataset": dataset,
                "samples": self.samples,
                "resolution": model.resolution,
                "synthetic": d,
            }
            common["inception"] = self.inception
            for extractor in extractors:
                label = extractor.label if extractor else "InceptionV3"
                for column, pair in self.pairs(where, dataset, label, catalogue):
                    distance = made(Distance, where, **common, extractor=extractor, **pair)
                    yield CellSpec((dataset.label,), column, (distance,))

    @override
    def value(self, record: dict[str, Any]) -> float:
        return float(record["distance"])


class FidViewsTable(FidTable):
    """Distances of the views that methods train on from the original training and test images (Table 7)."""

    kind: Annotated[
        Literal["fid-views"], Field(description="Fréchet distance of each method's views from the real images")
    ]
    methods: Annotated[
        dict[LabelKey, Settings],
        Field(min_length=1, description="Settings of the views to compare, by the column's label"),
    ]

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        return ("Dataset",), ("Split", "Method")

    @override
    def cells(self, where: str, catalogue: Catalogue) -> Iterable[CellSpec]:
        cells = list(super().cells(where, catalogue))
        for label, settings in self.methods.items():
            shown = [one for cell in cells if cell.column[-1] == label for one in cell.artefacts]
            views = [one.views for one in shown if isinstance(one, Distance) and one.views is not None]
            refuse_unused(f"{where}, {label}", [(settings, run) for run in views])
        return cells

    @override
    def pairs(
        self, where: str, dataset: DatasetSpec, extractor: str, catalogue: Catalogue
    ) -> Iterator[tuple[Labels, dict[str, Any]]]:
        for split, (label, settings) in itertools.product(("train", "test"), self.methods.items()):
            for key in sorted(settings.model_fields_set - {"method", "subset", "mix_with", *OF_VIEWS}):
                raise ParamsError(f"params.yaml: {where}, {label}: {key} changes no view; remove it")
            cell = settings.over(Settings(dataset=dataset.name, model=self.model, learning_rate=1.0, epsilon=1.0))
            views = catalogue.experiment(cell, catalogue.spec.seeds[0], f"{where}, {dataset.label} / {label}")
            yield (split.capitalize(), label), {"first": "views", "second": split, "views": views}

    @override
    def notes(self, name: str, catalogue: Catalogue) -> list[str]:
        """Also K_DIFF of each data set, for columns whose labels do not give it."""
        counts = {}
        for cell in catalogue.cells(name):
            for one in cell.artefacts:
                if isinstance(one, Distance) and one.views and one.views.k_diff and "," not in cell.column[-1]:
                    counts[cell.row[0]] = one.views.k_diff
        said = ", ".join(f"{dataset} {count}" for dataset, count in counts.items())
        unknown = (
            " The paper does not say which K_DIFF it has." if catalogue.scale == "paper" and name in TABLES else ""
        )
        views = f"K_DIFF where the column does not give it: {said}.{unknown}"
        return [*super().notes(name, catalogue), views]


class FidSetsTable(FidTable):
    """Distances of the training images from the test images, and from D (Table 8)."""

    kind: Annotated[
        Literal["fid-sets"], Field(description="Fréchet distance of training images from test images, and from D")
    ]

    @override
    def level_names(self) -> tuple[Labels, Labels]:
        return ("Dataset",), ("FID model", "Compared")

    @override
    def pairs(
        self, where: str, dataset: DatasetSpec, extractor: str, catalogue: Catalogue
    ) -> Iterator[tuple[Labels, dict[str, Any]]]:
        for label, second in (("Train vs Test", "test"), ("Train vs Diffusion", "synthetic")):
            yield (extractor, label), {"first": "train", "second": second}


def _extractor(where: str, name: str, catalogue: Catalogue) -> EncoderSpec | None:
    """The encoder of that name; None is InceptionV3."""
    if name == "inception":
        return None
    models = catalogue.params.models
    spec = models[known(name, [*models, "inception"], "extractor", where)]
    if not isinstance(spec, EncoderSpec):
        raise ParamsError(f"params.yaml: {where}: {name} is not an encoder; extractors are encoders or inception")
    return spec
