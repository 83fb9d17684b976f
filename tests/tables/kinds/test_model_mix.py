"""Tables of ModelMix: rows compared by what their runs left, and attacks beside the ε that is claimed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import CanaryAttack
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.files import read_json, write_json
from dpmix.params.read import parse
from dpmix.privacy.mixing_attack import MixedRun, attack
from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon
from dpmix.tables.build import build as table_of
from dpmix.tables.markdown import markdown

NAME = "mixed"
LEAKS = {
    "epsilon": 8, "delta": 1e-5, "noise_multiplier": 0.335, "sampling_rate": 0.2, "steps": 300, "width": 11.25,
    "truncation": 100, "momentum": 0.9, "runs": 100,
}  # fmt: skip
TABLE = {
    "kind": "model-mix",
    "title": "Mixed",
    "rows": [{"axis": "Method", "values": {"Plain": {"method": "dp-sgd"}, "Mixed": {"method": "self-aug"}}}],
    "columns": [{"axis": "ε", "epsilon": [4, 8]}],
    "fixed": {"dataset": "digits", "model": "tiny-resnet", "learning_rate": 1},
    "compare": {"Mixed": ["Plain"]},
    "attacks": {"Leaks": LEAKS, "Unmixed": {**LEAKS, "coordinates": "unmixed"}, "Sound": {**LEAKS, "momentum": 0}},
}


HOW = "Mixed minus Plain, mean over seeds and its 95 % interval: "


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = params["scales"]["demo"]
    return {**params, "scales": {"demo": {**demo, "tables": {NAME: copy.deepcopy(TABLE)}, "figures": {}}}}


@pytest.fixture
def catalogue(raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """With a record for each run: of `Mixed` the accuracies are higher by 1, 2 and 3, and their ε is by Theorem B."""
    monkeypatch.chdir(tmp_path)
    made = Catalogue(parse(raw))
    for run in made.of(Experiment):
        assert isinstance(run, Experiment)
        mixed = run.method == "self-aug"
        record: dict[str, Any] = {"accuracy": 50 + 10 * run.seed + mixed * run.seed + run.epsilon}
        record["epsilon"] = {"rdp": run.epsilon - run.seed / 16}
        if mixed:
            record |= {"epsilon": {"rdp": 90.0, "model-mix": run.epsilon / 2}, "epsilon_by": "model-mix"}
        write_json(run.path("demo"), record)
    return made


def test_an_attack_is_made_and_shown_in_the_column_of_its_claim(catalogue: Catalogue) -> None:
    attacks = {cell.row[0]: cell for cell in catalogue.cells(NAME) if cell.row[0] not in ("Plain", "Mixed")}
    assert list(attacks) == ["Leaks", "Unmixed", "Sound"]
    assert {cell.column for cell in attacks.values()} == {("ε = 8",)}
    build(*(one for cell in attacks.values() for one in cell.artefacts), scale="demo", quiet=True)
    table = table_of(NAME, catalogue)
    steps = MixedSteps(0.335, 0.2, 300, 11.25, 100)
    bounds = {}
    for label, how in {"Leaks": MixedRun(steps, 0.9), "Unmixed": MixedRun(steps, 0.9, False)}.items():
        (one,) = attacks[label].artefacts
        record = read_json(one.path("demo"))
        bounds[label] = attack(how, 100, 1, 1e-5).epsilon
        assert record["epsilon"] == {
            "accountant": amplified_epsilon([steps], delta=1e-5), "at_least": bounds[label],
        }  # fmt: skip
        shown = table.grid[(label,), ("ε = 8",)].note
        assert shown.startswith("ε ≥ ")
        assert 0 <= bounds[label] - float(shown.removeprefix("ε ≥ ")) < 0.1
    assert bounds["Leaks"] > 8
    text = markdown(table)
    for label, verdict in (("Leaks", "claim is false"), ("Unmixed", "claim is false"), ("Sound", "not contradict")):
        (note,) = [note for note in table.notes if note.startswith(f"{label}: attack")]
        assert verdict in note
        assert note in text
        assert ("that are not mixed" in note) == (label == "Unmixed")


def leave_attacks(catalogue: Catalogue, bound: float) -> None:
    for one in catalogue.of(CanaryAttack):
        found = {"epsilon": {"at_least": bound, "accountant": 7.5}, "confidence": 0.95}
        write_json(one.path("demo"), found)


@pytest.mark.parametrize(("bound", "words"), [(8.01, "at least 8.0 with 95 % confidence, so the claim is false")])
def test_a_bound_is_rounded_down_but_judged_as_it_is(catalogue: Catalogue, bound: float, words: str) -> None:
    leave_attacks(catalogue, bound)
    notes = table_of(NAME, catalogue).notes
    assert sum(words in note for note in notes) == 3
    leave_attacks(catalogue, 7.99)
    assert not any("claim is false" in note for note in table_of(NAME, catalogue).notes)


def test_rows_are_compared_seed_by_seed_and_the_bound_is_named(catalogue: Catalogue) -> None:
    leave_attacks(catalogue, 1.0)
    table = table_of(NAME, catalogue)
    # 1, 2, 3: the mean is 2, and the 95 % t interval is 2 ± 4.303 / √3.
    assert "Mixed minus Plain, mean over seeds and its 95 % interval: ε = 4: +2.0 [−0.5, +4.5]; ε = 8: " in str(
        table.notes
    )
    assert "Plain: ε executed by Theorem A (rdp) 3.94 (ε = 4), 7.94 (ε = 8)." in table.notes
    assert (
        "Mixed: ε executed by Theorem B 2.00 (ε = 4), 4.00 (ε = 8); by Theorem A (rdp) 90.00 (ε = 4), 90.00 (ε = 8)."
    ) in table.notes
    assert table.grid[("Mixed",), ("ε = 4",)].epsilon == 2
    assert table.grid[("Mixed",), ("ε = 4",)].values == (65.0, 76.0, 87.0)


def test_one_seed_or_no_common_column_or_no_difference_is_said_and_no_failure(
    raw: dict[str, Any], catalogue: Catalogue
) -> None:
    table = raw["scales"]["demo"]["tables"][NAME]
    del table["attacks"]
    table["seeds"] = [1]
    notes = table_of(NAME, Catalogue(parse(raw))).notes
    assert [note for note in notes if "minus" in note] == [f"{HOW}ε = 4: +1.0 (one seed); ε = 8: +1.0 (one seed)."]
    table["omit"] = [{"Method": "Plain", "ε": "ε = 4"}, {"Method": "Mixed", "ε": "ε = 8"}]
    notes = table_of(NAME, Catalogue(parse(raw))).notes
    assert notes
    assert not [note for note in notes if "minus" in note]
    del table["omit"]
    for run in catalogue.of(Experiment):
        path = run.path("demo")
        write_json(path, {**read_json(path), "accuracy": 80.0})
    table["seeds"] = [1, 2, 3]
    notes = table_of(NAME, Catalogue(parse(raw))).notes
    assert f"{HOW}ε = 4: the same at each seed; ε = 8: the same at each seed." in notes


def test_rows_with_two_labels_are_compared_within_their_own(raw: dict[str, Any], catalogue: Catalogue) -> None:
    """Of two data sets, Mixed is higher by 1, 2 and 3 points on one, and as much lower on the other."""
    table = raw["scales"]["demo"]["tables"][NAME]
    del table["attacks"]
    table["rows"].insert(0, {"axis": "Dataset", "dataset": ["digits", "digits-300"]})
    del table["fixed"]["dataset"]
    table["compare"] = {f"{name} | Mixed": [f"{name} | Plain"] for name in ("digits", "digits (300)")}
    both = Catalogue(parse(raw))
    for run in both.of(Experiment):
        assert isinstance(run, Experiment)
        more = (run.method == "self-aug") * run.seed * (1 if run.dataset.name == "digits" else -1)
        write_json(run.path("demo"), {"accuracy": 80.0 + more, "epsilon": {"rdp": 1.0}})
    notes = table_of(NAME, both).notes
    for name, words in (("digits", "+2.0 [−0.5, +4.5]"), ("digits (300)", "−2.0 [−4.5, +0.5]")):
        (note,) = [note for note in notes if note.startswith(f"{name}, Mixed minus {name}, Plain")]
        assert note.count(words) == 2
        assert f"{name}, Plain: ε executed by Theorem A (rdp) 1.00 (ε = 4), 1.00 (ε = 8)." in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attacks": {"A": {**LEAKS, "epsilon": 7}}}, "unknown column 'ε = 7' in attacks of table mixed, A; "),
        ({"attacks": {"A": {**LEAKS, "steps": 10}}}, "steps"),
        ({"attacks": {"Plain": LEAKS}}, "two cells are labelled Plain / ε = 8; rename one"),
    ],
)
def test_what_does_not_fit_is_one_line(raw: dict[str, Any], change: dict[str, Any], words: str) -> None:
    raw["scales"]["demo"]["tables"][NAME] |= change
    with pytest.raises(ParamsError) as caught:
        Catalogue(parse(raw))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_words_are_another_page(raw: dict[str, Any], catalogue: Catalogue) -> None:
    raw["scales"]["demo"]["tables"][NAME]["compare"] = {"Plain": ["Mixed"]}
    assert Catalogue(parse(raw)).fingerprint(f"table_{NAME}") != catalogue.fingerprint(f"table_{NAME}")


def test_one_seed_no_noise_and_an_accountant_that_gave_no_bound(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw["scales"]["demo"]["seeds"] = [1]
    raw["scales"]["demo"]["tables"][NAME] |= {"attacks": {}, "columns": [{"axis": "ε", "epsilon": [8, float("inf")]}]}
    made = Catalogue(parse(raw))
    for run in made.of(Experiment):
        assert isinstance(run, Experiment)
        mixed = run.method == "self-aug"
        record: dict[str, Any] = {"accuracy": 81.5 if mixed else 80.0, "epsilon": {}}
        if run.epsilon == 8:
            record |= {"epsilon": {"model-mix": 7.9}, "epsilon_by": "model-mix"} if mixed else {"epsilon": {"rdp": 8}}
        write_json(run.path("demo"), record)
    notes = table_of(NAME, made).notes
    how = "mean over seeds and its 95 % interval"
    assert f"Mixed minus Plain, {how}: ε = 8: +1.5 (one seed); ε = ∞: +1.5 (one seed)." in notes
    assert "Mixed: ε executed by Theorem B 7.90 (ε = 8); by Theorem A (rdp) ∞ (ε = 8), ∞ (ε = ∞)." in notes
    assert "Plain: ε executed by Theorem A (rdp) 8.00 (ε = 8), ∞ (ε = ∞)." in notes
