"""What `build_target` makes, beside what the workflow's steps make of the same images.

With it the makers that both call, `makers.data`, `makers.models` and `makers.runs`.
"""

import pytest
from typer.testing import CliRunner

from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.errors import ParamsError
from dpmix.targets import build_target
from tests.test_build import catalogue, on_disk, world

__all__ = ["catalogue"]

STEPS = {
    ImageStore: "images", EncoderModel: "encoder", SyntheticSet: "synthetic", SyntheticStore: "synthetic-images",
    PlanFile: "plans", Selection: "train", Experiment: "train", ZeroShot: "zero-shot",
}  # fmt: skip


def test_the_result_is_that_of_the_steps_byte_for_byte(
    catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_target("table12", catalogue)
    one, folder = on_disk(), tmp_path_factory.mktemp("steps")
    world(folder)
    monkeypatch.chdir(folder)
    for kind, name in STEPS.items():
        for artefact in catalogue.of(kind):
            shown = CliRunner().invoke(app, ["step", name, catalogue.path(artefact)], catch_exceptions=False)
            assert shown.exit_code == 0, shown.output
    shown = CliRunner().invoke(app, ["step", "table", "12"], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    steps = on_disk()
    assert set(one) == set(steps)
    assert {name for name in one if one[name] != steps[name]} == set()
    assert "results/demo/tables/table12.csv" in one
    assert sum(name.endswith("metrics.json") for name in one) == 5  # two seeds, with and without noise, and zero-shot


def test_a_target_that_is_not_there_is_answered_with_one_that_is(catalogue: Catalogue) -> None:
    with pytest.raises(ParamsError, match="table12") as caught:
        build_target("table1", catalogue)
    assert "\n" not in str(caught.value)
    assert on_disk() == {}
