"""The updates of weights in real runs: ModelMix to the letter of Algorithm 1, resumed, shared, and released."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import PrivacyError
from dpmix.execution import Execution
from dpmix.files import read_json
from dpmix.models.networks import build_network
from dpmix.privacy.model_mix import SecureMixing, SeededMixing
from dpmix.privacy.model_mix_accounting import MixedSteps, amplified_epsilon
from dpmix.privacy.noise import SeededNoise
from dpmix.privacy.sampling import executed_rate
from dpmix.release.statement import joint_epsilons, read_statement
from dpmix.training import loop, scratch
from dpmix.training.checkpoint import Checkpoint
from dpmix.training.data import load_data
from dpmix.training.outcome import Outcome
from dpmix.training.runner import make
from dpmix.training.updates import ModelMix, Sgd
from tests.training.conftest import CLASSES, World
from tests.training.reference import Pattern
from tests.training.test_workers import Apart

pytestmark = pytest.mark.filterwarnings("ignore")
MIXED = {"update": "model-mix", "clipping": "coordinates", "mix_width": 0.5, "truncation": 25.0, "learning_rate": 0.5}
SETTINGS = [{}, {"momentum": 0.4, "weight_decay": 0.01, "ema_decay": 0.9}]


def run_of(world: World, **changes: Any) -> Experiment:
    return world.scratch(**{**MIXED, **changes})


def trained(experiment: Experiment, world: World, **options: Any) -> Outcome:
    return scratch.train_from_scratch(experiment, world.plan(experiment), load_data(experiment, "demo"), **options)


def metrics(experiment: Experiment) -> dict[str, Any]:
    return {**read_json(experiment.path("demo")), "times": 0}


# The algorithm --------------------------------------------------------------------------------------------------------


def initial(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The networks that a run builds, as they are built: w_0 and w_{-1}."""
    built: list[dict[str, Tensor]] = []

    def kept(*args: Any) -> torch.nn.Module:
        network = build_network(*args)
        built.append({name: value.detach().double() for name, value in network.named_parameters()})
        return network

    monkeypatch.setattr(scratch, "build_network", kept)
    return built


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "heavy ball, decay, average"])
def test_every_step_is_algorithm_1(world: World, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]) -> None:
    """Written down once more in float64, with the trainer's sums and noise, and α by its own draws."""
    run = run_of(world, **settings)
    plan, noise, built = world.plan(run), Pattern([]), initial(run, monkeypatch)
    weights = trained(run, world, noise=noise).weights
    last, before = built
    assert set(last) == set(weights)
    average, decay = {name: value.clone() for name, value in last.items()}, settings.get("ema_decay", 0.0)
    eta, tau = 0.5, 0.5 * 0.5
    ball, shrink = settings.get("momentum", 0.0), settings.get("weight_decay", 0.0)
    for step in range(plan.steps):
        for name, w1 in last.items():
            total, unit = noise.of(step, name)
            w2, alpha = before[name], SeededMixing(run.seed).draw(w1.shape, step=step, name=name)
            gap = w1 - w2
            far = tau * torch.ceil(gap.abs() / tau).clamp_min(1) * torch.where(gap >= 0, 1.0, -1.0)
            pushed1, pushed2 = w1 + (far - gap) / 2, w2 - (far - gap) / 2
            noisy = total.double() + plan.noise_std * unit
            mixed = alpha * pushed1 + (1 - alpha) * pushed2 - eta / plan.batch_size * noisy
            before[name], last[name] = w1, mixed + ball * gap - eta * shrink * w1
        d = min(decay, (1 + step) / (10 + step))
        average = {name: d * value + (1 - d) * last[name] for name, value in average.items()}
    for name, value in (average if decay else last).items():
        # A gap within rounding of a multiple of τ is pushed by another one; hence not all, but nearly.
        apart = (weights[name].double() - value).abs()
        assert float((apart < 1e-4).double().mean()) > 0.97, name
        assert float(apart.max()) < 3 * tau, name


def test_the_two_initial_states_are_independent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built = initial(run_of(world), monkeypatch)
    trained(run_of(world), world)
    convolutions = [torch.cat([v.flatten() for v in state.values() if v.dim() == 4]) for state in built]
    assert abs(float(torch.corrcoef(torch.stack(convolutions))[0, 1])) < 0.2
    assert any(torch.equal(built[0][name], value) for name, value in built[1].items()), "norm layers begin alike"


def test_sgd_in_its_place_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan counts on mixing: plain DP-SGD with its noise would spend more than ε."""
    run = run_of(world)
    plan = world.plan(run)
    monkeypatch.setattr(loop, "ModelMix", lambda learner, mixing, workers: Sgd(learner))
    outcome = trained(run, world)
    with pytest.raises(PrivacyError, match="a step left some parameter unmixed"):
        outcome.ledger.certify(plan)
    by, spent = outcome.ledger.stated(plan)
    assert by == run.accountant
    assert spent > run.epsilon


class Buffered(ModelMix):
    """With torch's momentum, a buffer of noisy gradients, as in the code that was released."""

    def step(self, noisy: Any, step: int, ledgers: Any) -> None:
        held = self.__dict__.setdefault("held", {})
        total = {name: held.get(name, torch.zeros_like(value)) * 0.9 + value for name, value in noisy.items()}
        held.update(total)
        real = ledgers[0].measure_mixing

        def measured(name: str, last: Tensor, before: Tensor, _: Tensor, after: Tensor, rule: Any) -> None:
            real(name, last, before, noisy[name], after, rule)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledgers[0], "measure_mixing", measured)
            super().step(total, step, ledgers)


class WithoutNorms(ModelMix):
    """Leaves norm layers to SGD, as the code that was released leaves what it calls bn."""

    def step(self, noisy: Any, step: int, ledgers: Any) -> None:
        params = self._learner.params
        norms = {name for name, value in params.items() if value.dim() == 1}
        assert norms
        for name in norms:
            params[name] -= self._rule.scale * noisy[name]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._learner, "params", {name: v for name, v in params.items() if name not in norms})
            super().step(noisy, step, ledgers)


@pytest.mark.parametrize(
    ("faulty", "said"),
    [(Buffered, "moved by something else"), (WithoutNorms, "a step left some parameter unmixed")],
)
def test_the_released_codes_ways_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, faulty: type[ModelMix], said: str
) -> None:
    monkeypatch.setattr(loop, "ModelMix", faulty)
    with pytest.raises(PrivacyError, match=said):
        make([run_of(world)], "demo")


def test_alpha_that_is_used_twice_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SeededMixing.draw
    monkeypatch.setattr(SeededMixing, "draw", lambda self, shape, *, step, name: real(self, shape, step=0, name=name))
    with pytest.raises(PrivacyError, match="mixing is not what was said"):
        make([run_of(world)], "demo")


# What is written ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [{"k_self": 0}, {"k_base": 2, "k_self": 2}], ids=["self-aug", "dp-mix-self"])
def test_the_epsilon_is_the_smaller_and_of_what_was_executed(world: World, views: dict[str, int]) -> None:
    run = run_of(world, **views)
    make([run], "demo")
    found, plan = read_json(run.path("demo")), world.plan(run)
    row = MixedSteps(plan.noise_multiplier, executed_rate(24 / 96), plan.steps, 0.5 * 24 / 1.0, 25.0)
    assert [MixedSteps(**one) for one in found["mixed"]] == [pytest.approx(row, rel=1e-9)]
    assert found["epsilon_by"] == "model-mix"
    assert found["epsilon"]["model-mix"] == pytest.approx(amplified_epsilon([row], delta=1e-5), rel=1e-9)
    assert 0.95 * run.epsilon < found["epsilon"]["model-mix"] <= run.epsilon < found["epsilon"]["rdp"]


def test_other_clipping_counts_as_no_truncation(world: World) -> None:
    run = run_of(world, clipping="flat")
    make([run], "demo")
    assert [row["truncation"] for row in read_json(run.path("demo"))["mixed"]] == [1.0]
    cut = run_of(world)
    assert world.plan(cut).noise_multiplier < world.plan(run).noise_multiplier


def test_a_release_draws_alpha_anew_and_says_its_epsilon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def seeded(*arguments: object, **named: object) -> None:
        raise AssertionError("a release must not draw α from a seed")

    monkeypatch.setattr(SeededMixing, "draw", seeded)
    drawn: list[Tensor] = []
    real = SecureMixing.draw

    def kept(self: SecureMixing, shape: Any, *, step: int, name: str) -> Tensor:
        drawn.append(real(self, shape, step=step, name=name))
        return drawn[-1]

    monkeypatch.setattr(SecureMixing, "draw", kept)
    run = run_of(world, release=True)
    make([run], "demo", Execution(checkpoint_seconds=0))
    assert len(drawn) == 8 * len(dict.fromkeys(read_statement_names(run)))
    statement = read_statement(run.directory("demo") / "model.safetensors")
    assert statement.epsilons["model-mix"] == pytest.approx(statement.computed_again()["model-mix"], abs=1e-6)
    assert statement.epsilons["model-mix"] <= run.epsilon
    two = joint_epsilons([statement, statement])
    assert statement.computed_again()["model-mix"] < two["model-mix"] < 2 * run.epsilon
    assert not list(Path("results/demo/checkpoints").glob("*"))


def read_statement_names(run: Experiment) -> list[str]:
    from safetensors.numpy import load_file

    return list(load_file(run.directory("demo") / "model.safetensors"))


# Resumed and shared ---------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What no code catches."""


def killed_in_step(stop: int) -> Callable[..., Tensor]:
    real = SeededNoise.add

    def add(self: SeededNoise, total: Tensor, std: float, *, step: int, name: str) -> Tensor:
        if step == stop:
            raise Killed
        return real(self, total, std, step=step, name=name)

    return add


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "heavy ball, decay, average"])
@pytest.mark.parametrize("after", [1, 5])
def test_a_resumed_run_is_bit_for_bit_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, float], after: int
) -> None:
    run = run_of(world, **settings)
    whole = trained(run, world)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed_in_step(after))
        with pytest.raises(Killed):
            trained(run, world, checkpoint=checkpoint)
    resumed = trained(run, world, checkpoint=checkpoint)
    assert resumed.ledger.mixed() == whole.ledger.mixed()
    resumed.ledger.certify(world.plan(run))
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name


@pytest.mark.parametrize("edit", ["other state", "another shape", "half a row", "narrower", "plain"])
def test_a_checkpoint_that_is_not_of_the_run_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edit: str
) -> None:
    run, checkpoint = run_of(world), Checkpoint(tmp_path / "state.safetensors", every_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed_in_step(3))
        with pytest.raises(Killed):
            trained(run, world, checkpoint=checkpoint)
    kept = checkpoint.load("cpu")
    assert kept is not None
    tensors, values = kept
    ((row,),) = values["ledgers"]
    if edit == "other state":
        tensors = {name: value for name, value in tensors.items() if not name.startswith("before/")}
    elif edit == "another shape":
        tensors = {name: value[:1] if name.startswith("before/") else value for name, value in tensors.items()}
    elif edit == "half a row":
        values["ledgers"] = [[row[:4]]]
    elif edit == "narrower":
        values["ledgers"] = [[[*row[:3], row[3] / 2, row[4]]]]
    else:
        values["ledgers"] = [[row[:3]]]
    checkpoint.save(tensors, values)
    with pytest.raises(PrivacyError, match="is not of this run"):
        trained(run, world, checkpoint=checkpoint)


def test_all_processes_take_the_main_ones_steps(world: World) -> None:
    run, said = run_of(world, batch_size=6, epochs=1), list[Tensor]()
    first, second = (trained(run, world, workers=Apart(rank, 2, said)) for rank in range(2))
    for name, value in first.weights.items():
        assert torch.equal(second.weights[name], value), name
    first.ledger.certify(world.plan(run))
    assert second.ledger.steps == 0


def test_one_process_of_several_that_has_all_their_sums_is_one_alone(world: World) -> None:
    run, whole = run_of(world, batch_size=6, epochs=1), Apart(0, 1)
    alone = trained(run, world, workers=whole)
    together = trained(run, world, workers=Apart(0, 2, [], whole.added))
    assert together.ledger.mixed() == alone.ledger.mixed()
    for name, value in alone.weights.items():
        assert torch.equal(together.weights[name], value), name


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"bands": 2}, {"microbatch_size": 2, "k_self": 0}])
def test_what_amplification_is_not_known_for_is_refused(world: World, change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="single examples alone; set bands: 1 and microbatch_size: 1, or update: sgd"):
        run_of(world, **change)


def test_heads_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match=r"networks trained from scratch, and .* is a frozen encoder; set update: sgd"):
        world.experiment(**MIXED)


def test_no_width_is_no_mixing(world: World) -> None:
    for width in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="mix_width"):
            run_of(world, mix_width=width)


def test_the_networks_have_the_classes_of_the_data(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built = initial(run_of(world), monkeypatch)
    trained(run_of(world), world)
    assert [list(state.values())[-1].shape for state in built] == [(CLASSES,)] * 2
