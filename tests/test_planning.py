"""What a plan counts, against numbers worked out by hand and against what others publish."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix import planning
from dpmix.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.experiment import Distance, Experiment, GradientRecord, ImageStore, Selection, ZeroShot
from dpmix.params import DiffusionSpec, EncoderSpec, WideResNetSpec, parse
from dpmix.planning import (
    GPUS,
    Costs,
    Estimate,
    Speed,
    distance_passes,
    drawing_flops,
    encoder_cost,
    encoder_parameters,
    estimates,
    evaluation_passes,
    network_cost,
    run_hours,
    speed,
    views_trained,
)

NETWORK = WideResNetSpec(
    kind="wide-resnet", name="net", label="Net", depth=10, width=1, groups=2, base_channels=4, stem_stride=2,
    resolution=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def raw(repository: Path) -> dict[str, Any]:
    """The project's params, with what the numbers below rest on said again: the demo may be tuned."""
    read: dict[str, Any] = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    demo = read["scales"]["demo"]
    demo |= {"seeds": [1, 2, 3], "synthetic_size": {"digits": 1437}}
    demo["tuning"]["holdout"] = 0.25
    demo["scratch"] |= {"batch_size": 256, "epochs": 10, "k_base": 2, "k_self": 2, "k_diff": 0}
    demo["finetune"] |= {"batch_size": 256, "epochs": 5, "k_base": 4, "k_self": 4, "k_diff": 2}
    demo["datasets"] = {"digits-300": {"batch_size": 100, "epochs": 10}}
    demo["dataset_methods"] = {"digits-300": {"pure-dp-mix-diff": {"k_diff": 4}}}
    return read


@pytest.fixture(scope="module")
def demo(raw: dict[str, Any]) -> Catalogue:
    return Catalogue(parse(raw), "demo")


@pytest.fixture(scope="module")
def paper(raw: dict[str, Any]) -> Catalogue:
    return Catalogue(parse(raw), "paper")


@pytest.fixture(autouse=True)
def nothing_is_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_flop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image costs one operation forward and three in training, and a parameter-free encoder no disk."""
    cost = planning.Cost(1.0, 3.0)
    for name in ("encoder_cost", "network_cost", "inception_cost"):
        monkeypatch.setattr(planning, name, lambda *_, **__: cost)
    monkeypatch.setattr(planning, "encoder_parameters", lambda *_: 0)


def runs(catalogue: Catalogue, table: str) -> list[Experiment]:
    return [one for cell in catalogue.cells(table) for one in cell.artefacts if isinstance(one, Experiment)]


# Operations -----------------------------------------------------------------------------------------------------------


def test_operations_of_a_small_network_by_hand() -> None:
    stem = 2 * 3 * 9 * 4 * 64  # 2 x inputs x 3 x 3 x outputs x 8 x 8 pixels
    first = 2 * (2 * 4 * 9 * 4 * 64)
    second = (2 * 4 * 9 * 8 + 2 * 8 * 9 * 8 + 2 * 4 * 8) * 16
    third = (2 * 8 * 9 * 16 + 2 * 16 * 9 * 16 + 2 * 8 * 16) * 4
    head = 2 * 16 * 10
    cost = network_cost(NETWORK, 3, 10)
    assert cost.forward == stem + first + second + third + head
    # Backward repeats each twice, but for the gradient of the pixels.
    assert cost.training == 3 * cost.forward - stem


@pytest.mark.parametrize(
    ("architecture", "gflop", "million"), [("ViT-B-16", 35.13, 149.62), ("convnext_base_w", 40.11, 179.39)]
)
def test_encoders_cost_what_openclip_publishes(architecture: str, gflop: float, million: float) -> None:
    """OpenCLIP's docs/model_profile.csv."""
    assert encoder_cost(architecture).forward / 1e9 == pytest.approx(gflop, abs=0.005)
    assert encoder_parameters(architecture) / 1e6 == pytest.approx(million, abs=0.005)


def test_encoders_of_timm_and_of_the_demo_are_counted() -> None:
    assert encoder_cost("timm/test_vit").forward > encoder_cost("tiny-vit").forward > 1e5
    with pytest.raises(ParamsError, match="no OpenCLIP model is called 'ViT-B-17'; the nearest are"):
        encoder_cost("ViT-B-17")


@pytest.mark.slow
def test_the_operations_of_stable_diffusion_are_those_of_its_classes() -> None:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        decoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        latents, time, caption = torch.empty(1, 4, 64, 64), torch.empty(()), torch.empty(1, 77, 768)
    counted = planning.DIFFUSION["CompVis/stable-diffusion-v1-4"]
    assert planning._count(lambda: unet(latents, time, caption)) == pytest.approx(counted.step, rel=1e-3)
    assert planning._count(lambda: decoder.decode(latents)) + 175e9 == pytest.approx(counted.once, rel=1e-3)
    here = sum(parameter.numel() for model in (unet, decoder) for parameter in model.parameters())
    assert here + 123e6 + 304e6 == pytest.approx(counted.parameters, rel=1e-3)


def test_guidance_doubles_the_steps_and_an_unknown_model_is_not_guessed() -> None:
    def spec(**changes: Any) -> DiffusionSpec:
        settings = {"name": "sd", "model": "CompVis/stable-diffusion-v1-4", "guidance_scale": 1.0, "steps": 10}
        return DiffusionSpec(**{**settings, "resolution": 512, "scheduler": "DDIMScheduler", **changes})

    plain, guided = drawing_flops(spec()), drawing_flops(spec(guidance_scale=7.5))
    assert plain is not None
    assert guided is not None
    assert guided - plain == pytest.approx(10 * 803e9)
    assert drawing_flops(spec(model="someone/brush")) is None
    once = 2515e9 + 13e9 + 162e9
    assert plain == pytest.approx(10 * 803e9 + once)
    # A quarter of the pixels at half the side.
    assert drawing_flops(spec(resolution=256)) == pytest.approx(plain / 4)


# Counts ---------------------------------------------------------------------------------------------------------------


def test_a_table_of_the_demo_by_hand(demo: Catalogue, one_flop: None) -> None:
    """Table 12: 300 digits in batches of 100 for 10 epochs, with 4, 8, 10 and 8 views, three seeds, and their rates."""
    (row,) = estimates(demo, ["table12"])
    views = 4 + 8 + 10 + 8
    training = 3 * (views * 30 * 100 + 4 * (360 + 1437))
    tuning = views * 22 * 100 + 4 * (75 + 1437)  # 225 of the 300 digits: 22 steps
    assert (row.target, row.runs, row.selections, row.distances, row.streams) == ("table12", 12, 4, 0, 16)
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


def test_distances_pass_both_sides(demo: Catalogue, one_flop: None) -> None:
    views = [one for one in demo.of(Distance) if isinstance(one, Distance) and one.first == "views"]
    ks = {(one.views.method, one.views.k_diff): one.views.views for one in views if one.views}
    assert ks == {("self-aug", 0): 4, ("dp-mix-self", 0): 8, ("dp-mix-diff", 2): 10, ("dp-mix-diff", 6): 14}
    for one in views:
        assert one.views is not None
        second = {"train": one.dataset.train, "test": 360}[one.second]
        assert distance_passes(one) == one.dataset.train * ks[one.views.method, one.views.k_diff] + second
        some = one.model_copy(update={"samples": 50})
        assert distance_passes(some) == 50 * ks[one.views.method, one.views.k_diff] + 50
    (row,) = estimates(demo, ["table8"])
    assert row.passes["tiny-vit"] == 1437 + 360 + 1437 + 1437 + 300 + 360 + 300 + 1437


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


def test_the_papers_images_on_disk(paper: Catalogue, one_flop: None) -> None:
    """Caltech 256 at 224 px with its D, drawn at 512 and kept at 256; the archive and its contents."""
    (row,) = estimates(paper, ["table13"])
    assert row.disk["images"] == (24485 + 6122 + 24485) * (3 * 224**2 + 8)
    assert row.disk["synthetic"] == 24485 * 3 * 256**2
    assert row.disk["downloads"] == 2 * 1183 * 10**6
    assert row.disk["weights"] == 1_370_000_000 * 4


def test_what_is_there_is_left_out(demo: Catalogue, one_flop: None, tmp_path: Path) -> None:
    (before,) = estimates(demo, ["table12"])
    done = [run for run in runs(demo, "12") if run.seed == 1]
    stores = [one for one in demo.of(ImageStore) if "table12" in demo.needed_by[demo.path(one)]]
    for artefact in [*done, *stores]:
        path = Path(demo.path(artefact))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (after,) = estimates(demo, ["table12"])
    assert (after.runs, after.streams, after.selections) == (8, 12, 4)
    assert after.passes["tiny-vit"] < before.passes["tiny-vit"]
    assert after.disk["images"] < before.disk["images"]
    (whole,) = estimates(demo, ["table12"], missing_only=False)
    assert (whole.runs, whole.passes, whole.disk) == (before.runs, before.passes, before.disk)


def test_a_download_that_is_unpacked_is_not_fetched_again(paper: Catalogue, one_flop: None, tmp_path: Path) -> None:
    Path("data/raw/caltech256/256_ObjectCategories").mkdir(parents=True)
    (row,) = estimates(paper, ["table13"])
    assert row.disk["downloads"] == 0
    (whole,) = estimates(paper, ["table13"], missing_only=False)
    assert whole.disk["downloads"] == 2 * 1183 * 10**6


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


def test_the_papers_own_run_is_far_from_the_limit(paper: Catalogue) -> None:
    """DP-Mix_Self on Caltech 256: 24 485 x 10 x 32 views of 35.1 GFLOP; the paper took 7 h 33 min on an A100."""
    run = next(run for run in runs(paper, "13") if run.method == "dp-mix-self")
    images = 244 * 1000 * 32 + 6122
    assert run_hours(run, Speed(GPUS["a100"], 0.4), Costs(paper)) == pytest.approx(
        images * 35.127e9 / (0.4 * 312e12) / 3600, rel=1e-3
    )


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
        ("a1000", 0.4, [], "unknown GPU 'a1000'; there are a10, a100"),
        ("a100", 0, [], "utilization 0 is not in"),
        ("a100", 1.5, [], "utilization 1.5 is not in"),
        ("a100", 0.4, ["vit-b-61=3"], "unknown model in --throughput 'vit-b-61'; did you mean 'vit-b-16'"),
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


def test_an_unknown_target_is_one_line(paper: Catalogue) -> None:
    with pytest.raises(ParamsError, match=r"unknown target 'tabel9'; did you mean 'table9'\?"):
        estimates(paper, ["tabel9"])
