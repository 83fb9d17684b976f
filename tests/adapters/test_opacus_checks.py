"""Models, optimizers, images and settings that an Opacus loop must not train with are refused."""

import warnings
from dataclasses import replace

import pytest
import torch
from opacus.accountants import GaussianAccountant, RDPAccountant
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import AdaClipDPOptimizer
from torch import nn

from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.views.settings import ViewSettings
from tests.adapters.opacus_runs import CLASSES, N, adapter, dp_optimizer, images, made, plan, run, turn

pytestmark = pytest.mark.usefixtures("untouched_global_generator")


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
        ({"synthetic": replace(images(7), classes=tuple("cab"))}, DataError, "labels mean different classes"),
        ({"synthetic": replace(images(7), images=images(7).images[..., :5])}, DataError, "bring them to one shape"),
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
