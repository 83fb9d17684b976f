"""Banded noise is what its accounting assumes, fresh or resumed, for experiments and for release."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.matrix_factorization import strategy
from dpmix.privacy.noise import SeededNoise, gaussian
from tests.needs import GPU, needs
from tests.privacy.bands import KINDS, matrix


def drawn(noise, steps: int, size=(30_000,), std: float = 2.0, name: str = "weight") -> torch.Tensor:
    return torch.stack([noise.add(torch.zeros(size), std, step=step, name=name) for step in range(steps)])


@pytest.mark.parametrize("seed", [3, None], ids=["research", "release"])
@pytest.mark.parametrize("kind", KINDS)
def test_covariance_over_steps(seed, kind):
    steps, column = 7, strategy(3, 7, kind)
    found = drawn(BandedNoise(column, seed), steps).double().numpy()
    encoder = matrix(column, steps)
    expected = 4 * np.linalg.inv(encoder.T @ encoder)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(np.cov(found) - expected).max() < 6 * scale.max() * math.sqrt(2 / found.shape[1])
    # Encoded, it is white, and Gaussian.
    white = encoder @ found / 2
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-4
    correlations = np.corrcoef(white)[~np.eye(steps, dtype=bool)]
    assert np.abs(correlations).max() < 6 / math.sqrt(found.shape[1])


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_it_is_made_of_researchs_own_draws(bands):
    steps, column = 12, strategy(bands, 12)
    found = drawn(BandedNoise(column, seed=5), steps, (2, 3), 0.5).double().flatten(1).numpy()
    fresh = [gaussian((2, 3), 0.5, seed=5, step=step, name="weight").flatten() for step in range(steps)]
    assert np.allclose(matrix(column, steps) @ found, torch.stack(fresh).double().numpy(), atol=1e-6)


def test_one_band_is_white_noise_to_the_bit():
    total = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    banded, research = BandedNoise((1.0,), seed=9), SeededNoise(9)
    for step in range(4):
        for name, std in (("a", 0.3), ("b", torch.rand(4, 1))):
            expected = research.add(total, std, step=step, name=name)
            assert torch.equal(banded.add(total, std, step=step, name=name), expected)


def test_names_and_standard_deviations_are_separate():
    noise, column = BandedNoise(strategy(3, 9), seed=1), torch.tensor([[0.0], [1.0], [3.0]])
    both = [noise.add(torch.zeros(3, 50), column, step=step, name="heads") for step in range(3)]
    other = [noise.add(torch.zeros(3, 50), 1.0, step=step, name="other") for step in range(3)]
    alone = drawn(BandedNoise(strategy(3, 9), seed=1), 3, (3, 50), 1.0, "heads")
    for step in range(3):
        assert torch.allclose(both[step], alone[step] * column)
        assert abs(np.corrcoef(other[step].flatten(), alone[step].flatten())[0, 1]) < 0.4
    total = torch.rand(3)
    assert noise.add(total, 0.0, step=3, name="heads") is total


def test_a_research_run_resumes_without_state_to_the_bit():
    column, whole = strategy(4, 20), BandedNoise(strategy(4, 20), seed=2)
    expected = drawn(whole, 9, (6,))
    resumed = BandedNoise(column, seed=2)
    for step in (6, 7, 7, 8, 2):  # a step asked for twice, and one that lies behind
        assert torch.equal(resumed.add(torch.zeros(6), 2.0, step=step, name="weight"), expected[step])


@pytest.mark.parametrize("at", [1, 2, 6])
def test_a_saved_state_goes_on_to_the_bit(at, tmp_path):
    from safetensors.torch import load_file, save_file

    column = strategy(4, 20)
    expected = {name: drawn(BandedNoise(column, seed=2), 9, (6,), name=name) for name in ("a", "b.weight")}
    first, second = BandedNoise(column, seed=2), BandedNoise(column, seed=2)
    for step in range(9):
        noise = first if step < at else second
        for name in expected:
            assert torch.equal(noise.add(torch.zeros(6), 2.0, step=step, name=name), expected[name][step])
        if step == at - 1:
            save_file(first.state_dict(), tmp_path / "noise.safetensors")
            second.load_state_dict(load_file(tmp_path / "noise.safetensors"))
    # What was loaded was gone on from, not drawn again from the first step.
    assert all(past.step == 8 and len(past.draws) == 3 for past in second._past.values())


def test_a_release_resumes_with_its_state_alone():
    column = strategy(3, 9)
    first, second = BandedNoise(column, seed=None), BandedNoise(column, seed=None)
    size = (20_000,)
    before = [first.add(torch.zeros(size), 1.0, step=step, name="w") for step in range(4)]
    with pytest.raises(PrivacyError, match="resume it with its saved state"):
        second.add(torch.zeros(size), 1.0, step=4, name="w")
    second.load_state_dict(first.state_dict())
    after = [second.add(torch.zeros(size), 1.0, step=step, name="w") for step in range(4, 7)]
    white = matrix(column, 7) @ torch.stack(before + after).double().numpy()
    assert np.abs(np.corrcoef(white)[~np.eye(7, dtype=bool)]).max() < 6 / math.sqrt(size[0])
    assert np.abs(white.std(axis=1) - 1).max() < 0.04


def test_a_release_gives_one_noise_to_one_model_only():
    noise = BandedNoise(strategy(3, 9), seed=None)
    first = noise.add(torch.zeros(5), 1.0, step=0, name="w")
    with pytest.raises(PrivacyError, match="noise of its own"):
        noise.add(torch.zeros(5), 1.0, step=0, name="w")
    assert not torch.equal(first, BandedNoise(strategy(3, 9), seed=None).add(torch.zeros(5), 1.0, step=0, name="w"))


def test_a_release_rounds_to_the_grid_of_its_noise():
    noisy = BandedNoise(strategy(3, 9), seed=None).add(torch.rand(999).double(), 1.0, step=0, name="w")
    assert torch.equal(torch.round(noisy * 2**20), noisy * 2**20)


@needs(GPU, torch.cuda.is_available())
@pytest.mark.parametrize("seed", [3, None])
def test_noise_on_another_device(seed):
    on_gpu, on_cpu = BandedNoise(strategy(3, 9), seed), BandedNoise(strategy(3, 9), seed)
    for step in range(5):
        noisy = on_gpu.add(torch.zeros(1000).cuda(), 2.0, step=step, name="w")
        expected = on_cpu.add(torch.zeros(1000), 2.0, step=step, name="w")
        assert noisy.is_cuda
        assert seed is None or torch.equal(noisy.cpu(), expected)


def test_states_that_do_not_fit():
    noise = BandedNoise(strategy(3, 9), seed=0)
    empty = noise.state_dict()
    noise.load_state_dict(empty)
    drawn(noise, 4, (2,))
    with pytest.raises(ParamsError, match="another number of bands"):
        BandedNoise(strategy(4, 9), seed=0).load_state_dict(noise.state_dict())
    noise.add(torch.zeros(2), 1.0, step=0, name="other")
    with pytest.raises(PrivacyError, match="between steps"):
        noise.state_dict()


@pytest.mark.parametrize("column", [(), (0.0, 1.0), (0.9, 0.9), (math.nan,), (-1.0,)])
def test_noise_that_would_be_too_small(column):
    with pytest.raises(ParamsError, match="norm at most 1"):
        BandedNoise(column, seed=0)
