"""ε of all runs on the same images is that of one run of all their steps, and words say no less."""

from dpmix.own.training.spent import Measured
from dpmix.own.training.totals import (
    in_words,
    not_counted,
    on_test_images,
    so_far,
    so_far_on_test_images,
    tightest,
    together,
)
from dpmix.privacy.accounting import Steps, composed_epsilons
from tests.own.training.test_spent import a_run


def test_together_is_one_run_of_all_steps_and_of_one_unit_alone() -> None:
    runs = [a_run(steps=100), a_run(steps=40, noise_multiplier=1.0, delta=1e-6), a_run(steps=0)]
    others = [a_run(steps=100, unit="person"), a_run(steps=100, state="research")]
    found, delta = together(runs + others, "image")
    expected = composed_epsilons([Steps(2.0, 0.1, 100), Steps(1.0, 0.1, 40)], delta=1e-5)
    assert (found, delta) == (expected, 1e-5)
    more, _ = together(runs[:1], "image", [runs[1].statement()])
    assert more == expected
    assert together(others[1:], "image") == ({}, 0.0)


def test_what_is_told_of_it() -> None:
    assert so_far((), "image") is None
    assert so_far((a_run(key="a", steps=5),), "image", without="a") is None
    runs = (
        a_run(key="a", steps=100, state="finished"),
        a_run(key="b", steps=7),
        a_run(key="c", steps=9, unit="person"),
        a_run(key="d", state="research", steps=9),
    )
    spent = composed_epsilons([Steps(2.0, 0.1, 107)], delta=1e-5)
    assert so_far(runs, "image") == (
        f"spent so far on these images: {in_words(spent, 1e-5)} (2 runs, 1 of them unfinished), and 1 run "
        "protects one person and not one image: no ε here counts what it reveals, and 1 for research, which no ε covers"
    )
    # Never less than was spent.
    assert float(in_words(spent, 1e-5).split()[2]) >= spent["pld"]
    assert tightest({"rdp": 3.0, "prv": 2.0}) == 2.0
    assert tightest({}) == float("inf")


def test_what_is_left_out_is_counted() -> None:
    """Neither an ε for persons nor one for images holds for the other, and none holds for research."""
    runs = [
        a_run(steps=5), a_run(steps=5, unit="person"), a_run(steps=7, unit="person"), a_run(unit="person"),
        a_run(steps=5, state="research"), a_run(steps=5, state="research", unit="person"),
    ]  # fmt: skip
    assert not_counted(runs, "image") == {"other_unit": 2, "research": 2}
    assert not_counted(runs, "person") == {"other_unit": 1, "research": 2}
    assert together(runs, "image")[0] == composed_epsilons([Steps(2.0, 0.1, 5)], delta=1e-5)
    assert together(runs, "person")[0] == composed_epsilons([Steps(2.0, 0.1, 12)], delta=1e-5)


def released(epsilon: float, unit: str = "image") -> Measured:
    return Measured.model_validate({"model": "m", "unit": unit, "epsilon": epsilon})


def test_what_released_accuracies_spend_is_a_sum() -> None:
    """One that counts one image of each person protects an image too; one that counts all does not protect a person."""
    measured = [released(0.1), released(0.2), released(1.0, "person")]
    assert on_test_images(measured, "image") == 1.3
    assert on_test_images(measured, "person") == 1.0
    assert on_test_images([], "image") == 0
    assert so_far_on_test_images([], "image", 5.0) is None
    assert so_far_on_test_images(measured, "image", 0.7) == (
        "spent so far on the test images: ε = 1.30 (3 released accuracies); together with this one ε = 2.00"
    )
    assert so_far_on_test_images(measured, "person") == (
        "spent so far on the test images: ε = 1.00 (1 released accuracy); 2 more for one image, and no ε here counts "
        "what they reveal"
    )
