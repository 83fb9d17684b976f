"""DP-Mix under Opacus's own optimizer and accountants: dpmix's update, in any company that a loop may be in."""

import importlib.util
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dpmix.data.images import Images
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.loss import ExampleLoss
from dpmix.random import KeyedRandom
from dpmix.views.mixing import make_views
from dpmix.views.settings import ViewSettings
from tests.adapters.opacus_runs import (
    CLASSES,
    SEED,
    SIDE,
    VIEWS,
    N,
    adapter,
    dp_optimizer,
    gradients,
    images,
    made,
    network,
    plan,
    run,
    train,
    turn,
    weights,
)
from tests.needs import GPU, needs

pytestmark = pytest.mark.usefixtures("untouched_global_generator")
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
