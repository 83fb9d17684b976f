import math

import pytest

from dpmix.report.data import CellData
from dpmix.report.privacy_words import privacy_words
from dpmix.report.runs import Facets, Rate, Run
from dpmix.tables.cells import Cell

RUN = Run(
    "results/demo/runs/a/metrics.json", "done", seed=1, epsilon={"rdp": 1.99915, "prv": 1.82, "pld": 1.81}, target=2.0,
    delta=1e-5, accountant="rdp", unit="image", population=1437, rate=Rate(8.0, "selection.json", 0.5, 256.0),
    batch=256,
    batches="poisson", steps=(44, 44), noise=2.853, sampling=0.17815, clip=1.0,
)  # fmt: skip


def words(*runs: Run) -> str:
    return privacy_words(CellData(Cell((), (), (80.0,)), Facets(), runs))


def changed(**changes: object) -> Run:
    return Run(**{**vars(RUN), **changes})


def test_what_was_executed_by_every_accountant_what_it_counts_and_what_it_does_not() -> None:
    assert words(RUN) == (
        "The run is (ε, δ)-differentially private with ε = 1.9992 and δ = 1e-05 by Rényi DP, the accountant that its "
        "noise is calibrated with (1.8100 by privacy loss distributions, 1.8200 by privacy random variables). "
        "Neighbouring data sets differ by one image. Counted are the 44 steps that were executed: Poisson samples of "
        "N = 1,437 images at rate q = 0.1782, gradients clipped to C = 1, noise multiplier 2.853. "
        "Not counted: the choice of the learning rate on held-out training images; test accuracy, which reads the test "
        "images. Sample and noise can be recomputed from the seed, so this model must not be released as private."
    )


def test_of_several_runs_the_largest_is_said_and_that_they_add_up() -> None:
    said = words(RUN, changed(epsilon={"rdp": 1.5, "prv": 1.95, "pld": 1.7}))
    assert "Each of the 2 runs is" in said
    assert "ε = 1.9992" in said
    assert "1.9500 by privacy random variables" in said
    assert "The 2 runs together spend more than one of them." in said
    assert said.endswith("so these models must not be released as private.")


def test_only_runs_that_are_done_promise_anything() -> None:
    assert words(changed(state="missing")) == ""
    assert words() == ""
    assert words(changed(state="failed"), RUN).startswith("The run is")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": math.inf}, "Trained without noise: no ε bounds"),
        ({"kind": "ZeroShot"}, "No private image is used"),
        ({"kind": "Distance"}, "No ε covers it"),
        ({"kind": "PublishedPrivacy"}, "Nothing is trained"),
        ({"kind": "CanaryAttack"}, "A lower bound on ε"),
        ({"batches": "fixed-order"}, "batches in a fixed order, without amplification by sampling"),
        ({"unit": "person"}, "differ by one person"),
        ({"release": True}, "recorded nowhere"),
        ({"rate": Rate(1.0, "params.yaml")}, "Not counted: test accuracy"),
        ({"accountant": "pld"}, "ε = 1.8100 and δ = 1e-05 by privacy loss distributions"),
    ],
)
def test_other_runs_say_what_they_are(change: dict[str, object], said: str) -> None:
    assert said in words(changed(**change))
