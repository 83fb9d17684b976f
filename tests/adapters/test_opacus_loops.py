"""Loops around Opacus that are broken off, resumed or wrong: nothing counts twice, and no step is lost unnoticed."""

import io
from dataclasses import replace

import pytest
import torch
from opacus.optimizers import DPOptimizer
from torch import nn

from dpmix.adapters.opacus import DPMix
from dpmix.errors import ParamsError, PrivacyError
from tests.adapters.opacus_runs import N, adapter, dp_optimizer, made, plan, run, train, turn, weights

pytestmark = pytest.mark.usefixtures("untouched_global_generator")


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


def test_what_is_no_state_changes_nothing(loop):
    mix, _ = loop
    before = mix.state_dict()
    with pytest.raises(ParamsError, match=r"the state has no accountant, generator; give what state_dict\(\)"):
        mix.load_state_dict({"ledger": [[1.0, 0.4, 3]]})
    assert mix.state_dict() == before


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
