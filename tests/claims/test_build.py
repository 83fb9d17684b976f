import json
from pathlib import Path

import numpy as np
import pytest

from dpmix.artefacts.experiment import Experiment, GradientRecord
from dpmix.artefacts.measurements import Distance
from dpmix.catalogue.catalogue import Catalogue
from dpmix.claims.build import judged, write
from dpmix.claims.render import Judged
from dpmix.errors import DpmixError
from dpmix.files import write_json
from dpmix.targets import make_target
from tests.tables.records import spent

GAIN = {"dp-mix-self": 2.0, "dp-mix-diff": 3.0, "mixed-ghost": -1.0, "pure-dp-mix-diff": 1.0}


def accuracy(run: Experiment) -> float:
    """Higher by a fixed amount for each method, over what a seed shares, and with a little of the run's own."""
    own = int(run.hash, 16) % 1000 / 1000
    return 70 + 3 * (run.seed % 3) + GAIN.get(run.method, 0.0) + 0.2 * own


def leave(catalogue: Catalogue, but: type | None = None) -> None:
    """The records that the claims read."""
    for artefact in catalogue.targets["claims"]:
        path = artefact.path(catalogue.scale)
        if but is not None and isinstance(artefact, but):
            continue
        if isinstance(artefact, GradientRecord):
            path.parent.mkdir(parents=True, exist_ok=True)
            wide = 1.0 if artefact.experiment.method == "self-aug" else 0.5
            rng = np.random.default_rng(int(artefact.hash, 16))
            np.savez(path, magnitudes=wide * rng.random((4, 50), dtype=np.float32), epsilon=1.0)
        elif isinstance(artefact, Distance):
            write_json(path, {"distance": {"self-aug": 3.0, "dp-mix-self": 2.0}.get(artefact.views.method, 1.0)})
        else:
            assert isinstance(artefact, Experiment)
            times = {"seconds": 60 + 10 * GAIN.get(artefact.method, 0) + artefact.seed, "hardware": "an abacus"}
            write_json(path, {"accuracy": accuracy(artefact), "epsilon": spent(artefact), "times": times})


@pytest.fixture
def made(demo: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.chdir(tmp_path)
    leave(demo)
    return demo


def by_id(found: list[Judged]) -> dict[str, Judged]:
    return {one.claim.id: one for one in found}


def test_verdicts_are_of_what_the_records_hold(made: Catalogue) -> None:
    found = by_id(judged(made))
    expected = {
        "self-mixing": "supported", "mixed-ghost": "supported", "synthetic-mixing": "supported",
        "pure-mixing": "supported", "pure-mixing-over-views": "supported", "gradients": "supported",
        "privacy-cost": "supported", "running-time": "supported", "fid-order": "supported", "pretraining": "supported",
    }  # fmt: skip
    assert {name: found[name].runs.verdict for name in expected} == expected
    (part,) = found["synthetic-mixing"].runs.parts
    assert (part.seeds, len(part.pairs)) == (3, 4)
    assert part.estimate == pytest.approx(1.0, abs=0.2)


def test_a_part_is_the_paired_mean_of_its_records(made: Catalogue) -> None:
    """By hand, from the catalogue's cells."""
    (part,) = by_id(judged(made))["pretraining"].runs.parts
    sides = {label: [cell for cell in made.cells("6") if cell.row == (label,)] for label in ("No (Ours)", "Yes")}
    means = [
        np.mean([accuracy(ours.artefacts[at]) - accuracy(other.artefacts[at])
                 for ours, other in zip(sides["No (Ours)"], sides["Yes"], strict=True)])
        for at in range(3)
    ]  # fmt: skip
    assert part.estimate == pytest.approx(np.mean(means))
    assert part.sd == pytest.approx(np.std(means, ddof=1))


def test_units_are_the_tables(made: Catalogue) -> None:
    units = {name: one.unit for name, one in by_id(judged(made)).items()}
    assert units["self-mixing"] == units["fid-order"] == "test accuracy (%)"
    assert (units["running-time"], units["gradients"]) == ("running time (min)", "standard deviation")


def test_epsilon_is_what_was_executed_by_the_runs_own_accountant(made: Catalogue) -> None:
    run = next(one for one in made.targets["claims"] if isinstance(one, Experiment) and one.method == "dp-mix-diff")
    assert run.accountant == "rdp"
    path = run.path(made.scale)
    record = json.loads(path.read_text())
    for accountant, verdict in (("prv", "supported"), ("rdp", "contradicted")):
        changed = {**record, "epsilon": {**record["epsilon"], accountant: record["epsilon"][accountant] + 0.001}}
        write_json(path, changed)
        found = by_id(judged(made))["privacy-cost"].runs
        assert found.verdict == verdict
    assert [pair.against for part in found.parts for pair in part.pairs].count(True) == 1


def test_both_files_are_written_and_their_bytes_are_the_same_each_time(made: Catalogue) -> None:
    make_target("claims", made)
    paths = [Path("results/demo/claims.json"), Path("results/demo/claims.md")]
    first = [path.read_bytes() for path in paths]
    assert write(made, Path("results/demo")) == tuple(paths)
    assert [path.read_bytes() for path in paths] == first
    values = json.loads(first[0])
    assert (values["scale"], len(values["claims"])) == ("demo", len(judged(made)))


def test_a_run_that_is_missing_is_named(demo: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    leave(demo, but=Experiment)
    with pytest.raises(DpmixError, match=r"metrics\.json does not exist; run the step that makes it"):
        judged(demo)


def test_a_gradient_record_that_is_missing_is_named(
    demo: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leave(demo, but=GradientRecord)
    with pytest.raises(DpmixError, match=r"gradients\.npz does not exist; run the step that makes it"):
        judged(demo)
