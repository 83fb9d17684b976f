"""What an estimate counts, against numbers worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.catalogue.catalogue import Catalogue
from dpmix.costs.amounts import evaluation_passes, views_trained
from dpmix.costs.estimate import Estimate, estimates
from dpmix.costs.operations import Costs, tower
from dpmix.errors import ParamsError
from dpmix.params.models import EncoderSpec
from dpmix.params.read import parse
from tests.costs.conftest import runs


# Counts ---------------------------------------------------------------------------------------------------------------
def test_a_table_of_the_demo_by_hand(demo: Catalogue, one_flop: None) -> None:
    """Table 12: 300 digits in batches of 100 for 10 epochs, with 4, 8, 10 and 8 views, three seeds, and their rates.

    The four methods share a stream: four base views, two images of D and four, and four mixtures of each S, |S| = 4, 6
    and 4, of which some of the first two are the same.
    """
    (row,) = estimates(demo, ["table12"])
    # Mixtures of |S| = 4 and |S| = 6 are of the same two members where floor(4 u) = floor(6 u) and the second, counted
    # on from the first, is the same for floor(3 v) and floor(5 v): 0 with u < 1/6, and then 4/15; 1 with 1/4 < u < 1/3,
    # and then 7/15.
    same = 1 / 6 * 4 / 15 + 1 / 12 * 7 / 15
    views = 4 + 2 + 4 + 4 * (3 - same)

    def again(images: int, steps: int) -> float:
        """Base views, and images of D of both kinds, less how many of nine crops of each are different."""
        missed = 1.0
        for _ in range(steps):
            missed *= 1 - 100 / images + 100 / images * (8 / 9) ** 4
        of_d = 9 * 1437 * (1 - ((1 - 2 / 1437 / 9) * (1 - 4 / 1437 / 9)) ** (steps * 100))
        return steps * 100 * (4 + 2 + 4) - 9 * images * (1 - missed) - of_d

    training = 3 * (views * 30 * 100 - again(300, 30) + 360 + 1437)
    tuning = views * 22 * 100 - again(225, 22) + 75 + 1437  # 225 of the 300 digits: 22 steps
    assert (row.target, row.runs, row.selections, row.distances, row.streams) == ("table12", 12, 4, 0, 4)
    assert row.passes["tiny-vit"] == pytest.approx(training + tuning)
    assert row.flops["tiny-vit"] == pytest.approx(training + tuning)
    assert row.passes["tiny-diffusion"] == 1437
    # The stores of the 300 digits, of all of them, whose D it is, and of D; what is drawn has three channels.
    assert row.disk["images"] == (300 + 360 + 1437 + 360 + 1437) * (256 + 8)
    assert row.disk["synthetic"] == 1437 * 3 * 256
    assert row.disk["downloads"] == 0
    assert "tiny-diffusion" not in row.flops


def test_networks_from_scratch_cost_a_training_pass_for_each_view(demo: Catalogue, one_flop: None) -> None:
    """Table 1: DP-SGD, Self-Aug (K = 2), and microbatches of two, plain, with their mixture, and mixtures alone."""
    (row,) = estimates(demo, ["table1"])
    images = 56 * 256  # T = floor(10 x 1437 / 256) = 56
    tested = 18 * 10 * 360
    by_kind = {run.method: views_trained(run) for run in runs(demo, "1") if run.microbatch_size == 1}
    assert by_kind == {"dp-sgd": pytest.approx(images), "self-aug": pytest.approx(2 * images)}
    micro = {
        (run.k_base, run.microbatch_mixup): views_trained(run) for run in runs(demo, "1") if run.microbatch_size == 2
    }
    units = 719 * 56 * 256 / 1437  # 1,437 digits make 719 microbatches, one of them with a single digit
    assert micro == {
        (1, "none"): pytest.approx(2 * units),
        (1, "added"): pytest.approx(3 * units),
        (1, "alone"): pytest.approx(units),
        (2, "none"): pytest.approx(4 * units),
    }
    trained = sum(views_trained(run) for run in runs(demo, "1"))
    assert row.passes["tiny-wrn"] == pytest.approx(trained + tested)
    assert row.flops["tiny-wrn"] == pytest.approx(3 * trained + tested)
    assert (row.runs, row.selections, row.streams) == (18, 0, 18)


def test_zero_shot_passes_over_the_test_set(demo: Catalogue, one_flop: None) -> None:
    one = demo.of(ZeroShot)[0]
    assert isinstance(one, ZeroShot)
    row = Estimate("alone")
    row.add_job([one], Costs(demo))
    assert dict(row.passes) == {one.model.name: one.dataset.test}
    assert (row.jobs, row.runs, row.selections, row.distances, row.streams) == (1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("standardize", "pretraining", "times"), [("none", 0, 0), ("public", 0, 1), ("none", 3, 1), ("public", 3, 2)]
)
def test_d_passes_through_a_frozen_encoder_for_each_of_its_uses(
    demo: Catalogue, standardize: str, pretraining: int, times: int
) -> None:
    run = next(run for run in runs(demo, "12") if isinstance(run.model, EncoderSpec) and run.synthetic)
    model = run.model.model_copy(update={"standardize": standardize})
    one = run.model_copy(update={"model": model, "pretrain_epochs": pretraining})
    assert evaluation_passes(one) == 360 + times * 1437


def test_as_many_images_are_drawn_as_d_has(raw: dict[str, Any], one_flop: None) -> None:
    demo = {**raw["scales"]["demo"], "synthetic_size": {"digits": 500}}
    (row,) = estimates(Catalogue(parse({**raw, "scales": {"demo": demo}}), "demo"), ["table12"])
    assert row.passes["tiny-diffusion"] == 500
    assert row.disk["synthetic"] == 500 * 3 * 256


def test_what_tables_share_counts_once(paper: Catalogue, one_flop: None) -> None:
    """Table 13 is a part of Table 3, and D serves both."""
    large, small, both = estimates(paper, ["table3", "table13"])
    assert [row.target for row in (large, small, both)] == ["table3", "table13", "together"]
    assert (both.runs, both.jobs, both.streams, both.disk) == (large.runs, large.jobs, large.streams, large.disk)
    assert small.streams < large.streams


def test_methods_of_one_stream_cost_the_union_of_their_views(demo: Catalogue, one_flop: None) -> None:
    """What one of them costs by itself is what it would cost alone."""
    plain, mixed, drawn, _ = [run for run in runs(demo, "12") if run.seed == 1]
    assert len({run.stream() for run in (plain, mixed, drawn)}) == 1
    alone = [views_trained(run) / 3000 for run in (plain, mixed, drawn)]
    assert alone == pytest.approx([4, 8, 10])
    assert views_trained(plain, mixed) / 3000 == pytest.approx(8)
    assert views_trained(plain, drawn) / 3000 == pytest.approx(10)
    assert views_trained(plain, mixed, drawn) / 3000 == pytest.approx(8 + 6 - 4 / 12)
    costs, row = Costs(demo), Estimate("together")
    row.add_streams([[plain, mixed, plain]], costs)
    missed = (1 - 1 / 3 + 1 / 3 * (8 / 9) ** 4) ** 30
    encoded = 4 * 3000 + 9 * 300 * (1 - missed)  # mixtures, and the crops that are different
    assert (row.streams, row.passes["tiny-vit"]) == (1, pytest.approx(encoded + 360 + 1437))


def test_streams_on_the_same_images_cost_no_crop_twice(demo: Catalogue, one_flop: None) -> None:
    """Of two seeds the second finds most crops known, in one job; on other images, or in other jobs, none."""
    seeds = [[run] for run in runs(demo, "12") if run.method == "self-aug" and run.seed < 3]
    costs, together, apart = Costs(demo), Estimate("together"), Estimate("apart")
    together.add_streams(seeds, costs)
    for one in seeds:
        apart.add_streams([one], costs)
    missed = (1 - 1 / 3 + 1 / 3 * (8 / 9) ** 4) ** 30
    evaluated = 2 * (360 + 1437)
    assert together.passes["tiny-vit"] == pytest.approx(9 * 300 * (1 - missed**2) + evaluated)
    assert apart.passes["tiny-vit"] == pytest.approx(2 * 9 * 300 * (1 - missed) + evaluated)
    jobs = Estimate("a job")
    jobs.add_job([run for one in seeds for run in one], costs)
    assert jobs.passes == together.passes


def test_crops_are_kept_as_far_as_there_is_room(raw: dict[str, Any], one_flop: None) -> None:
    def passes(**bundle: Any) -> float:
        demo = {**raw["scales"]["demo"], "bundle": {**raw["scales"]["demo"]["bundle"], **bundle}}
        catalogue = Catalogue(parse({**raw, "scales": {"demo": demo}}), "demo")
        row = Estimate("one")
        row.add_streams([[next(run for run in runs(catalogue, "12") if run.method == "self-aug")]], Costs(catalogue))
        return row.passes["tiny-vit"] - 360 - 1437

    different = 9 * 300 * (1 - (1 - 1 / 3 + 1 / 3 * (8 / 9) ** 4) ** 30)
    width = tower("tiny-vit").width
    assert passes() == pytest.approx(different)
    assert passes(kept_gigabytes=0) == pytest.approx(12000)
    assert passes(kept_gigabytes=different / 2 * width * 4 / 1e9) == pytest.approx((12000 + different) / 2)
    half = different / 2 * width * 2 / 1e9
    assert passes(kept_gigabytes=half, encoder_precision="bfloat16") == pytest.approx((12000 + different) / 2)
    # Each of two processes passes a half of every sample, and knows of its own crops alone.
    own = 9 * 300 * (1 - (1 - 1 / 6 + 1 / 6 * (8 / 9) ** 4) ** 30)
    assert passes(gpus=2) == pytest.approx(2 * own)


def test_everything_passes_over_each_stream_once(paper: Catalogue, one_flop: None) -> None:
    *rows, everything = estimates(paper)
    assert [row.target for row in rows] == list(paper.targets)
    assert everything.target == "all"
    of = {kind: paper.of(kind) for kind in (Experiment, GradientRecord, Selection, Distance)}
    assert everything.runs == len(of[Experiment]) + len(of[GradientRecord])
    assert everything.selections == len(of[Selection])
    assert everything.distances == len(of[Distance])
    streams = {one.stream() for one in of[Experiment]} | {  # type: ignore[attr-defined]
        one.experiment.stream()  # type: ignore[attr-defined]
        for kind in (GradientRecord, Selection)
        for one in of[kind]
    }
    assert everything.streams == len(streams)
    for row in rows:
        assert all(size <= everything.disk[kind] for kind, size in row.disk.items())
    assert sum(row.flops["vit-b-16"] for row in rows) > everything.flops["vit-b-16"]


def test_what_is_there_is_left_out(demo: Catalogue, one_flop: None, tmp_path: Path) -> None:
    (before,) = estimates(demo, ["table12"])
    done = [run for run in runs(demo, "12") if run.seed == 1]
    stores = [one for one in demo.of(ImageStore) if "table12" in demo.needed_by[demo.path(one)]]
    for artefact in [*done, *stores]:
        path = Path(demo.path(artefact))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (after,) = estimates(demo, ["table12"])
    assert (after.runs, after.streams, after.selections) == (8, 3, 4)
    assert after.passes["tiny-vit"] < before.passes["tiny-vit"]
    assert after.disk["images"] < before.disk["images"]
    (whole,) = estimates(demo, ["table12"], missing_only=False)
    assert (whole.runs, whole.passes, whole.disk) == (before.runs, before.passes, before.disk)


def test_an_unknown_target_is_one_line(paper: Catalogue) -> None:
    with pytest.raises(ParamsError, match=r"unknown target 'tabel9'; did you mean 'table9'\?"):
        estimates(paper, ["tabel9"])
