"""What goes wrong in Opacus 1.6, and does not here.

Where it is cheap, the fault is shown as well, so that a test is known to look in the right place.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus import GradSampleModule, PrivacyEngine
from opacus.optimizers import DPOptimizer
from opacus.utils.batch_memory_manager import BatchMemoryManager
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dpmix.errors import DataError, PrivacyError
from dpmix.models.encoder import Encoder
from dpmix.privacy.backend_choice import BACKENDS
from dpmix.privacy.clipping import clipped_sum
from dpmix.privacy.ledger import Ledger
from dpmix.privacy.loss import ExampleLoss
from dpmix.privacy.plan import Plan
from dpmix.privacy.sampling import poisson_sample
from dpmix.views.settings import ViewSettings
from tests.privacy import checks
from tests.privacy.small_loops import CLASSES, SIDE, TRAINERS, finish, images, linear, opacus_loop, plan, plan_of


def test_one_damaged_example_poisons_opacuss_model():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = DPOptimizer(
        torch.optim.SGD([weight], lr=1.0), noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=2
    )
    weight.grad_sample = torch.tensor([[0.5, 0.5], [float("nan"), 0.0]])
    optimizer.step()
    assert torch.isnan(weight).all()


def test_one_damaged_example_poisons_no_model_here():
    case = replace(checks.HEADS_DAMAGED, batch_size=8, steps=2)  # everybody, every time
    seen = checks.run(case, checks.Recorder(), learning_rate=0.1)
    assert all(torch.isfinite(found).all() for found in seen.weights)
    assert not any(torch.equal(*pair) for pair in zip(seen.weights, seen.initial, strict=True))

    model = linear()
    loss = ExampleLoss(model)
    params = {name: p.detach() for name, p in model.named_parameters()}
    views, targets = torch.rand(3, 2, 1, SIDE, SIDE), torch.full((3, 2, CLASSES), 1 / CLASSES)
    expected = clipped_sum(loss, params, views[:2], targets[:2], 0.1).total
    views[2, 0, 0, 0, 0] = float("nan")
    for backend in BACKENDS:
        found = clipped_sum(loss, params, views, targets, 0.1, backend=backend).total
        assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in params)


@pytest.mark.filterwarnings("ignore")
def test_rate_and_batch_size_do_not_depend_on_who_is_there():
    """`make_private` derives both from the loaded data, so that one record more changes every step and the noise."""
    derived = []
    for count in (40, 41):
        loader = DataLoader(TensorDataset(torch.zeros(count, SIDE**2), torch.zeros(count)), batch_size=20)
        model = linear()
        _, optimizer, private = PrivacyEngine().make_private(
            module=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), data_loader=loader,
            noise_multiplier=1.0, max_grad_norm=1.0,
        )  # fmt: skip
        derived.append((private.sample_rate, optimizer.expected_batch_size))
    assert derived == [(1 / 2, 20), (1 / 3, 13)]

    constants = []
    for count in (40, 41):
        published = plan(population=41, batch_size=20, noise_multiplier=1.0)
        optimizer, mix = opacus_loop(linear(), published, images(count))
        finish(optimizer, mix)
        noise = (optimizer.noise_multiplier * optimizer.max_grad_norm, optimizer.expected_batch_size)
        constants.append((mix.accountant.history, noise))
    assert constants[0] == constants[1] == ([(1.0, 20 / 41, 4)], (1.0, 20))


@pytest.mark.parametrize(
    ("population", "batch_size", "opacus"), [(50_000, 4096, (1 / 13, 3846)), (3680, 1000, (1 / 4, 920))]
)
def test_rate_and_batch_size_are_not_rounded(population, batch_size, opacus):
    rate = 1 / math.ceil(population / batch_size)
    assert (rate, int(population * rate)) == opacus
    found = plan(population=population, batch_size=batch_size)
    assert (found.sampling_rate, found.expected_units) == (batch_size / population, batch_size)


def test_no_step_is_lost_to_floating_point():
    """Opacus's sampler takes int(1 / q) steps an epoch, one too few for 141 of the first 2000 sizes."""
    lost = [n for n in range(1, 2000) if int(1 / (1 / n)) != n]
    assert len(lost) == 141
    for n in range(1, 2000):
        assert plan_of(n, 1, 1).steps == n


def test_noise_is_calibrated_for_the_steps_that_run():
    """Opacus calibrates for int(epochs / q) steps: the same trap, in the number that sets σ."""
    lost = 0
    for population in range(1, 150):
        for batch_size in range(1, population + 1, 7):
            for epochs in (1, 3, 10):
                exact = population * epochs // batch_size
                lost += int(epochs / (batch_size / population)) != exact
                assert plan_of(population, batch_size, epochs).steps == exact
    assert lost > 10
    calibrated = Plan.calibrated(
        population=93, batch_size=1, epochs=1, clip_norm=1.0, epsilon=2.0, delta=1e-5, accountant="rdp"
    )
    assert calibrated.steps == 93
    ledger = Ledger()
    ledger.record(calibrated, 93)
    ledger.check(calibrated)
    ledger.record(calibrated)
    with pytest.raises(PrivacyError, match="94 steps were executed but 93 planned"):
        ledger.check(calibrated)


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_is_broken_off_leaves_nothing_for_the_next_step():
    """Under Opacus's BatchMemoryManager the part stays, and goes into the next noisy sum: a record may count twice."""
    model = linear()
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0), noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=8
    )
    loader = DataLoader(TensorDataset(torch.rand(8, SIDE**2)), batch_size=8)
    with BatchMemoryManager(data_loader=loader, max_physical_batch_size=2, optimizer=optimizer) as parts:
        for (part,) in parts:
            for p in model.parameters():
                p.grad_sample = torch.ones(len(part), *p.shape)
            optimizer.step()
            optimizer.zero_grad()
            break
    assert any(p.summed_grad is not None and p.summed_grad.any() for p in model.parameters())

    whole = finish(*opacus_loop(linear(), plan(), images(12), physical_batch=2))
    optimizer, mix = opacus_loop(linear(), plan(), images(12), physical_batch=2)
    for batch in mix.batches():
        mix.backward(batch)
        optimizer.step()
        optimizer.zero_grad()
        assert not batch.last
        break
    assert torch.equal(finish(optimizer, mix), whole)


@TRAINERS
def test_empty_batches_are_steps(case):
    """Opacus's distributed sampler drops them: 11 to 16 of 20 steps were left at N = 40, q = 0.05."""
    rare = replace(case, population=40, batch_size=2, steps=20, k=(1, 0, 0))
    recorder = checks.Recorder()
    seen = checks.run(rare, recorder)
    empty = 20 - len({step for step, units, _ in seen.views if len(units)})
    assert 0 < empty < 10  # 0.95^40 is 0.13
    assert all(ledger.steps == 20 for ledger in seen.ledgers)
    assert {step for step, *_ in recorder.calls} == set(range(20))


def test_no_rank_or_run_shares_its_neighbours_draws():
    """Opacus's ranks with equal torch seeds draw the same masks, so that records take part together."""
    taken = np.zeros((2000, 6))
    for step in range(2000):
        taken[step, poisson_sample(0, step, 6, 0.3)] = 1
    correlation = np.corrcoef(taken.T)[~np.eye(6, dtype=bool)]
    assert np.abs(correlation).max() < 5 / 2000**0.5


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)], ids=["2-D", "3-D", "4-D, as in ConvNeXt"])
def test_linear_layers_of_every_dimension(shape):
    """Opacus's ghost clipping fails on a linear layer of 4-D input, and was wrong about the bias of a 3-D one."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).reshape(len(x), -1, CLASSES).tanh().mean(dim=1)

    model = Network()
    params = {name: p.detach() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(4, 2, *shape, generator=generator)
    targets = torch.softmax(torch.randn(4, 2, CLASSES, generator=generator), dim=2)
    expected = clipped_sum(ExampleLoss(model), params, views, targets, 0.2, backend="sequential")
    for backend in ("vectorized", "ghost"):
        found = clipped_sum(ExampleLoss(model), params, views, targets, 0.2, backend=backend)
        assert torch.allclose(found.norms, expected.norms, rtol=1e-5)
        assert all(torch.allclose(found.total[name], expected.total[name], atol=1e-6) for name in params)


@pytest.mark.filterwarnings("ignore")
def test_a_frozen_batch_norm_in_training_mode_is_refused():
    """Opacus's validator looks at trainable layers only, while this one makes each gradient depend on all examples."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, CLASSES))
    model[1].requires_grad_(False)
    assert ModuleValidator.validate(model, strict=False) == []

    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    views, targets = torch.rand(2, 2, 1, SIDE, SIDE), torch.full((2, 2, CLASSES), 1 / CLASSES)
    for backend in BACKENDS:
        with pytest.raises(PrivacyError, match="statistics"):
            clipped_sum(ExampleLoss(model), params, views, targets, 1.0, backend=backend)
    with pytest.raises(PrivacyError, match="statistics"):
        opacus_loop(model, plan(), images(12))


@pytest.mark.filterwarnings("ignore")
def test_under_it_one_record_moves_opacuss_sum_by_several_clip_norms():
    """The frozen layer's statistics carry one bright image into the gradients of 63 others."""
    generator = torch.Generator().manual_seed(1)
    pixels, labels = torch.rand(64, 1, SIDE, SIDE, generator=generator), torch.arange(64) % CLASSES
    pixels[0] *= 30
    clip_norm = 0.1

    def clipped_sum_of(chosen: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        model[1].requires_grad_(False)
        hooked = GradSampleModule(model)
        optimizer = DPOptimizer(
            torch.optim.SGD([p for p in hooked.parameters() if p.requires_grad], lr=1.0),
            noise_multiplier=0.0, max_grad_norm=clip_norm, expected_batch_size=64, loss_reduction="sum",
        )  # fmt: skip
        nn.functional.cross_entropy(hooked(pixels[chosen]), labels[chosen], reduction="sum").backward()
        optimizer.clip_and_accumulate()
        return torch.cat([p.summed_grad.flatten() for p in optimizer.params])

    everybody = torch.arange(64)
    moved = (clipped_sum_of(everybody) - clipped_sum_of(everybody[1:])).norm() / clip_norm
    assert moved > 3


class CentredOnTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


def test_mixing_in_the_forward_pass_is_refused():
    """Opacus detects no such operation."""
    with pytest.raises(PrivacyError, match="mixes examples"):
        opacus_loop(nn.Sequential(CentredOnTheBatch(), *linear()), plan(), images(12))
    tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 8), CentredOnTheBatch())
    with pytest.raises(DataError, match="mixes examples"):
        Encoder(tower, resolution=SIDE, mean=[0.5] * 3, std=[0.5] * 3)


@pytest.mark.filterwarnings("ignore")
def test_opacus_accounts_batches_in_a_fixed_order_as_sampled():
    histories = []
    for poisson in (True, False):
        engine, model = PrivacyEngine(), nn.Linear(4, 2)
        model, optimizer, loader = engine.make_private(
            module=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), noise_multiplier=1.0,
            max_grad_norm=1.0, data_loader=DataLoader(TensorDataset(torch.rand(20, 4)), batch_size=5),
            poisson_sampling=poisson,
        )  # fmt: skip
        for (batch,) in loader:
            model(batch).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        histories.append(engine.accountant.history)
    assert histories[0] == histories[1] == [(1.0, 1 / 4, 4)]


def test_there_is_no_sampling_but_what_is_accounted():
    """With `poisson_sampling=False` Opacus keeps the accountant of Poisson sampling."""
    many = plan(population=15, batch_size=5, steps=300)
    optimizer, mix = opacus_loop(linear(), many, images(15), ViewSettings(1))
    taken = np.zeros((300, 15))
    for batch in mix.batches():
        np.add.at(taken[batch.step], batch.indices, 1)
        assert np.array_equal(batch.indices, poisson_sample(3, batch.step, 15, many.sampling_rate))
        mix.backward(batch)
        optimizer.step()
        optimizer.zero_grad()
    rate = 5 / 15
    assert mix.accountant.history == [(0.0, rate, 300)]
    assert taken.max() == 1
    assert np.abs(taken.mean(axis=0) - rate).max() < 4 * (rate * (1 - rate) / 300) ** 0.5
    assert taken.sum(axis=1).var() == pytest.approx(15 * rate * (1 - rate), rel=0.35)


@TRAINERS
def test_physical_batches_are_not_steps(case):
    """The release updates its moving average once a physical batch."""
    recorders = checks.Recorder(), checks.Recorder()
    runs = [checks.run(case, one, physical_batch=size) for one, size in zip(recorders, (64, 1), strict=True)]
    assert [call[:3] for call in recorders[0].calls] == [call[:3] for call in recorders[1].calls]
    assert all(ledger.steps == case.steps for seen in runs for ledger in seen.ledgers)


@TRAINERS
def test_results_do_not_depend_on_global_generators(case):
    """Opacus and the release draw noise, samples and views from torch's, NumPy's and Python's global state."""
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002  # that it has no effect is the point
            before = torch.get_rng_state()
            found.append(checks.run(case, None, learning_rate=0.1).weights)
            assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
