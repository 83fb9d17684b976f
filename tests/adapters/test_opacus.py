"""DP-Mix under Opacus's own optimizer and accountants: dpmix's update, in any company that a loop may be in.

Long because a loop around Opacus may be written in many ways, and each is a test.
"""

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opacus.accountants import GaussianAccountant, PRVAccountant, RDPAccountant
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer
from scipy import stats
from torch import Tensor, nn

from dpmix.adapters.opacus import Batch, DPMix
from dpmix.data.images import Images
from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.privacy.accounting import epsilon
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.plan import Plan
from dpmix.random import KeyedRandom
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings
from tests.needs import GPU, needs

N, CLASSES, SIDE, SEED = 20, 3, 6, 5

VIEWS = ViewSettings(k_base=2, k_diff=1, k_self=2, transforms=("crop", "flip"), padding=1)

# Opacus divides C by the norm plus 1e-6.
OPACUS = 1e-5


class Scaled(nn.Module):
    """Logits that a black image multiplies by `factor`: what a damaged record may do to a real network."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.head, self.factor = nn.Linear(SIDE**2, CLASSES), factor

    def forward(self, x: Tensor) -> Tensor:
        black = (x == 0).all(dim=3).all(dim=2)
        return self.head(x.flatten(1) + black) * torch.where(black, self.factor, 1.0)


class Borrows(nn.Module):
    """Reads a layer's weight without calling it, which no rule for layers sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIDE**2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.layer.weight.tanh())


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * SIDE**2, CLASSES)
    )


def made(model: type[nn.Module] | Any = network, *args: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model(*args)


def images(count: int, seed: int = 1) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 255, (count, 1, SIDE, SIDE)).astype(np.uint8)
    return Images(pixels, random.integers(0, CLASSES, count), tuple("abc"))


def plan(**changes: Any) -> Plan:
    values = {"population": N, "batch_size": 8, "steps": 5, "clip_norm": 1.3, "noise_multiplier": 0.0, "delta": 1e-3}
    return Plan(**{**values, **changes})


def dp_optimizer(model: nn.Module, plan: Plan, learning_rate: float = 0.5, **changes: Any) -> DPOptimizer:
    settings = {
        "noise_multiplier": plan.noise_multiplier,
        "max_grad_norm": plan.clip_norm,
        "expected_batch_size": plan.batch_size,
    }
    return DPOptimizer(torch.optim.SGD(model.parameters(), lr=learning_rate), **{**settings, **changes})


def adapter(model: nn.Module, optimizer: DPOptimizer, plan: Plan, **options: Any) -> DPMix:
    settings = {"data": images(N), "views": VIEWS, "synthetic": images(7, seed=2), "seed": SEED, **options}
    return DPMix(model, optimizer, settings.pop("data"), plan, settings.pop("views"), **settings)


def turn(mix: DPMix, optimizer: DPOptimizer, batch: Batch) -> None:
    mix.backward(batch)
    optimizer.step()
    optimizer.zero_grad()


def train(mix: DPMix, optimizer: DPOptimizer) -> DPMix:
    for batch in mix.batches():
        turn(mix, optimizer, batch)
    return mix


def run(
    run_plan: Plan | None = None, model: nn.Module | None = None, learning_rate: float = 0.5, **options: Any
) -> tuple[Tensor, DPMix]:
    """Train to the end: the weights, flat, and the adapter."""
    run_plan, model = run_plan or plan(), model or made()
    optimizer = dp_optimizer(model, run_plan, learning_rate)
    mix = train(adapter(model, optimizer, run_plan, **options), optimizer)
    return weights(model), mix


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()


@pytest.fixture(autouse=True)
def _untouched_global_generator() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


# --- The update ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("model", [network, Borrows], ids=["rules for layers", "vmap"])
def test_the_update_is_dpmixs_clipped_sum_plus_opacuss_noise(model, noise):
    model, run_plan = made(model), plan(noise_multiplier=noise, clip_norm=2.6)
    own, same = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    optimizer = dp_optimizer(model, run_plan, generator=own)
    data, public = images(N), images(7, seed=2)
    mix = adapter(model, optimizer, run_plan, data=data, synthetic=public)
    longer = sampled = 0
    for batch in mix.batches():
        params = {name: p.detach().clone() for name, p in model.named_parameters()}
        made_views = make_views(data, batch.indices, VIEWS, KeyedRandom(SEED, batch.step, batch.indices), public)
        expected = clipped_sum(
            ExampleLoss(model), params, made_views.images, made_views.targets, run_plan.clip_norm, backend="reference"
        )
        mix.backward(batch)
        optimizer.step()
        for name, p in model.named_parameters():
            total = expected.total[name]
            if noise:
                total = total + torch.normal(0.0, noise * run_plan.clip_norm, p.shape, generator=same)
            torch.testing.assert_close(p.grad * run_plan.batch_size, total, rtol=OPACUS, atol=OPACUS)
            torch.testing.assert_close(p.detach(), params[name] - 0.5 * total / 8, rtol=OPACUS, atol=OPACUS)
        optimizer.zero_grad()
        longer, sampled = longer + int((expected.norms > run_plan.clip_norm).sum()), sampled + len(batch)
    # Some are clipped and some are not, or nothing is compared.
    assert 0 < longer < sampled


@needs(GPU, torch.cuda.is_available())
def test_the_update_on_a_gpu():
    totals = []
    for device in ("cpu", "cuda"):
        model = made().to(device)
        optimizer = dp_optimizer(model, plan())
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            train(adapter(model, optimizer, plan(), physical_batch=3), optimizer)
        totals.append(weights(model).cpu())
    assert not torch.equal(totals[0], weights(made()))
    torch.testing.assert_close(totals[1], totals[0], rtol=1e-4, atol=1e-5)


def test_one_row_for_each_example_and_not_for_each_view():
    model = made()
    optimizer = dp_optimizer(model, plan())
    mix = adapter(model, optimizer, plan())
    for batch in mix.batches():
        mix.backward(batch)
        assert [p.grad_sample.shape for p in model.parameters()] == [(len(batch), *p.shape) for p in model.parameters()]
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    assert mix.ledger.steps == 5


@pytest.mark.parametrize("noise", [0.0, 1.7])
def test_a_logical_batch_is_the_sum_of_its_physical_ones(noise):
    whole, mix = run(plan(noise_multiplier=noise))
    for size in (1, 3):
        parts, other = run(plan(noise_multiplier=noise), physical_batch=size)
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
        assert other.accountant.history == mix.accountant.history == [(noise, 8 / N, 5)]
        assert other.ledger.history() == mix.ledger.history() == [(noise, 8 / N, 5)]


def test_physical_batches_are_the_sample_cut_up():
    whole, parts = ({}, {})
    for size, found in ((64, whole), (3, parts)):
        model = made()
        optimizer = dp_optimizer(model, plan())
        mix = adapter(model, optimizer, plan(), physical_batch=size)
        for batch in mix.batches():
            assert len(batch) <= size
            assert batch.first == (batch.step not in found)
            found.setdefault(batch.step, []).extend(batch.indices.tolist())
            turn(mix, optimizer, batch)
            assert batch.last == (mix.ledger.steps == batch.step + 1)
    assert whole == parts
    assert list(whole) == list(range(5))
    assert any(len(one) > 3 for one in whole.values())


def test_it_repeats_and_depends_on_the_seed():
    noisy = plan(noise_multiplier=1.0)
    assert torch.equal(run(noisy)[0], run(noisy)[0])
    assert not torch.allclose(run(noisy)[0], run(noisy, seed=SEED + 1)[0])


def test_training_goes_on_to_learn():
    data = images(N)
    data.labels[:] = data.images.reshape(N, -1).mean(axis=1).argsort().argsort() * CLASSES // N
    data.images[:] = (data.labels * 100 + 20)[:, None, None, None]
    model = made()
    run(plan(steps=60), model, learning_rate=0.5, data=data, views=ViewSettings(2, 0, 1))
    predictions = model(torch.from_numpy(data.images).float() / 255).argmax(dim=1)
    assert (predictions == torch.from_numpy(data.labels)).float().mean() > 0.9


def test_frozen_parameters_stay():
    model = made()
    model[0].requires_grad_(False)
    kept = model[0].weight.clone()
    run(model=model)
    assert torch.equal(model[0].weight, kept)
    assert not hasattr(model[0].weight, "grad_sample")
    assert not torch.equal(model[4].weight, made()[4].weight)


def test_parameters_in_double_precision():
    model = made().double()

    class InDouble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.double())

    found, _ = run(model=InDouble())
    torch.testing.assert_close(found.float(), run()[0], rtol=1e-4, atol=1e-5)


# --- Empty batches, accountants --------------------------------------------------------------------------------------
def test_an_empty_batch_is_a_step_of_noise():
    # Everybody has left; their indices are sampled nevertheless, and stand for nobody.
    model, run_plan = made(), plan(noise_multiplier=2.0, steps=4)
    optimizer = dp_optimizer(model, run_plan, generator=torch.Generator().manual_seed(3))
    with pytest.warns(UserWarning, match="0 of the plan's 20 images"):
        mix = adapter(model, optimizer, run_plan, data=images(0))
    same = torch.Generator().manual_seed(3)
    for batch in mix.batches():
        assert (len(batch), batch.first, batch.last) == (0, True, True)
        mix.backward(batch)
        assert all(p.grad_sample.shape == (0, *p.shape) for p in model.parameters())
        optimizer.step()
        for p in model.parameters():
            noise = torch.normal(0.0, 2.0 * run_plan.clip_norm, p.shape, generator=same)
            torch.testing.assert_close(p.grad, noise / run_plan.batch_size)
        optimizer.zero_grad()
    assert mix.accountant.history == [(2.0, 8 / N, 4)]


@pytest.mark.filterwarnings("ignore:0 of the plan")
def test_noise_of_a_seed_is_gaussian_and_new_at_every_step():
    model, run_plan = made(), plan(noise_multiplier=2.0, steps=12)
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan, data=images(0))
    noises = []
    for batch in mix.batches():
        mix.backward(batch)
        optimizer.step()
        noises.append(gradients(model) * run_plan.batch_size / (2.0 * run_plan.clip_norm))
    drawn = torch.stack(noises).double().numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(drawn)[~np.eye(12, dtype=bool)]
    assert np.abs(correlation).max() < 5 / drawn.shape[1] ** 0.5
    assert len(np.unique(drawn)) == drawn.size


def test_empty_batches_between_full_ones_are_counted():
    rare, model = plan(batch_size=1, steps=60, noise_multiplier=1.0), made()
    optimizer = dp_optimizer(model, rare)
    mix = adapter(model, optimizer, rare)
    sizes, moved = [], []
    for batch in mix.batches():
        before = weights(model)
        turn(mix, optimizer, batch)
        sizes.append(len(batch))
        moved.append(float((weights(model) - before).norm()))
    assert 10 < sizes.count(0) < 35  # (1 - 1/20)^20 is 0.36
    assert min(moved) > 0
    assert len(sizes) == mix.ledger.steps == 60
    assert mix.accountant.history == [(1.0, 1 / N, 60)]


@pytest.mark.parametrize(("name", "kind"), [("prv", PRVAccountant), ("rdp", RDPAccountant)])
def test_opacus_and_dpmix_account_alike(name, kind):
    run_plan = plan(noise_multiplier=2.5, steps=12)
    _, mix = run(run_plan, accountant=name, physical_batch=3)
    assert type(mix.accountant) is kind
    expected = epsilon(name, noise_multiplier=2.5, sampling_rate=8 / N, steps=12, delta=run_plan.delta)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mix.accountant.get_epsilon(run_plan.delta)
    assert found == pytest.approx(expected, rel=1e-3)
    assert mix.ledger.spent(run_plan)[name] == pytest.approx(expected)


def test_an_accountant_goes_on_counting():
    accountant = RDPAccountant()
    accountant.step(noise_multiplier=3.0, sample_rate=0.5)
    _, mix = run(plan(noise_multiplier=1.0), accountant=accountant)
    assert mix.accountant is accountant
    assert accountant.history == [(3.0, 0.5, 1), (1.0, 8 / N, 5)]


def test_a_run_beyond_its_target_fails():
    with pytest.raises(PrivacyError, match="above its target 1"):
        run(plan(noise_multiplier=0.9, target_epsilon=1.0))


def test_a_quieter_step_is_not_applied():
    model, run_plan = made(), plan(noise_multiplier=1.0)
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan)
    batch = next(mix.batches())
    optimizer.noise_multiplier = 0.5
    before = weights(model)
    mix.backward(batch)
    with pytest.raises(PrivacyError, match=r"0\.5 is below the planned 1"):
        optimizer.step()
    assert torch.equal(weights(model), before)
    assert mix.ledger.steps == len(mix.accountant) == 0


def test_a_louder_step_is_counted_as_it_is():
    model, run_plan = made(), plan(noise_multiplier=1.0)
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan)
    for batch in mix.batches():
        optimizer.noise_multiplier = 2.0 if batch.step == 3 else 1.0
        turn(mix, optimizer, batch)
    assert mix.ledger.history() == [(1.0, 8 / N, 4), (2.0, 8 / N, 1)]
    assert mix.accountant.history == [(1.0, 8 / N, 3), (2.0, 8 / N, 1), (1.0, 8 / N, 1)]


# --- One record ------------------------------------------------------------------------------------------------------
def without_last(data: Images) -> Images:
    return Images(data.images[:-1], data.labels[:-1], data.classes)


@pytest.mark.parametrize("views", [VIEWS, ViewSettings(2, 0, 3), ViewSettings(0, 2, 1)], ids=["all", "self", "diff"])
def test_one_record_moves_the_sum_by_at_most_c(views):
    data, found = images(N), []
    data.images[-1], data.labels[-1] = 255, 0
    run_plan = plan(clip_norm=0.05, steps=16)
    for present in (data, without_last(data)):
        model = made()
        optimizer = dp_optimizer(model, run_plan, learning_rate=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mix = adapter(model, optimizer, run_plan, data=present, views=views)
        sums, took_part = [], []
        for batch in mix.batches():
            mix.backward(batch)
            optimizer.step()
            sums.append(gradients(model) * run_plan.batch_size)
            took_part.append(N - 1 in batch.indices)
            optimizer.zero_grad()
        found.append((sums, took_part))
        # Nothing public depends on who is there.
        assert mix.accountant.history == [(0.0, 8 / N, 16)]
    (whole, took_part), (rest, none) = found
    assert sum(took_part) > 1
    assert not any(none)
    moved = [float((one - other).norm()) for one, other in zip(whole, rest, strict=True)]
    assert all(0.04 < m <= 0.05 * (1 + OPACUS) if took else m == 0 for m, took in zip(moved, took_part, strict=True))


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_damaged_record_contributes_nothing(factor):
    data = images(N)
    data.images[-1] = 0
    found = []
    for present in (data, without_last(data)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(run(plan(steps=8), made(Scaled, factor), data=present, views=ViewSettings(2, 0, 1))[0])
    assert torch.isfinite(found[0]).all()
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-7)


# --- Loops that are broken off, resumed, or wrong --------------------------------------------------------------------
@pytest.mark.parametrize("when", ["before backward", "before the step", "after the step"])
@pytest.mark.parametrize("number", [1, 4, 5])
def test_a_broken_loop_goes_on_as_if_it_had_not(when, number):
    run_plan = plan(noise_multiplier=1.0)
    whole, _ = run(run_plan, physical_batch=3)
    model = made()
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan, physical_batch=3)
    for seen, batch in enumerate(mix.batches()):
        if seen == number and when == "before backward":
            break
        mix.backward(batch)
        if seen == number and when == "before the step":
            break
        optimizer.step()
        optimizer.zero_grad()
        if seen == number:
            break
    train(mix, optimizer)
    assert torch.equal(weights(model), whole)
    assert mix.accountant.history == [(1.0, 8 / N, 5)]


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("broken_off", [0, 1, 4])
def test_a_resumed_run_is_the_same_run(own_generator, broken_off):
    run_plan = plan(noise_multiplier=1.0)

    def start() -> tuple[nn.Module, DPOptimizer, DPMix]:
        model = made()
        generator = torch.Generator().manual_seed(9) if own_generator else None
        optimizer = dp_optimizer(model, run_plan, generator=generator)
        return model, optimizer, adapter(model, optimizer, run_plan, physical_batch=3)

    model, optimizer, mix = start()
    train(mix, optimizer)
    whole = weights(model)

    model, optimizer, mix = start()
    for seen, batch in enumerate(mix.batches()):
        turn(mix, optimizer, batch)
        if seen == broken_off:
            break
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "mix": mix.state_dict()}, file)
    file.seek(0)
    model, optimizer, mix = start()
    saved = torch.load(file, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    mix.load_state_dict(saved["mix"])
    train(mix, optimizer)
    assert torch.equal(weights(model), whole)
    assert [tuple(row) for row in mix.accountant.history] == [(1.0, 8 / N, 5)]


def test_what_was_too_quiet_is_not_kept_in_a_checkpoint():
    """Who goes on from it has measured none of its steps."""
    run_plan, model = plan(noise_multiplier=1.0), made()
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan)
    add_noise = optimizer.add_noise

    def half_of_it() -> None:
        add_noise()
        for p in optimizer.params:
            p.grad = (p.grad + p.summed_grad.view_as(p)) / 2

    optimizer.add_noise = half_of_it
    for batch in mix.batches():
        turn(mix, optimizer, batch)
        if batch.step == 2:
            break
    with pytest.raises(PrivacyError, match="noise"):
        mix.state_dict()


def test_noise_of_a_generator_that_is_gone_is_not_repeated():
    run_plan, model = plan(noise_multiplier=1.0), made()
    optimizer = dp_optimizer(model, run_plan, generator=torch.Generator().manual_seed(9))
    state = adapter(model, optimizer, run_plan).state_dict()
    other = adapter(model, dp_optimizer(model, run_plan), run_plan)
    with pytest.raises(PrivacyError, match="give DPOptimizer one"):
        other.load_state_dict(state)


@pytest.fixture
def loop() -> tuple[DPMix, DPOptimizer]:
    model, run_plan = made(), plan(noise_multiplier=1.0)
    optimizer = dp_optimizer(model, run_plan)
    return adapter(model, optimizer, run_plan, physical_batch=3), optimizer


def test_a_batch_passed_over_is_an_error(loop):
    mix, optimizer = loop
    batches = mix.batches()
    turn(mix, optimizer, next(batches))
    next(batches)
    with pytest.raises(PrivacyError, match="step 0 got no backward"):
        next(batches)


def test_batches_cannot_be_collected(loop):
    with pytest.raises(PrivacyError, match="no backward"):
        list(loop[0].batches())


def test_a_batch_counts_once(loop):
    mix, optimizer = loop
    batch = next(mix.batches())
    turn(mix, optimizer, batch)
    with pytest.raises(PrivacyError, match="exactly once"):
        mix.backward(batch)


def test_another_runs_batch_is_refused(loop):
    mix, _ = loop
    batch = next(mix.batches())
    with pytest.raises(PrivacyError, match="exactly once"):
        mix.backward(replace(batch))


def test_a_physical_batch_without_a_step_is_an_error(loop):
    mix, optimizer = loop
    batches = mix.batches()
    mix.backward(next(batches))
    optimizer.zero_grad()
    with pytest.raises(PrivacyError, match="lost a batch"):
        mix.backward(next(batches))


def test_a_logical_batch_without_a_step_is_an_error():
    model = made()
    mix = adapter(model, dp_optimizer(model, plan()), plan())
    batches = mix.batches()
    mix.backward(next(batches))
    with pytest.raises(PrivacyError, match=r"step 0 got no optimizer\.step"):
        next(batches)


def test_loops_do_not_nest(loop):
    mix, optimizer = loop
    outer, inner = mix.batches(), mix.batches()
    turn(mix, optimizer, next(outer))
    turn(mix, optimizer, next(inner))
    with pytest.raises(PrivacyError, match="inside its own loop"):
        next(outer)


def test_a_second_step_on_the_same_gradients_is_an_error():
    model, run_plan = made(), plan(noise_multiplier=1.0)
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan)
    mix.backward(next(mix.batches()))
    optimizer.step()
    before = weights(model)
    with pytest.raises(ValueError, match="zero_grad"):
        optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(ValueError, match="grad"):
        optimizer.step()
    assert torch.equal(weights(model), before)
    assert mix.ledger.steps == 1


def test_a_noisy_step_that_nobody_asked_for_is_not_applied(loop):
    mix, optimizer = loop
    mix.backward(next(mix.batches()))
    optimizer._step_skip_queue.clear()  # as another manager of physical batches might
    with torch.random.fork_rng(devices=[]), pytest.raises(PrivacyError, match="no batch asked for"):
        optimizer.step()
    assert mix.ledger.steps == 0


@pytest.mark.parametrize("order", ["first", "last", "never"])
def test_where_gradients_are_cleared_does_not_matter(order):
    run_plan, model = plan(noise_multiplier=1.0), made()
    optimizer = dp_optimizer(model, run_plan)
    mix = adapter(model, optimizer, run_plan, physical_batch=3)
    for batch in mix.batches():
        if order == "first":
            optimizer.zero_grad()
        mix.backward(batch)
        optimizer.step()
        if order == "last":
            optimizer.zero_grad()
    assert torch.equal(weights(model), run(run_plan, physical_batch=3)[0])


# --- Entropy ---------------------------------------------------------------------------------------------------------
def test_without_a_seed_nobody_can_tell_who_was_sampled():
    samples = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002  # that it has no effect is the point
            model = made()
            optimizer = dp_optimizer(model, plan())
            mix = adapter(model, optimizer, plan(), seed=None)
            samples.append([])
            for batch in mix.batches():
                samples[-1].append(batch.indices.tolist())
                assert repr(batch) == f"Batch(step={batch.step}, first=True, last=True)"
                turn(mix, optimizer, batch)
    assert samples[0] != samples[1]


def test_without_a_seed_physical_batches_share_one_sample():
    model = made()
    optimizer = dp_optimizer(model, plan())
    mix = adapter(model, optimizer, plan(), seed=None, physical_batch=2)
    by_step: dict[int, list[int]] = {}
    for batch in mix.batches():
        by_step.setdefault(batch.step, []).extend(batch.indices.tolist())
        turn(mix, optimizer, batch)
    assert all(sorted(set(one)) == one for one in by_step.values())
    assert list(by_step) == list(range(5))


# --- What is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"plan": plan(microbatch_size=2)}, ParamsError, "half the noise"),
        ({"views": ViewSettings(2, microbatch_size=2)}, ParamsError, "half the noise"),
        ({"physical_batch": 0}, ParamsError, "physical_batch 0"),
        ({"seed": -1}, ParamsError, "seed -1"),
        ({"seed": 2**32}, ParamsError, "seed 4294967296"),
        ({"accountant": "gdp"}, ParamsError, "accountant 'gdp'"),
        ({"data": images(N + 1)}, DataError, "more than the plan's population of 20"),
        ({"synthetic": None}, DataError, "k_diff = 1 needs a synthetic set"),
        ({"synthetic": images(0)}, DataError, "k_diff = 1 needs a synthetic set"),
        ({"optimizer": {"max_grad_norm": 2.0}}, PrivacyError, r"max_grad_norm is 2\.0"),
        ({"optimizer": {"noise_multiplier": 0.5}}, PrivacyError, r"noise multiplier is 0\.5"),
        ({"optimizer": {"noise_multiplier": float("nan")}}, PrivacyError, "noise multiplier is nan"),
        ({"optimizer": {"expected_batch_size": 7}}, PrivacyError, "expected_batch_size is 7"),
    ],
)
def test_what_does_not_fit_together(changes, error, words):
    changes = dict(changes)
    run_plan, model = changes.pop("plan", plan(noise_multiplier=1.0)), made()
    optimizer = dp_optimizer(model, run_plan, **changes.pop("optimizer", {}))
    with pytest.raises(error, match=words) as raised:
        adapter(model, optimizer, run_plan, **changes)
    assert "\n" not in str(raised.value)
    assert optimizer.step_hook is None


@pytest.mark.filterwarnings("ignore:GDP accounting")
def test_an_accountant_that_may_underestimate_is_refused():
    with pytest.raises(ParamsError, match="accountant 'GaussianAccountant'"):
        run(accountant=GaussianAccountant())


def test_other_optimizers_are_refused():
    model = made()
    plain = torch.optim.SGD(model.parameters(), lr=1.0)
    adaptive = AdaClipDPOptimizer(
        plain,
        noise_multiplier=1.0,
        target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.1,
        max_clipbound=1.0,
        min_clipbound=0.1,
        unclipped_num_std=1.0,
        max_grad_norm=1.3,
        expected_batch_size=8,
    )
    for optimizer in (plain, adaptive):
        with pytest.raises(PrivacyError, match=f"is a {type(optimizer).__name__}"):
            adapter(model, optimizer, plan(noise_multiplier=1.0))


def test_an_optimizer_with_another_accountant_is_refused():
    model = made()
    optimizer = dp_optimizer(model, plan())
    optimizer.attach_step_hook(RDPAccountant().get_optimizer_hook_fn(1 / 3))
    with pytest.raises(PrivacyError, match="another accountant already"):
        adapter(model, optimizer, plan())


def test_another_models_optimizer_is_refused():
    model = made()
    for parameters in (made().parameters(), [*model.parameters(), nn.Parameter(torch.ones(1))]):
        with pytest.raises(PrivacyError, match="are not the model's"):
            adapter(model, dp_optimizer(nn.ParameterList(parameters), plan()), plan())


def test_opacuss_hooks_are_refused():
    inner = made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hooked = GradSampleModule(inner)
    for model in (hooked, inner):
        with pytest.raises(PrivacyError, match="give a plain one"):
            adapter(model, dp_optimizer(model, plan()), plan())
    hooked.remove_hooks()
    assert run(model=inner)[1].ledger.steps == 5


def test_half_precision_is_refused():
    model = made().to(torch.bfloat16)
    with pytest.raises(PrivacyError, match="keep parameters in float32"):
        adapter(model, dp_optimizer(model, plan()), plan())


def with_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, CLASSES))


def test_a_model_that_mixes_examples_is_refused():
    model = made(with_batch_norm)
    with pytest.raises(PrivacyError, match="keeps statistics"):
        adapter(model, dp_optimizer(model, plan()), plan())
    model[1].eval()
    assert run(model=model)[1].ledger.steps == 5


def test_a_frozen_batch_norm_that_wakes_up_is_noticed():
    model = made(with_batch_norm).eval()
    optimizer = dp_optimizer(model, plan())
    mix = adapter(model, optimizer, plan())
    batches = mix.batches()
    turn(mix, optimizer, next(batches))
    kept = model[1].running_mean.clone()
    model.train()
    with pytest.raises(PrivacyError, match="keeps statistics"):
        mix.backward(next(batches))
    assert torch.equal(model[1].running_mean, kept)


# --- The example -----------------------------------------------------------------------------------------------------
def test_the_example_runs(repository: Path, capsys: pytest.CaptureFixture[str]):
    spec = importlib.util.spec_from_file_location("opacus_loop", repository / "examples" / "opacus_loop.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    with torch.random.fork_rng(devices=[]):
        spec.loader.exec_module(example)
        example.main(["--epochs", "2", "--epsilon", "8", "--k-base", "1", "--k-self", "1"])
    printed = capsys.readouterr().out
    accuracy = re.search(r"accuracy: ([\d.]+) % of 360 test images", printed)
    by_opacus = re.search(r"by Opacus \(prv\): ([\d.]+)", printed)
    by_dpmix = re.search(r"by dpmix: rdp [\d.]+, prv ([\d.]+), pld ([\d.]+)", printed)
    assert accuracy is not None
    assert by_opacus is not None
    assert by_dpmix is not None
    assert float(accuracy[1]) > 50  # ten classes
    assert by_opacus[1] == by_dpmix[1]
    assert 7.9 < float(by_opacus[1]) <= 8
    assert 0.9 * 8 < float(by_dpmix[2]) <= 8
