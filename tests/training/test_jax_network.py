"""The JAX engine beside PyTorch's, and beside the loop in float64.

Most tests have one shape and one C, because each is compiled anew.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.models.networks import build_network
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.training import jax_network
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import TrainingData, load_data
from dpmix.training.jax_network import JaxNetwork, clipped_gradients, sensitivity
from dpmix.training.outcome import Outcome
from dpmix.training.runner import make
from dpmix.training.scratch import train_from_scratch
from dpmix.views.mixing import Views
from tests.needs import JAX_PRIVACY, module
from tests.training import reference
from tests.training.conftest import CLASSES, DATASET, NETWORK, PIXELS, TRAIN, Recorder, World, draw, plan_for
from tests.training.reference import Pattern
from tests.training.test_checkpoint import Killed, Stops

pytestmark = pytest.mark.filterwarnings("ignore")

# Longer gradients and shorter ones.
C, K, PHYSICAL = 4.5, 4, 7
NAMES = tuple(f"class {number}" for number in range(CLASSES))
# Of what both engines computed in one step, in L2 norm.
ONE_STEP = 1e-4


@pytest.fixture(autouse=True)
def _installed() -> None:
    module("jax_privacy", JAX_PRIVACY)


@pytest.fixture
def run(world: World) -> Experiment:
    return world.scratch(engine="jax", clip_norm=C)


def trained(experiment: Experiment, noise: Recorder | None = None, block: int | None = PHYSICAL) -> Outcome:
    plan, data = plan_for(experiment.plan(), 0.5), load_data(experiment, "demo")
    return train_from_scratch(experiment, plan, data, noise=noise or Pattern([]), block=block)


def in_torch(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"engine": "torch"})


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    difference = reference.length({name: found[name] - value for name, value in expected.items()})
    return difference / reference.length(expected)


def learner(experiment: Experiment) -> JaxNetwork:
    network = build_network(experiment.model, 3, CLASSES, experiment.seed)
    plan, data = plan_for(experiment.plan(), 0.5), load_data(experiment, "demo")
    return JaxNetwork(experiment, plan, data, network, Execution("cpu", block=PHYSICAL))


def some_views(count: int) -> Views:
    keyed = torch.Generator().manual_seed(0)
    images = torch.rand(count, K, 3, PIXELS, PIXELS, generator=keyed)
    targets = torch.softmax(torch.randn(count, K, CLASSES, generator=keyed), dim=-1)
    # A gradient is as long as its labels: of three examples, some are clipped.
    targets *= 4.0 ** torch.arange(count)[:, None, None]
    return Views(images, targets, torch.zeros(count, 0), torch.zeros(count, 0, 2))


def torch_sum(experiment: Experiment, views: Views) -> Any:
    loss = ExampleLoss(build_network(experiment.model, 3, CLASSES, experiment.seed))
    params = {name: value.detach() for name, value in loss.module.named_parameters()}
    return clipped_sum(loss, params, views.images, views.targets, C, backend="reference")


# Whole runs -----------------------------------------------------------------------------------------------------------


def test_a_run_is_algorithm_1_in_float64(world: World) -> None:
    more = {"momentum": 0.5, "weight_decay": 0.01}
    found = reference.network(world.scratch(engine="jax", clip_norm=C, batch_size=40, **more), 0.3)
    assert 0.05 < np.mean(found.expected.all_norms() > C) < 0.95
    assert found.outcome.clipped == pytest.approx(np.mean(found.expected.all_norms() > C), abs=1e-6)
    reference.assert_same(found.trained, found.expected.weights[-1], found.expected.weights[0])
    assert found.outcome.accuracies == found.accuracies(found.expected.weights)


ARCHITECTURES = [
    pytest.param({}, 3, id="as in the other tests"),
    pytest.param({"depth": 16}, 3, id="deeper", marks=pytest.mark.slow),
    pytest.param(
        {"width": 2, "groups": 4, "base_channels": 8, "stem_stride": 1}, 1, id="wider, grey", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("changes", "channels"), ARCHITECTURES)
def test_a_step_of_both_engines_is_one_step(world: World, changes: dict[str, Any], channels: int) -> None:
    """Of few small images: among millions of ReLUs one would be open in one arithmetic and shut in the other."""
    dataset = DATASET.model_copy(update={"train": 8, "channels": channels})
    model = NETWORK.model_copy(update={**changes, "resolution": 8})
    run = world.scratch(engine="jax", clip_norm=C, dataset=dataset, model=model, epochs=1, batch_size=6)
    train, test = (
        Images(images[:, :channels, ::2, ::2], labels, NAMES) for images, labels in (draw(8, 0), draw(40, 1))
    )
    data, plan, noises = TrainingData(train, test, None, None), plan_for(run.plan(), 0.5), [Pattern([]), Pattern([])]
    ours, theirs = (
        train_from_scratch(one, plan, data, noise=noise, block=PHYSICAL)
        for one, noise in zip((run, in_torch(run)), noises, strict=True)
    )
    assert ours.ledger.history() == theirs.ledger.history()
    assert ours.ledger.steps == 1
    assert [call[:3] for call in noises[0].calls] == [call[:3] for call in noises[1].calls]
    assert float((noises[0].totals() - noises[1].totals()).norm()) < ONE_STEP * float(noises[1].totals().norm())
    assert apart(dict(ours.weights), dict(theirs.weights)) < ONE_STEP
    assert ours.accuracies == theirs.accuracies
    assert ours.clipped == theirs.clipped
    assert ours.clipped > 0


def test_both_write_the_same_metrics(run: Experiment) -> None:
    found = []
    for one in (run, in_torch(run)):
        make([one], "demo", Execution(block=PHYSICAL))
        found.append(read_json(one.path("demo")))
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    for name in ("epsilon", "delta", "noise_multiplier", "sampling_rate", "sensitivity", "executed", "steps"):
        assert ours[name] == theirs[name], name
    assert 0 < ours["epsilon"]["rdp"] <= ours["epsilon"]["target"]
    assert {**ours["experiment"], "engine": "torch"} == theirs["experiment"]
    assert set(ours["versions"]) - set(theirs["versions"]) == {"jax", "jax-privacy"}


@pytest.mark.parametrize("changes", [{"bands": 2}, {"update": "model-mix"}])
def test_correlated_noise_and_mixed_steps_are_the_loops(world: World, changes: dict[str, Any]) -> None:
    run = world.scratch(engine="jax", clip_norm=C, **changes)
    plan, data, sums = plan_for(run.plan()), load_data(run, "demo"), []
    for one in (run, in_torch(run)):
        noise = Recorder([])
        train_from_scratch(one, plan, data, noise=noise, block=PHYSICAL)
        sums.append(torch.cat([total.flatten() for step, *_, total in noise.calls if step == 0]))
    assert float((sums[0] - sums[1]).norm()) < ONE_STEP * float(sums[1].norm())


def test_a_release_says_nothing_that_has_no_noise(world: World) -> None:
    released = world.scratch(engine="jax", clip_norm=C, release=True)
    make([released], "demo", Execution(block=PHYSICAL))
    left = sorted(path.name for path in released.directory("demo").iterdir())
    assert left == ["metrics.json", "model.safetensors"]
    assert not {"clipped", "seconds"} & {*(metrics := read_json(released.path("demo"))), *metrics["times"]}


def test_a_run_that_was_killed_goes_on_bit_for_bit(world: World, tmp_path: Path) -> None:
    run = world.scratch(engine="jax", clip_norm=C, momentum=0.5, ema_decay=0.9)
    plan, data = world.plan(run), load_data(run, "demo")
    whole = train_from_scratch(run, plan, data, block=PHYSICAL)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with pytest.raises(Killed):
        train_from_scratch(run, plan, data, noise=Stops(run.seed), checkpoint=checkpoint, block=PHYSICAL)
    resumed = train_from_scratch(run, plan, data, checkpoint=checkpoint, block=PHYSICAL)
    assert resumed.ledger.history() == whole.ledger.history()
    assert resumed.accuracies == whole.accuracies
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value)


def test_an_empty_sample_is_a_step_of_noise_alone(world: World, recorder: Recorder) -> None:
    run = world.scratch(engine="jax", clip_norm=C, batch_size=1, epochs=1)
    outcome = trained(run, recorder)
    others = Recorder([])
    trained(in_torch(run), others)
    empty = {step for step, *_, total in recorder.calls if not total.any()}
    assert empty == {step for step, *_, total in others.calls if not total.any()}
    assert outcome.ledger.steps == TRAIN
    assert 10 < len(empty) < TRAIN - 10


# Physical batches -----------------------------------------------------------------------------------------------------


def test_blocks_are_halved_when_memory_runs_out(run: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, small = Recorder([]), Recorder([])
    trained(run, whole)
    sizes = []

    def little_memory(*arguments: Any) -> Any:
        compute = clipped_gradients(*arguments)

        def summed(params: Any, images: Any, targets: Any, **more: Any) -> Any:
            sizes.append(len(images))
            if len(images) > 3:
                raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
            return compute(params, images, targets, **more)

        return summed

    monkeypatch.setattr(jax_network, "clipped_gradients", little_memory)
    trained(run, small)
    assert sizes[0] == PHYSICAL
    assert set(sizes[1:]) == {PHYSICAL // 2}
    difference = float((whole.totals() - small.totals()).norm())
    # Weights are those of each run, so that a step's rounding enters the next.
    assert difference < 10 * ONE_STEP * float(whole.totals().norm())


def test_every_size_of_a_sample_is_compiled_once(run: Experiment) -> None:
    first, second = learner(run), learner(run.model_copy(update={"seed": 2}))
    sums = [first.sums(np.arange(PHYSICAL), step=0)]
    compiled = clipped_gradients(run.model, C, 1)
    shapes = compiled._cache_size()
    assert shapes > 0
    sums += [network.sums(np.arange(count), step=0) for network in (first, second) for count in (1, 3)]
    assert compiled._cache_size() == shapes
    assert len({float(one.gradients()["head.bias"].norm()) for one in sums}) == 5


# Clipping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_example_that_is_not_finite_adds_nothing(run: Experiment, value: float) -> None:
    views = some_views(3)
    views.images[1, 0, 0, 0, 0] = value
    totals, norms = learner(run).clipped(views)
    expected = torch_sum(run, views)
    assert torch.isfinite(norms).tolist() == torch.isfinite(expected.norms).tolist() == [True, False, True]
    assert apart(totals, expected.total) < 1e-5
    kept = Views(views.images[::2], views.targets[::2], views.weights, views.pairs)
    assert apart(totals, learner(run).clipped(kept)[0]) < 1e-6


def test_what_is_clipped_is_the_mean_over_views(run: Experiment) -> None:
    """And neither each view nor nothing: both would be far from the sum of torch's engine."""
    views = some_views(3)
    totals, norms = learner(run).clipped(views)
    expected = torch_sum(run, views)
    assert apart(totals, expected.total) < 1e-5
    torch.testing.assert_close(norms, expected.norms, rtol=1e-5, atol=0)
    assert sorted((norms > C).tolist()) == [False, True, True]
    each = Views(views.images.flatten(0, 1)[:, None], views.targets.flatten(0, 1)[:, None], views.weights, views.pairs)
    by_view = {name: value / K for name, value in torch_sum(run, each).total.items()}
    assert apart(by_view, expected.total) > 0.01


def test_no_example_counts_for_more_than_c(run: Experiment) -> None:
    views = some_views(1)
    network = learner(run)
    for value in network.params.values():
        value *= 3
    total, norms = network.clipped(views)
    assert float(norms[0]) > 2 * C
    assert reference.length(total) == pytest.approx(C, rel=1e-5)
    assert sensitivity(run.model, C) == plan_for(run.plan(), 0.5).sensitivity == C


def test_a_plan_for_another_sensitivity_is_refused(world: World, run: Experiment) -> None:
    pairs = world.scratch(clip_norm=C, microbatch_size=2, k_self=0)
    network = build_network(run.model, 3, CLASSES, 1)
    plan = plan_for(pairs.plan(), 0.5)
    assert plan.sensitivity == 2 * C
    with pytest.raises(PrivacyError, match=r"has sensitivity 4\.5, and the plan's noise is for 9; set engine: torch"):
        JaxNetwork(run, plan, load_data(run, "demo"), network, Execution("cpu", block=PHYSICAL))
