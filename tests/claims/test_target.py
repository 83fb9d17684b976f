import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment, GradientRecord
from dpmix.catalogue.catalogue import Catalogue
from dpmix.claims import entries
from dpmix.claims.entries import load
from dpmix.claims.pairs import Contrast
from dpmix.claims.target import RunCell, artefacts, on_paper, on_runs, shown
from dpmix.errors import ParamsError
from dpmix.params.read import parse
from dpmix.tables.published import PAPERS, published, published_gradient_sd

# In the paper's text alone, or of cells that it does not print.
NOT_PRINTED = {"microbatches": 1}


def sides(contrasts: list[Contrast[Any]]) -> list[Any]:
    return [side for one in contrasts for pair in one.pairs for side in (pair.higher, pair.lower, *pair.by)]


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def test_every_part_of_every_claim_has_its_cells(catalogue: Catalogue) -> None:
    """As many parts at both scales, but for labels that one of them has more of."""
    found = on_runs(catalogue)
    assert [claim.id for claim, _ in found] == [claim.id for claim in load()]
    for claim, contrasts in found:
        pairs = sum(max(len(part.pairs()), part.points is not None) for part in claim.parts)
        assert len(contrasts) >= pairs, claim.id
        assert all(one.pairs for one in contrasts)
        assert len({one.label for one in contrasts}) == len(contrasts), claim.id
        assert all(isinstance(side, RunCell) and side.cell.artefacts for side in sides(contrasts))
        assert not any(side.cell.end for side in sides(contrasts))


def test_a_claim_of_all_data_sets_compares_all_of_them(catalogue: Catalogue) -> None:
    of = {claim.id: contrasts for claim, contrasts in on_runs(catalogue)}
    scratch, tuned = of["self-mixing"]
    rows = {"2": scratch, "3": tuned}
    for name, contrast in rows.items():
        cells = [cell for cell in catalogue.cells(name) if "Self-Aug" in cell.row and not cell.end]
        assert len(contrast.pairs) == len(cells) > 0
        assert [pair.lower.cell for pair in contrast.pairs] == cells
        for pair in contrast.pairs:
            assert "DP-Mix_Self" in pair.higher.cell.row
            assert pair.higher.cell.column == pair.lower.cell.column
            assert pair.higher.cell.row[0] == pair.lower.cell.row[0]


def test_reference_rows_are_no_cells_of_a_claim(
    demo: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a claim leaves the methods free, they would be paired like any other."""
    sides = {
        side: {"table": "3", "Model": model} for side, model in (("higher", "tiny-vit"), ("lower", "tiny-convnext"))
    }
    claim = {"id": "models", "says": "One.", "where": ["§1"], "expects": "greater", "parts": [sides]}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([claim]), encoding="utf-8")
    monkeypatch.setattr(entries.load, "__defaults__", (path,))
    ((_, (contrast,)),) = on_runs(demo)
    assert len(contrast.pairs) == 2 * 4 * 4  # data sets, methods, ε
    assert not [pair.place for pair in contrast.pairs if "Zero-shot" in pair.place]


def test_runs_that_are_compared_share_their_seeds(catalogue: Catalogue) -> None:
    found = on_runs(catalogue)
    assert sum(len(one.pairs) for _, contrasts in found for one in contrasts) > 100
    for claim, contrasts in found:
        for contrast in contrasts:
            for pair in contrast.pairs:
                seeds = [[getattr(getattr(one, "experiment", one), "seed", None) for one in side.cell.artefacts]
                         for side in (pair.higher, pair.lower)]  # fmt: skip
                assert seeds[0] == seeds[1] == list(catalogue.spec.seeds), claim.id


def test_the_target_needs_what_claims_compare_and_no_more(catalogue: Catalogue) -> None:
    compared = {catalogue.path(one) for _, found in on_runs(catalogue) for side in sides(found)
                for one in side.cell.artefacts}  # fmt: skip
    assert compared == {catalogue.path(one) for one in artefacts(catalogue)}
    assert catalogue.targets["claims"] == artefacts(catalogue)
    # Neither reference rows nor the pictures of Figure 1 are among them.
    assert compared < set(catalogue.artefacts)
    assert not [path for path in compared if "zero-shot" in path]


def test_what_no_table_or_figure_shows_is_gradients_of_runs_that_tables_show(catalogue: Catalogue) -> None:
    """So that these cost next to nothing: a run's head is trained once, in one job."""
    others = {path for target, found in catalogue.targets.items() if target != "claims"
              for path in map(catalogue.path, found)}  # fmt: skip
    alone = [one for one in catalogue.targets["claims"] if catalogue.path(one) not in others]
    assert len(alone) == 2 * 6  # two further seeds of two data sets and three methods
    for one in alone:
        assert isinstance(one, GradientRecord)
        if catalogue.scale == "demo":
            assert catalogue.path(one.experiment) in others


def test_gradients_are_of_every_seed_and_figure_2_has_the_first(demo: Catalogue) -> None:
    (found,) = [contrasts for claim, contrasts in on_runs(demo) if claim.id == "gradients"]
    assert [one.label for one in found] == ["Self-Aug over DP-Mix_Self", "Self-Aug over DP-Mix_Diff"]
    figure = {demo.path(one) for one in demo.targets["figure2"]}
    for side in sides(found):
        first, *others = side.cell.artefacts
        assert demo.path(first) in figure
        assert [one.experiment.model_copy(update={"seed": first.experiment.seed}) for one in others] == [
            first.experiment, first.experiment,
        ]  # fmt: skip


def test_the_papers_numbers_are_those_of_its_tables(catalogues: dict[str, Catalogue]) -> None:
    printed = [one for name in PAPERS for one in published(name).values.values()]
    found = on_paper(catalogues["demo"].params)
    here = {claim.id: len(contrasts) for claim, contrasts in on_runs(catalogues["paper"])}
    used = 0
    for claim, contrasts in found:
        assert len(contrasts) == here[claim.id] - NOT_PRINTED.get(claim.id, 0), claim.id
        for side in sides(contrasts):
            used += 1
            assert any(side is one for one in printed) or side.mean in published_gradient_sd().values()
    assert used > 400


def test_the_papers_pairs_are_those_of_its_scale(catalogues: dict[str, Catalogue]) -> None:
    """Of the same cells, by label; K_DIFF of a data set apart, which the paper does not print."""
    ours = {claim.id: contrasts for claim, contrasts in on_runs(catalogues["paper"])}
    assert len(ours) >= 12
    for claim, contrasts in on_paper(catalogues["paper"].params):
        labels = {one.label: {pair.place for pair in one.pairs} for one in ours[claim.id]}
        for one in contrasts:
            assert labels[one.label] == {pair.place for pair in one.pairs}, claim.id


# Params that are not the project's ------------------------------------------------------------------------------------


def catalogue_of(raw: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> Catalogue:
    changed = copy.deepcopy(raw)
    change(changed["scales"]["demo"])
    return Catalogue(parse(changed), "demo")


def test_a_scale_that_has_none_of_the_cells_lacks_the_target(raw: dict[str, Any]) -> None:
    def change(scale: dict[str, Any]) -> None:
        scale["tables"], scale["figures"] = {"8": scale["tables"]["8"]}, {}

    found = catalogue_of(raw, change)
    assert set(found.targets) == {"table8"}
    assert all(contrasts == [] for _, contrasts in on_runs(found))


@pytest.mark.parametrize(
    "change",
    [
        lambda scale: scale["tables"].pop("3"),
        lambda scale: scale["figures"].pop("2"),
        lambda scale: scale["tables"]["3"]["rows"][0].update(dataset=["digits"]),
        lambda scale: scale["tables"]["3"]["columns"][1].update(epsilon=[1, 3]),
        lambda scale: scale["tables"]["9"]["columns"][2].update(k_diff=[0, 5]),
        lambda scale: scale["tables"]["4"]["columns"][0]["values"].pop("+Blur"),
    ],
    ids=["table", "figure", "data set", "epsilon", "views", "augmentation"],
)
def test_cells_that_a_scale_lacks_are_left_out(raw: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> None:
    whole, found = catalogue_of(raw, lambda scale: None), catalogue_of(raw, change)
    assert 0 < len(found.targets["claims"]) < len(whole.targets["claims"]) + 12
    assert found.fingerprint("claims") != whole.fingerprint("claims")


def test_own_images_and_cifar10_have_claims_too(repository: Path) -> None:
    from dpmix.params.read import read

    for name, count in (("cifar10", 4), ("own-images", 4)):
        found = on_runs(Catalogue(read(repository / "docs" / name / "params.yaml")))
        assert len([claim for claim, contrasts in found if contrasts]) >= count - 2


def test_the_fingerprint_holds_the_claims(
    raw: dict[str, Any], demo: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = demo.fingerprint("claims")
    assert before == catalogue_of(raw, lambda scale: None).fingerprint("claims")
    assert all(claim.model_dump(mode="json") in shown(demo) for claim in load())
    text = entries.FILE.read_text(encoding="utf-8")
    changed = tmp_path / "claims.yaml"
    changed.write_text(text.replace("margin: 0.5", "margin: 0.4", 1), encoding="utf-8")
    monkeypatch.setattr(entries.load, "__defaults__", (changed,))
    assert demo.fingerprint("claims") != before
    assert demo.fingerprint("report") != catalogue_of(raw, lambda scale: None).fingerprint("table9")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('{ table: "12", Method: Self-Aug }', '{ table: "12", Method: Slef-Aug }',
         "pure-mixing-over-views: unknown Method 'Slef-Aug' in table 12 at scale demo; did you mean 'Self-Aug'?"),
        ('{ table: "12", Method: Self-Aug }', '{ table: my-tabel, Method: Self-Aug }',
         "pure-mixing-over-views: unknown table 'my-tabel'; there are 1, "),
        ("demo: digits-300, paper: Caltech256", "demo: digts, paper: Caltech256",
         "pretraining-alone: unknown Dataset 'digts' in table 3 at scale demo; did you mean 'digits'?"),
    ],
)  # fmt: skip
def test_a_typing_error_is_one_line_before_anything_runs(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    text = entries.FILE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    changed = tmp_path / "claims.yaml"
    changed.write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(entries.load, "__defaults__", (changed,))
    with pytest.raises(ParamsError) as caught:
        catalogue_of(raw, lambda scale: None)
    assert str(caught.value).startswith(f"dpmix/claims/claims.yaml: {said}")
    assert not re.search(r"\n", str(caught.value))


def test_labels_may_change_and_names_stay(raw: dict[str, Any]) -> None:
    whole = catalogue_of(raw, lambda scale: None)
    raw["datasets"]["digits-300"]["label"] = "few digits"
    raw["models"]["tiny-vit"]["label"] = "Small ViT"
    raw["methods"]["self-aug"]["label"] = "Views alone"
    renamed = catalogue_of(raw, lambda scale: None)
    paths = [set(map(one.path, one.targets["claims"])) for one in (whole, renamed)]
    # Tables 4, 5 and 7 have labels of their own.
    assert paths[0] == paths[1]


def test_runs_for_accuracy_are_the_tables_own(demo: Catalogue) -> None:
    assert sum(isinstance(one, Experiment) for one in demo.targets["claims"]) > 300
