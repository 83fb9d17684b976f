"""The two reference rows of a table: what they show, where they stand, and which tables have none."""

import copy
import itertools
import math
from typing import Any

import pytest

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.models import EncoderSpec
from dpmix.params.read import parse
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT
from dpmix.tables.kinds.grid import split_labels
from dpmix.tables.published import published
from tests.catalogue.conftest import TABLE_NUMBERS, runs


# The ladder -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("table", ["3", "4", "5", "6", "9", "10", "12"])
def test_fine_tuning_tables_show_both_ends(paper: Catalogue, table: str) -> None:
    ends = [cell for cell in paper.cells(table) if cell.end]
    shown = {run.model.name for run in runs(paper, table) if isinstance(run.model, EncoderSpec)}
    datasets = {run.dataset.name for run in runs(paper, table)}
    for label, kind in ((ZERO_SHOT, ZeroShot), (NON_PRIVATE, Experiment)):
        made = [one for cell in ends if label in (*cell.row, *cell.column) for one in cell.artefacts]
        assert all(isinstance(one, kind) for one in made)
        assert {(one.dataset.name, one.model.name) for one in made} == set(itertools.product(datasets, shown))  # type: ignore[attr-defined]
    for cell in ends:
        assert published(table).get(cell.row, cell.column) is None
        runs_without_noise = [one for one in cell.artefacts if isinstance(one, Experiment)]
        assert [run.seed for run in runs_without_noise] in ([], [1, 2, 3])
        for run in runs_without_noise:
            assert run.epsilon == math.inf
            assert isinstance(run.learning_rate, Selection)
            assert run.learning_rate.experiment.epsilon == math.inf
            assert run.learning_rate.experiment.holdout > 0


def test_tables_from_scratch_and_of_times_have_no_ladder(catalogues: dict[str, Catalogue]) -> None:
    for catalogue in catalogues.values():
        for table in ("1", "2", "7", "8", "11", "13"):
            assert not any(cell.end for cell in catalogue.cells(table))
    with_ladder = [table for table in TABLE_NUMBERS if any(cell.end for cell in catalogues["demo"].cells(table))]
    assert with_ladder == ["3"]


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_the_non_private_end_costs_no_views(catalogues: dict[str, Catalogue], scale: str) -> None:
    """Its heads join streams that private heads need anyway."""
    trained = [one for one in catalogues[scale].of(Experiment) if isinstance(one, Experiment)]
    without = {run.stream() for run in trained if run.epsilon == math.inf}
    assert without
    assert without <= {run.stream() for run in trained if run.epsilon < math.inf}


def test_a_ladder_is_as_its_settings_say(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["tables"]["3"]["ladder"] = {"method": "dp-mix-self", "clip_norm": 1000}
    changed["scales"]["demo"]["prompts"] = ["a photo of a {}", "a drawing of a {}"]
    cells = [cell for cell in Catalogue(parse(changed), "demo").cells("3") if cell.end]
    for cell in cells:
        for one in cell.artefacts:
            if isinstance(one, Experiment):
                assert (one.method, one.clip_norm, one.epsilon) == ("dp-mix-self", 1000, math.inf)
            if isinstance(one, ZeroShot):
                assert one.prompts == ("a photo of a {}", "a drawing of a {}")
    changed["scales"]["demo"]["prompts"] = ["a digit"]
    with pytest.raises(ParamsError, match=r"scales\.demo\.prompts\.0: the prompt 'a digit' does not name the class"):
        parse(changed)
    changed = copy.deepcopy(raw)
    changed["scales"]["demo"]["tables"]["13"]["ladder"] = {"method": "self-aug"}
    with pytest.raises(ParamsError, match=r"tables\.13\.ladder: unknown key; there are "):
        parse(changed)


def test_an_encoder_without_text_has_no_zero_shot_end(raw: dict[str, Any]) -> None:
    changed = copy.deepcopy(raw)
    changed["models"]["tiny-convnext"]["architecture"] = "timm/test_convnext"
    ends = [cell for cell in Catalogue(parse(changed), "demo").cells("3") if cell.end]
    assert {cell.column[0] for cell in ends if cell.row[1] == ZERO_SHOT} == {"Tiny ViT"}
    assert {cell.column[0] for cell in ends if cell.row[1] == NON_PRIVATE} == {"Tiny ViT", "Tiny ConvNeXt"}


def test_zero_shot_depends_on_the_prompts_and_not_on_standardised_features(
    catalogues: dict[str, Catalogue],
) -> None:
    one = catalogues["demo"].of(ZeroShot)[0]
    assert isinstance(one, ZeroShot)
    assert one.path("demo").parts[:2] == ("results", "demo")
    assert one.path("demo").name == "metrics.json"
    scaled = one.model_copy(update={"model": one.model.model_copy(update={"standardize": "none"})})
    assert scaled.path("demo") == one.path("demo")
    assert one.model_copy(update={"prompts": ("{}",)}).path("demo") != one.path("demo")


def test_a_label_may_stand_in_two_columns() -> None:
    assert split_labels("Self-Aug | 16") == ("Self-Aug", "16")
    assert split_labels("Self-Aug") == ("Self-Aug",)
