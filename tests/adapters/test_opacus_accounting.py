"""What a loop around Opacus counts: empty batches, noise, steps, and ε by both sides' accountants."""

import warnings

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy import stats

from dpmix.errors import PrivacyError
from dpmix.privacy.accounting import epsilon
from tests.adapters.opacus_runs import (
    N,
    adapter,
    dp_optimizer,
    gradients,
    images,
    made,
    plan,
    run,
    turn,
    weights,
)

pytestmark = pytest.mark.usefixtures("untouched_global_generator")


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
