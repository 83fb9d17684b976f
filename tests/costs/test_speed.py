"""Hours are operations over speed, as published or as measured."""

from pathlib import Path

import pytest

from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs.amounts import views_trained
from dpmix.costs.estimate import estimates
from dpmix.costs.operations import Costs
from dpmix.costs.speed import GPUS, Speed, run_hours, speed
from dpmix.errors import ParamsError
from tests.costs.conftest import runs


# Speed ----------------------------------------------------------------------------------------------------------------
def test_hours_are_operations_over_speed(paper: Catalogue, one_flop: None) -> None:
    costs = Costs(paper)
    (row,) = estimates(paper, ["table13"])
    images = row.passes["vit-b-16"]
    hours = Speed(GPUS["a100"], 0.5).hours(row, costs)
    assert hours["vit-b-16"] == pytest.approx(images / (0.5 * 312e12) / 3600)
    assert Speed(GPUS["a100"], 0.5, achieved=2.0).hours(row, costs)["vit-b-16"] == pytest.approx(images / 2e12 / 3600)
    measured = Speed(GPUS["a100"], 0.5, {"vit-b-16": 1000.0}, achieved=2.0).hours(row, costs)
    assert measured["vit-b-16"] == pytest.approx(images / 1000 / 3600)
    assert measured["stable-diffusion"] == pytest.approx(row.flops["stable-diffusion"] / 2e12 / 3600)


def test_networks_from_scratch_compute_in_full_precision(paper: Catalogue, one_flop: None) -> None:
    (row,) = estimates(paper, ["table1"])
    hours = Speed(GPUS["a100"], 0.4).hours(row, Costs(paper))
    assert hours["wrn-16-4"] == pytest.approx(row.flops["wrn-16-4"] / (0.4 * 156e12) / 3600)
    # A measured speed is in images trained on; testing is a third of that.
    measured = Speed(GPUS["a100"], measured={"wrn-16-4": 500.0}).hours(row, Costs(paper))
    trained = sum(views_trained(run) for run in runs(paper, "1"))
    tested = row.passes["wrn-16-4"] - trained
    assert measured["wrn-16-4"] == pytest.approx((trained + tested / 3) / 500 / 3600)


def test_a_model_that_cannot_be_counted_needs_a_measurement(demo: Catalogue, one_flop: None) -> None:
    (row,) = estimates(demo, ["table12"])
    assert "tiny-diffusion" not in Speed(GPUS["a100"]).hours(row, Costs(demo))
    measured = Speed(GPUS["a100"], measured={"tiny-diffusion": 250.0}).hours(row, Costs(demo))
    assert measured["tiny-diffusion"] == pytest.approx(1437 / 250 / 3600)


def test_the_papers_own_run_is_far_from_the_limit(paper: Catalogue, repository: Path) -> None:
    """DP-Mix_Self on Caltech 256: 24 485 x 10 x 32 views of 35.1 GFLOP; the paper took 7 h 33 min on an A100.

    Sixteen of the 32 are crops, of which those are encoded that are different.
    """
    run = next(run for run in runs(paper, "13") if run.method == "dp-mix-self")
    rate = 1000 / 24485
    crops = 24485 * 162 * (1 - (1 - rate + rate * (1 - 1 / 162) ** 16) ** 244)
    images = 244 * 1000 * 16 + crops + 6122
    hours = run_hours(run, Speed(GPUS["a100"], 0.4), Costs(paper))
    assert hours == pytest.approx(images * 35.127e9 / (0.4 * 312e12) / 3600, rel=1e-3)
    page = " ".join((repository / "docs" / "use.md").read_text(encoding="utf-8").split())
    assert f"for one DP-Mix_Self run of Table 13 it says {60 * hours:.0f} minutes on an A100" in page


@pytest.mark.parametrize("name", sorted(set(GPUS) - {"t4", "v100"}))
def test_tensor_cores_are_twice_as_fast_in_half_precision(name: str) -> None:
    """Of every GPU since Ampere, whose float32 on tensor cores is TF32; those before have none."""
    assert GPUS[name].half / GPUS[name].single == pytest.approx(2, rel=0.02)


def test_options_are_read(paper: Catalogue) -> None:
    costs = Costs(paper)
    assert speed("h200", 0.3, [], costs) == Speed(GPUS["h200"], 0.3)
    read = speed("a100", 0.4, ["vit-b-16=2900", "stable-diffusion=1.5", "120"], costs)
    assert (read.measured, read.achieved) == ({"vit-b-16": 2900.0, "stable-diffusion": 1.5}, 120.0)


@pytest.mark.parametrize(
    ("gpu", "utilization", "throughput", "words"),
    [
        ("a1000", 0.4, [], "unknown GPU 'a1000', and no --throughput as measured for it; did you mean 'a100'?"),
        ("a100", 0, [], "utilization 0 is not in"),
        ("a100", 1.5, [], "utilization 1.5 is not in"),
        ("a100", 0.4, ["vit-b-61=3"], "unknown model 'vit-b-61' in --throughput; did you mean 'vit-b-16'"),
        ("a100", 0.4, ["fast"], "throughput 'fast' is not MODEL=IMAGES_PER_SECOND"),
        ("a100", 0.4, ["vit-b-16=-3"], "is not MODEL=IMAGES_PER_SECOND"),
        ("a100", 0.4, ["inf"], "is not MODEL=IMAGES_PER_SECOND"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    paper: Catalogue, gpu: str, utilization: float, throughput: list[str], words: str
) -> None:
    with pytest.raises(ParamsError, match=words) as caught:
        speed(gpu, utilization, throughput, Costs(paper))
    assert "\n" not in str(caught.value)
