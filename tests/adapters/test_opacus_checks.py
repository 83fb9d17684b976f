"""Models, optimizers, images and settings that an Opacus loop must not train with are refused."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus.accountants import GaussianAccountant, RDPAccountant
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import AdaClipDPOptimizer
from torch import nn

from dpmix.errors import DataError, ParamsError, PrivacyError
from dpmix.views.settings import ViewSettings
from tests.adapters.opacus_runs import CLASSES, SIDE, N, adapter, dp_optimizer, images, made, plan, run, train, turn

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
        ({"synthetic": replace(images(7), classes=tuple("abcde"))}, DataError, "labels mean different classes"),
        ({"synthetic": replace(images(7), images=images(7).images[..., :5])}, DataError, "bring them to one shape"),
        ({"synthetic": replace(images(7), images=images(7).images.repeat(3, 1))}, DataError, "bring them to one shape"),
        ({"synthetic": [images(7)]}, DataError, "synthetic is a list; give dpmix.Images of it"),
        ({"views": "dp-mix-self"}, ParamsError, "views is a str; give a dpmix.ViewSettings"),
        ({"views": None}, ParamsError, "views is a NoneType; give a dpmix.ViewSettings"),
        ({"physical_batch": 2.5}, ParamsError, r"physical_batch 2\.5 is no whole number"),
        ({"physical_batch": None}, ParamsError, "physical_batch None is no whole number"),
        ({"seed": "1"}, ParamsError, "seed '1' is no whole number"),
        ({"criterion": None}, ParamsError, r"have no gradient \('NoneType' object is not callable\)"),
        (
            {"criterion": lambda logits, labels: (logits - labels).square().mean(1)},
            ParamsError,
            "no gradient",
        ),
        ({"criterion": lambda logits, labels: (logits - labels).square().mean().item()}, ParamsError, "no gradient"),
        ({"data": torch.zeros(3)}, DataError, "data is a Tensor; give dpmix.Images of it"),
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


def test_images_of_another_shape_than_the_models_are_refused():
    for changed in (images(N).images.repeat(3, 1), images(N).images.repeat(2, 2).repeat(2, 3)):
        model, other = made(), replace(images(N), images=changed)
        with pytest.raises(DataError, match=r"^the model does not take the data's images, \[") as raised:
            adapter(model, dp_optimizer(model, plan()), plan(), data=other, views=ViewSettings(2))
        assert "\n" not in str(raised.value)


def test_a_model_for_another_number_of_classes_is_refused():
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES + 2)))
    with pytest.raises(DataError, match=r"gives \[5\] numbers .* 3 classes; give it a last layer of 3 outputs"):
        adapter(model, dp_optimizer(model, plan()), plan())


def test_labels_of_other_whole_numbers_count_the_same():
    expected, _ = run()
    for kind in (np.int32, np.uint8):
        given, synthetic = (replace(one, labels=one.labels.astype(kind)) for one in (images(N), images(7, seed=2)))
        assert torch.equal(run(data=given, synthetic=synthetic)[0], expected)


def test_labels_from_one_are_refused():
    with pytest.raises(DataError, match="labels go from 1 to 3, but there are 3 classes; number them from 0"):
        replace(images(N), labels=images(N).labels + 1)


@pytest.mark.parametrize("part", [False, True])
def test_a_data_parallel_model_is_refused_and_the_one_inside_is_not(part):
    inner = made()
    wrapped = nn.DataParallel(inner) if not part else nn.Sequential(nn.DataParallel(inner))
    where = "the part 0 of the model" if part else "the model"
    with pytest.raises(ParamsError, match=f"^{where} is wrapped in DataParallel, .* its attribute `module`$"):
        adapter(wrapped, dp_optimizer(wrapped, plan()), plan())
    assert run(model=inner)[1].ledger.steps == 5


class Twice(nn.Module):
    def __init__(self, layer: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, last

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(self.layer(images.flatten(1))))


def test_a_layer_with_two_names_is_refused_and_one_that_is_called_twice_is_not():
    with torch.random.fork_rng(devices=[]):
        pixels = images(1).images[0].size
        layer, last = nn.Linear(pixels, pixels), nn.Linear(pixels, CLASSES)
        model = nn.Sequential(nn.Flatten(), layer, nn.Tanh(), layer, last)
        with pytest.raises(ParamsError, match=r"^1 and 3 of the model are one layer; keep it under one name"):
            adapter(model, dp_optimizer(model, plan()), plan())
        assert run(model=Twice(layer, last))[1].ledger.steps == 5
        frozen = nn.Sequential(nn.Flatten(), layer.requires_grad_(False), nn.Tanh(), layer, last)
        assert run(model=frozen)[1].ledger.steps == 5


def test_a_part_that_the_optimizer_does_not_move_must_be_frozen():
    model = made()
    optimizer = dp_optimizer(model[4], plan())
    with pytest.raises(ParamsError, match=r"^0\.weight, 0\.bias, 1\.weight and 1 more parameters would have gradients"):
        adapter(model, optimizer, plan())
    model[:4].requires_grad_(False)
    assert train(adapter(model, optimizer, plan()), optimizer).ledger.steps == 5


def test_a_layer_that_is_unfrozen_on_the_way_is_noticed():
    model = made()
    model[0].requires_grad_(False)
    optimizer = dp_optimizer(model, plan())
    mix = adapter(model, optimizer, plan())
    batches = mix.batches()
    turn(mix, optimizer, next(batches))
    model[0].requires_grad_(True)
    with pytest.raises(ParamsError, match="as when a layer is frozen or unfrozen on the way; make a new DPOptimizer"):
        mix.backward(next(batches))


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm], ids=["new", "old"])
@pytest.mark.filterwarnings("ignore")  # of torch, that one of them is old
def test_spectral_norm_is_for_eval_mode(norm):
    """In training mode each forward pass turns its vectors, which are functions of the weights and of no image."""
    model = made(lambda: nn.Sequential(norm(nn.Conv2d(1, 4, 3)), nn.Tanh(), nn.Flatten(), nn.Linear(64, CLASSES)))
    with pytest.raises(PrivacyError, match=r"_u changes in every forward pass, .*; call eval\(\) on its layer$"):
        adapter(model, dp_optimizer(model, plan()), plan())
    model[0].eval()
    assert run(model=model)[1].ledger.steps == 5


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


def test_a_plan_is_a_plan():
    model = made()
    with pytest.raises(ParamsError, match=r"plan is a dict; give a dpmix\.Plan"):
        adapter(model, dp_optimizer(model, plan()), {"epsilon": 4})


def test_whole_numbers_of_numpy_are_whole_numbers():
    _, mix = run(physical_batch=np.int64(3), seed=np.uint32(5))
    assert mix.ledger.steps == 5


def test_a_model_without_values_is_refused():
    model = made().to("meta")
    with pytest.raises(ParamsError, match="device meta have no values"):
        adapter(model, dp_optimizer(model, plan()), plan())


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = made()

    def forward(self, images):
        return self.network(images).detach()


def test_a_model_whose_outputs_have_no_gradient_is_refused():
    model = Detached()
    with pytest.raises(ParamsError, match="model and criterion have no gradient"):
        adapter(model, dp_optimizer(model, plan()), plan())
