"""From a request and the listed images to the artefacts of one run: data set, encoder, D, plan and experiment."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.artefacts.data import SyntheticSet
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.plan_file import PlanFile
from dpmix.artefacts.releasable import overlap
from dpmix.data.listing import Listing, leave_out_damaged, read_listing
from dpmix.errors import DataError, ParamsError
from dpmix.own.choices.encoders import encoder
from dpmix.own.choices.recipe import K_DIFF, METHOD_WITH_PUBLIC, Recipe, default_delta, recipe
from dpmix.own.choices.request import Request
from dpmix.own.images.fit import refuse_unfit
from dpmix.own.images.place import name_of, root_of
from dpmix.params.models import EncoderSpec
from dpmix.params.settings import PlanSettings, RunSettings
from dpmix.params.specs import DatasetSpec, GivenImagesSpec

if TYPE_CHECKING:
    from dpmix.privacy.plan import Plan

MANIFEST = "manifest.csv"
"""The listed images, in the work folder."""


@dataclass(frozen=True)
class Setup:
    """One run, up to its learning rate, which depends on the noise.

    Attributes:
        request: what was asked for.
        listing: the images.
        dataset: the private images as a data set, with its published sizes.
        model: the frozen encoder.
        synthetic: D; None if nothing is mixed in.
        method: how views are mixed.
        settings: all `RunSettings`, by name.
    """

    request: Request
    listing: Listing
    dataset: DatasetSpec
    model: EncoderSpec
    synthetic: SyntheticSet | None
    method: str
    settings: dict[str, Any]

    @property
    def population(self) -> int:
        """N, the published number of units that steps sample from: training images, or persons."""
        return population(self.dataset, self.request.unit)

    @property
    def views(self) -> int:
        """K, views of a unit in each step."""
        return sum(int(self.settings[name]) for name in ("k_base", "k_self", "k_diff"))

    def plan_file(self) -> PlanFile:
        """The privacy target, for which the noise is calibrated."""
        values = {name: self.settings[name] for name in PlanSettings.model_fields if name in self.settings}
        return PlanFile(population=self.population, **values)

    def experiment(self, learning_rate: float, seed: int) -> Experiment:
        """The run with this learning rate; `seed` is of the views, and in research also of sample and noise.

        Raises:
            ParamsError: for settings that do not fit together.
        """
        try:
            return Experiment(
                dataset=self.dataset,
                model=self.model,
                method=self.method,
                synthetic=self.synthetic,
                learning_rate=learning_rate,
                seed=seed,
                **self.settings,
            )
        except ValueError as error:
            raise ParamsError(_reason(error)) from error


def setup(asked: Request, listing: Listing) -> Setup:
    """What a request asks for, with `dpmix.own.choices.recipe` where it leaves a choice.

    Args:
        asked: the request.
        listing: its images.

    Raises:
        DataError: if a split or a class is empty, or the public images overlap the private ones.
        ParamsError: for values that do not fit together.
    """
    dataset = data_set(listing, asked)
    if asked.synthetic is not None and overlap(str(asked.synthetic), str(listing.root)):
        raise DataError(
            f"{asked.synthetic} is said to be public, but it is, holds or lies in the private images; name another "
            "folder"
        )
    model = encoder(asked.encoder, asked.side)
    size = population(dataset, asked.unit)
    if asked.delta is not None and asked.delta * size >= 1:
        raise ParamsError(
            f"delta {asked.delta:g} is not below 1 / N = {1 / size:.3g}, so that it promises nothing to some "
            f"{asked.unit}s; give one well below, such as {default_delta(size):g}, or leave out `delta`"
        )
    usual = recipe(size, dataset.classes, asked.epsilon, asked.unit, side=model.resolution)
    method = asked.method or (METHOD_WITH_PUBLIC if asked.synthetic else usual.method)
    synthetic = _synthetic(asked, dataset, model)
    settings = _settings(asked, usual, method)
    return Setup(asked, listing, dataset, model, synthetic, method, settings)


def split(asked: Request) -> dict[str, Any]:
    """How a request's images are divided into training and test set: arguments of `read_listing`."""
    how = {name: value for name in ("test_share", "key") if (value := getattr(asked, name)) is not None}
    return {"persons": asked.unit == "person", **how}


def listed(asked: Request) -> Listing:
    """The images of a request. None is decoded, unless damaged ones are to be left out.

    Raises:
        DataError: as `read_listing` does.
    """
    listing = read_listing(asked.images, **split(asked))
    if asked.skip_damaged:
        listing = leave_out_damaged(listing, counted=asked.unit == "image")
    return listing


def population(dataset: DatasetSpec, unit: str) -> int:
    """N: how many units of the training set steps sample from."""
    return int((dataset.persons if unit == "person" else dataset.train) or 0)


def data_set(listing: Listing, asked: Request) -> DatasetSpec:
    """Listed images as a data set, whose manifest is in the work folder.

    Raises:
        DataError: as `refuse_unfit` does.
    """
    refuse_unfit(listing, asked.unit)
    name = re.sub(r"[^\w.+-]+", "-", name_of(root_of(asked.images))).strip("-.+")[:80] or "images"
    persons = len(listing.persons("train")) if asked.unit == "person" else None
    # Where persons are protected, how many images they have is private.
    return DatasetSpec(
        name=name,
        label=name,
        source="listed",
        path=MANIFEST,
        classes=len(listing.classes),
        train=len(listing.of("train")) if asked.unit == "image" else None,
        persons=persons,
        test=len(listing.of("test")),
    )


def _synthetic(asked: Request, dataset: DatasetSpec, model: EncoderSpec) -> SyntheticSet | None:
    if asked.synthetic is None:
        return None
    from dpmix.data.folders import class_files

    skip = asked.skip_damaged
    size = sum(len(files) for files in class_files(asked.synthetic, skip_damaged=skip).values())
    given = GivenImagesSpec(name="public", images=str(asked.synthetic), skip_damaged=skip)
    return SyntheticSet(dataset=dataset, size=size, diffusion=given, names_from=model.resolution)


def _settings(asked: Request, usual: Recipe, method: str) -> dict[str, Any]:
    """All settings of the run, by name: what is asked for, over what is usual."""
    known = {name: getattr(usual, name) for name in RunSettings.model_fields if hasattr(usual, name)}
    mixed = {
        "self-aug": {"k_self": 0, "k_diff": 0},
        "dp-mix-self": {"k_diff": 0},
        METHOD_WITH_PUBLIC: {"k_diff": K_DIFF},
    }
    given = {name: getattr(asked, name) for name in RunSettings.model_fields if getattr(asked, name, None) is not None}
    settings = {
        "accountant": "pld",
        **known,
        **mixed[method],
        **given,
        "release": not asked.research,
    }
    if method == "self-aug" and settings["k_self"] + settings["k_diff"]:
        raise ParamsError("method self-aug mixes nothing; leave out `k_self` and `k_diff`, or choose dp-mix-self")
    return settings


def learning_rate_of(made: Setup, plan: "Plan", dimension: int) -> float:
    """The learning rate that is asked for, or that of the rule for this plan's noise.

    Args:
        made: the run.
        plan: its plan.
        dimension: d, the encoder's features.
    """
    from dpmix.own.choices.learning_rate import learning_rate

    if made.request.learning_rate is not None:
        return made.request.learning_rate
    return float(learning_rate(plan, views=made.views, classes=made.dataset.classes, dimension=dimension))


def _reason(error: ValueError) -> str:
    errors: list[Any] = getattr(error, "errors", list)()
    return str(errors[0]["msg"]).removeprefix("Value error, ") if errors else str(error)


def sizes(listing: Listing, asked: Request) -> str:
    """How many images of each split there are, in words; where persons are protected, how many persons."""
    train, test = (
        len(listing.persons(split) if asked.unit == "person" else listing.of(split)) for split in ("train", "test")
    )
    return f"{train:,} training {asked.unit}s and {test:,} test {asked.unit}s of {len(listing.classes)} classes"


def relative(path: Path) -> Path:
    """A path as a person would type it: relative to the working directory if it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path
