"""The workflow's steps one after another in this process, where a test can make them small."""

from pathlib import Path

from dpmix.catalogue import Catalogue
from dpmix.cli import steps
from dpmix.experiment import (
    Artefact,
    EncoderModel,
    Experiment,
    ImageStore,
    PlanFile,
    Selection,
    SyntheticSet,
    SyntheticStore,
    ZeroShot,
)
from dpmix.params import read

PARAMS = Path("params.yaml")


def outputs(catalogue: Catalogue, *kinds: type[Artefact]) -> list[Path]:
    """The files of these kinds."""
    return [Path(catalogue.path(artefact)) for kind in kinds for artefact in catalogue.of(kind)]


def make_table_3(scale: str | None = None) -> Catalogue:
    """Table 3 with encoders from `params.yaml` in the working directory, and all that it is made from."""
    catalogue = Catalogue(read(PARAMS), scale)
    made = [
        (steps.images, ImageStore),
        (steps.encoder, EncoderModel),
        (steps.synthetic, SyntheticSet),
        (steps.synthetic_images, SyntheticStore),
    ]
    for step, kind in made:
        for output in outputs(catalogue, kind):
            if not output.exists():
                step(output, PARAMS, scale)
    steps.plans(outputs(catalogue, PlanFile), PARAMS, scale)
    for kinds in ((Selection,), (Experiment,)):
        steps.train(outputs(catalogue, *kinds), PARAMS, scale, None, "auto", None)
    steps.zero_shot(outputs(catalogue, ZeroShot), PARAMS, scale)
    steps.table("3", PARAMS, scale)
    return catalogue
