"""What a catalogue's runs are made from, by value: class names, D, the settings and rates of reference rows."""

import math
from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import ImageStore, SyntheticStore
from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import parse, read
from dpmix.tables.kinds.accuracy import NON_PRIVATE, ZERO_SHOT
from tests.artefacts.test_experiment import ENCODER
from tests.catalogue.test_settings import raw


def catalogue(table: dict[str, Any], models: dict[str, Any] | None = None, **demo: Any) -> Catalogue:
    params = raw(tables={"3": table}, **demo)
    params["models"] |= models or {}
    return Catalogue(parse(params))


def table_3(**changes: Any) -> dict[str, Any]:
    """One data set, two methods, one encoder and one ε."""
    return {
        "kind": "accuracy",
        "rows": [{"axis": "Dataset", "dataset": ["shapes"]}, {"axis": "Method", "method": ["self", "mix"]}],
        "columns": [{"axis": "Model", "model": ["eye"]}, {"axis": "ε", "epsilon": [2]}],
        **changes,
    }


def encoder(**changes: Any) -> dict[str, Any]:
    return {**ENCODER.model_dump(exclude={"name"}), **changes}


# Class names ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("models", "side"), [(["eye"], 16), (["eye", "large"], 16), (["large"], 48), (["net"], 64)])
def test_class_names_are_those_of_the_smallest_store_that_an_encoder_of_the_scale_needs(
    models: list[str], side: int
) -> None:
    """Or without an encoder, of a store as small as D; `small` is in no table."""
    table = table_3(columns=[{"axis": "Model", "model": models}, {"axis": "ε", "epsilon": [2]}])
    made = catalogue(table, {"large": encoder(resolution=48, label="Large"), "small": encoder(resolution=8)})
    names = {run.synthetic.names_from for run in made.of(Experiment) if isinstance(run, Experiment) and run.synthetic}
    assert names == {side}
    sides = {store.resolution for store in made.of(ImageStore) if isinstance(store, ImageStore)}
    assert sides == {{"eye": 16, "large": 48, "net": 32}[name] for name in models} | {side}


# D --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("standardize", "method", "uses_d"),
    [("public", "self", True), ("none", "self", False), ("public", "mix", True), ("none", "mix", True)],
)
def test_features_that_are_standardised_need_d_and_others_only_to_mix(
    standardize: str, method: str, uses_d: bool
) -> None:
    table = table_3(
        rows=[{"axis": "Dataset", "dataset": ["shapes"]}, {"axis": "Method", "method": [method]}],
        columns=[{"axis": "Model", "model": ["plain"]}, {"axis": "ε", "epsilon": [2]}],
    )
    made = catalogue(table, {"plain": encoder(standardize=standardize)})
    run = made.cells("3")[0].artefacts[0]
    assert isinstance(run, Experiment)
    assert (run.synthetic is not None) == uses_d
    stores = [path for path, one in made.artefacts.items() if isinstance(one, SyntheticStore)]
    assert len(stores) == int(uses_d)
    assert [path for path in made.inputs(run.path("demo")) if path in stores] == stores


# Reference rows -------------------------------------------------------------------------------------------------------
def ends(**changes: Any) -> dict[str, tuple[Artefact, ...]]:
    """What the reference rows of a table with these settings show, by label."""
    (*_, zero_shot, without) = catalogue(table_3(**changes)).cells("3")
    assert (zero_shot.row[1], without.row[1]) == (ZERO_SHOT, NON_PRIVATE)
    return {cell.row[1]: cell.artefacts for cell in (zero_shot, without)}


def test_a_reference_rows_settings_lie_over_its_tables_and_its_columns() -> None:
    fixed = {"clip_norm": 3, "epochs": 2, "method": "mix"}
    made = ends(ladder={"method": "self", "clip_norm": 7, "k_base": 6}, fixed=fixed)
    (zero_shot,) = made[ZERO_SHOT]
    assert isinstance(zero_shot, ZeroShot)
    assert (zero_shot.dataset.name, zero_shot.model.name) == ("shapes", "eye")
    for run, seed in zip(made[NON_PRIVATE], (1, 2), strict=True):
        assert isinstance(run, Experiment)
        assert (run.method, run.clip_norm, run.k_base, run.epochs) == ("self", 7, 6, 2)
        assert (run.epsilon, run.seed) == (math.inf, seed)


def test_without_noise_a_rate_is_chosen_for_the_run_as_it_is() -> None:
    """Private runs share the rate of `tuned_as`; a head without noise has one of its own."""
    fixed = {"learning_rate": "tuned"}
    table = table_3(ladder={"method": "self", "k_base": 6}, fixed=fixed, tuned_as={"k_base": 3, "k_self": 1})
    cells = catalogue(table).cells("3")
    found = {}
    for cell in cells:
        for run in cell.artefacts:
            if isinstance(run, Experiment):
                assert isinstance(run.learning_rate, Selection)
                tuning = run.learning_rate.experiment
                assert tuning.epsilon == run.epsilon
                found[cell.row[1]] = (run.k_base, run.k_self), (tuning.k_base, tuning.k_self)
    assert found == {"Self": ((4, 3), (3, 1)), "Mix": ((4, 3), (3, 1)), NON_PRIVATE: ((6, 3), (6, 3))}


def test_without_noise_a_rate_for_each_epsilon_is_that_of_infinity() -> None:
    rates = {2: 0.25, math.inf: 8.0}
    (run, _) = ends(ladder={"method": "self"}, fixed={"learning_rate": rates})[NON_PRIVATE]
    assert isinstance(run, Experiment)
    assert run.learning_rate == 8


def test_docs_choices_says_which_tables_have_reference_rows(repository: Path) -> None:
    params = read(repository / "params.yaml")
    text = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    for scale, words in (("paper", "at the paper's scale Tables {} and {}, "), ("demo", "in the demo Table {1} alone")):
        whole = Catalogue(params, scale)
        *most, last = [name for name in whole.spec.tables if any(cell.end for cell in whole.cells(name))]
        assert words.format(", ".join(most), last) in text
