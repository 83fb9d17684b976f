"""`audit`: sound training is not contradicted; a third of the noise, sums thrice as long or a hidden rate are."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import read_json
from dpmix.own.choices.recipe import recipe
from dpmix.own.model import model_folder
from dpmix.own.model.model_folder import ModelFolder
from dpmix.own.research import audit as own
from dpmix.own.research.audit import Target, audit, measured, of_images, scores
from dpmix.privacy import sampling
from dpmix.privacy.audit import epsilon_lower_bound
from dpmix.privacy.noise import SecureNoise
from dpmix.privacy.plan import Plan
from dpmix.release.statement import read_statement
from dpmix.training import heads

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
# Noise is the operating system's, another in each test. With so many, simulated bounds of a trainer with a third of the
# noise are 9.7 with a deviation of 0.6, so that they are above the claim of 4 by more than chance.
OBSERVATIONS = 4000


@pytest.fixture
def target(images: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Target:
    """What `train` would do at ε = 4 with 120 training images."""
    found = of_images(images, 4.0, {**quick, "batch_size": 40})
    assert found.plan.check() is None
    return found


def test_what_train_does_is_not_contradicted(target: Target) -> None:
    found = measured(target, OBSERVATIONS)
    assert found.claimed == 4
    # An audit that sees nothing shows nothing either. In simulations the bound is 2.1, with a deviation of 0.3.
    assert 0.3 < found.epsilon_lower_bound <= 4
    assert 0 <= found.without_assumptions <= found.epsilon_lower_bound
    assert not found.contradicted
    assert found.observations >= OBSERVATIONS
    assert "not contradicted" in found.lines()[3]


def test_a_third_of_the_noise_is_contradicted(target: Target) -> None:
    less = replace(target.plan, noise_multiplier=target.plan.noise_multiplier / 3)
    found = measured(replace(target, plan=less), OBSERVATIONS)
    assert found.epsilon_lower_bound > found.claimed
    assert found.contradicted
    assert found.lines()[3].endswith(": contradicted")


def test_both_bounds_hold_together_with_the_confidence(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with half of the failures that are allowed: the larger one is then as sure as is said."""
    seen: list[np.ndarray] = []
    monkeypatch.setattr(own, "scores", lambda sums, plan: seen.append(scores(sums, plan)) or seen[-1])
    loud = replace(target, plan=replace(target.plan, noise_multiplier=target.plan.noise_multiplier / 5))
    found = measured(loud, 500)
    inside, outside = (np.concatenate(part) for part in (seen[: found.runs], seen[found.runs :]))
    assert len(inside) == len(outside) == found.observations
    assert found.confidence == 0.95
    bounds = {
        method: epsilon_lower_bound(inside, outside, target.plan.delta, 0.975, method)  # type: ignore[arg-type]
        for method in ("threshold", "gdp")
    }
    assert found.without_assumptions == pytest.approx(bounds["threshold"])
    assert found.epsilon_lower_bound == pytest.approx(max(bounds.values()))
    assert bounds["threshold"] > 1


def a_third_of_the_noise(patch: pytest.MonkeyPatch) -> None:
    add = SecureNoise.add

    def weaker(self: SecureNoise, total: Tensor, std: Any, *, step: int, name: str) -> Tensor:
        return add(self, total, std / 3, step=step, name=name)

    patch.setattr(SecureNoise, "add", weaker)


def thrice_the_sum(patch: pytest.MonkeyPatch) -> None:
    clip = heads.head_clipped_sum

    def longer(*arguments: Any, **options: Any) -> Any:
        total, norms = clip(*arguments, **options)
        return 3 * total, norms

    patch.setattr(heads, "head_clipped_sum", longer)


def everybody_in_every_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sampling, "secure_poisson_sample", lambda population, _: np.arange(population))


@pytest.mark.parametrize("broken", [a_third_of_the_noise, thrice_the_sum, everybody_in_every_step])
def test_a_trainer_that_does_other_than_planned_is_contradicted(
    broken: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert measured(target, OBSERVATIONS).contradicted


@pytest.mark.parametrize(
    ("rate", "steps", "epsilon"), [(0.18, 27, 4.0), (0.036, 111, 4.0), (0.02, 10, 8.0), (0.5, 4, 8.0), (1.0, 10, 2.0)]
)
def test_bounds_stay_below_what_is_spent(rate: float, steps: int, epsilon: float) -> None:
    """Also the one that takes the trade-off for a Gaussian mechanism's, with as many scores as memory holds."""
    plan = Plan.calibrated(
        population=100_000, batch_size=int(rate * 100_000), epochs=rate * steps, clip_norm=1.0, epsilon=epsilon,
        delta=1e-5,
    )  # fmt: skip
    random, shape = np.random.default_rng(0), (plan.steps, 40_000)
    inside, outside = (plan.noise_multiplier * random.normal(size=shape) for _ in range(2))
    inside += random.random(shape) < plan.sampling_rate
    found = [
        epsilon_lower_bound(scores(inside, plan), scores(outside, plan), 1e-5, 0.975, m) for m in ("gdp", "threshold")
    ]
    assert 0.3 * epsilon < max(found) <= epsilon


def test_the_page_says_what_bound_a_sound_trainer_has(repository: Path) -> None:
    """By simulation of the noisy sums along the canaries' directions, with the batches and steps of the recipe."""
    text = " ".join((repository / "docs/own-images/README.md").read_text(encoding="utf-8").split())
    said, deviation = map(
        float,
        re.findall(r"average ([\d.]+) for ε = 4 with 2,000 images, with a standard deviation of (\d+\.\d+)", text)[0],
    )
    usual = recipe(2_000, 2, 4.0)
    plan = Plan.calibrated(
        population=2_000, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=usual.clip_norm, epsilon=4,
        delta=usual.delta,
    )  # fmt: skip
    random, shape, found = np.random.default_rng(1), (plan.steps, own.OBSERVATIONS), []
    for _ in range(10):
        inside, outside = (plan.noise_multiplier * random.normal(size=shape) for _ in range(2))
        inside += random.random(shape) < plan.sampling_rate
        both = scores(inside, plan), scores(outside, plan)
        found.append(max(epsilon_lower_bound(*both, plan.delta, 0.975, method) for method in ("gdp", "threshold")))
    # Of so few the mean is off by more than this once in a thousand times, and the deviation by a factor of two.
    assert np.mean(found) == pytest.approx(said, abs=3.3 * deviation / 10**0.5)
    assert 0.5 < np.std(found, ddof=1) / deviation < 2


def test_a_models_folder_is_audited_by_its_own_statement(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Target] = []
    with monkeypatch.context() as patch:
        patch.setattr(own, "measured", lambda target, observations: seen.append(target) or measured(target, 200))
        found = audit("shapes-model")
    (target,) = seen
    said = read_json(Path("shapes-model/privacy.json"))["audit"]
    assert (said["epsilon_lower_bound"], said["contradicted"]) == (found.epsilon_lower_bound, False)
    assert said["observations"] == found.observations
    assert "| audit | ε is at least " in Path("shapes-model/README.md").read_text(encoding="utf-8")
    model_folder.read("shapes-model").check()
    statement = read_statement(model.model)
    (row,) = statement.mechanism
    assert (target.plan.noise_multiplier, target.plan.steps) == (row.noise_multiplier, row.steps)
    assert target.plan.sampling_rate == row.sampling_rate
    assert target.claimed == min(statement.epsilons.values())
    assert target.classes == len(model.classes)
    with pytest.raises(ParamsError, match="says its own epsilon; leave out `epsilon`"):
        audit("shapes-model", epsilon=4)


def test_no_private_image_is_read(images: Path, quick: dict[str, Any]) -> None:
    for path in images.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])  # a header without pixels
    found = audit(images, epsilon=4, observations=200, **quick)
    assert 100 < found.population < 150
    assert sorted(path.name for path in Path().iterdir()) == ["my-images"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ParamsError, "say it: `epsilon=4`"),
        ({"epsilon": 4, "observations": 2}, ParamsError, "observations 2 is below 8; give 8 or more"),
        ({"epsilon": 4, "batch_size": 1000}, ParamsError, "batch_size 1000 exceeds the"),
    ],
)
def test_a_mistake_is_one_line(
    options: dict[str, Any], error: type[DpmixError], words: str, images: Path, quick: dict[str, Any]
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        audit(images, **{**quick, **options})
    with pytest.raises(DataError, match="does not exist"):
        audit("nowhere", epsilon=4)
