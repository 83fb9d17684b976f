import logging

import numpy as np
import pytest
import torch
from scipy import stats

from dpmix.errors import ParamsError
from dpmix.privacy.banded_noise import BandedNoise
from dpmix.privacy.noise import NoiseSource, SecureNoise, SeededNoise, gaussian, secure_gaussian
from tests.needs import GPU, needs

DRAWS = 1_200_000
SOURCES = [pytest.param(lambda: SeededNoise(11), id="research"), pytest.param(SecureNoise, id="release")]


def noise_of(source: NoiseSource, shape, std=1.0, step=0, name="weight") -> torch.Tensor:
    return source.add(torch.zeros(shape), std, step=step, name=name)


@pytest.mark.parametrize("make", SOURCES)
def test_distribution(make):
    std = 3.5
    values = noise_of(make(), (DRAWS // 1000, 1000), std).numpy().ravel() / std
    assert stats.kstest(values, "norm").pvalue > 1e-5
    assert values.mean() == pytest.approx(0, abs=6 / DRAWS**0.5)
    assert values.var() == pytest.approx(1, rel=6 * (2 / DRAWS) ** 0.5)
    # The tails, which a Kolmogorov-Smirnov test hardly sees.
    beyond = (np.abs(values) > 4).sum()
    assert stats.binomtest(int(beyond), DRAWS, 2 * stats.norm.sf(4)).pvalue > 1e-6
    assert stats.kurtosis(values) == pytest.approx(0, abs=6 * (24 / DRAWS) ** 0.5)


def test_each_secure_draw_is_a_sum_of_four(monkeypatch):
    from dpmix.privacy import noise

    asked = []

    def entropy(count):
        asked.append(count)
        return np.random.default_rng(len(asked)).bytes(count)

    monkeypatch.setattr(noise.os, "urandom", entropy)
    secure_gaussian((1000,), 1.0)
    # Sixteen bytes for every two normals, four times over, and never the same bytes twice.
    assert asked == [8000] * 4


def test_independence_within_a_tensor():
    for values in (noise_of(SeededNoise(11), (DRAWS,)).double(), secure_gaussian((DRAWS,), 1.0)):
        half = DRAWS // 2
        for lag in (1, 2, 4, half):  # Box-Muller pairs lie half a block apart
            correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
            assert abs(correlation) < 6 / (DRAWS - lag) ** 0.5
            squares = np.corrcoef(values[:-lag] ** 2, values[lag:] ** 2)[0, 1]
            assert abs(squares) < 6 / (DRAWS - lag) ** 0.5


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("other", [{"step": 1}, {"name": "bias"}])
def test_steps_and_names_are_independent(make, other):
    source = make()
    count = 100_000
    first, second = noise_of(source, (count,)), noise_of(source, (count,), **other)
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / count**0.5
    assert abs(np.corrcoef(first.abs(), second.abs())[0, 1]) < 6 / count**0.5
    assert not (first == second).any() or (first == second).float().mean() < 1e-3


def test_research_noise_is_a_function_of_its_key():
    first = noise_of(SeededNoise(1), (5, 7))
    assert torch.equal(first, noise_of(SeededNoise(1), (5, 7)))
    assert not torch.equal(first, noise_of(SeededNoise(2), (5, 7)))
    assert torch.equal(first, gaussian((5, 7), 1.0, seed=1, step=0, name="weight"))
    torch.manual_seed(0)
    torch.rand(3)
    assert torch.equal(first, noise_of(SeededNoise(1), (5, 7)))


def test_release_noise_never_repeats():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - a global seed must not reach the release
    first, same = noise_of(SecureNoise(), (1000,)), noise_of(SecureNoise(), (1000,))
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert not (first == same).any() or (first == same).float().mean() < 0.01
    assert (noise_of(SecureNoise(), (1000,)) == first).float().mean() < 0.01


def test_release_noise_keeps_and_logs_nothing(caplog, capsys):
    source = SecureNoise()
    with caplog.at_level(logging.DEBUG):
        noise_of(source, (10,))
    assert not vars(source)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("make", SOURCES)
def test_no_noise_is_no_change(make):
    total = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make().add(total, 0.0, step=0, name="x"), total)
    assert torch.equal(make().add(total, torch.zeros(4, 1), step=0, name="x"), total)
    assert torch.equal(gaussian((2, 3), 0.0, seed=1, step=0, name="x"), torch.zeros(2, 3))
    assert torch.equal(secure_gaussian((2, 3), 0.0), torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("make", SOURCES)
def test_each_head_has_its_own_noise(make):
    std = torch.tensor([0.0, 1.0, 50.0])[:, None]
    total = torch.full((3, 20_000), 0.1)
    noisy = make().add(total, std, step=0, name="heads")
    assert torch.equal(noisy[0], total[0])
    assert (noisy - 0.1).std(dim=1)[1:].tolist() == pytest.approx([1, 50], rel=0.05)


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (3, 2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype(make, shape, dtype):
    total = torch.zeros(shape, dtype=dtype)
    noisy = make().add(total, 2.0, step=3, name="x")
    assert noisy.shape == total.shape
    assert noisy.dtype == dtype
    assert noisy.device == total.device
    assert torch.isfinite(noisy).all()
    assert not total.any()  # the sum itself is left alone


@needs(GPU, torch.cuda.is_available())
def test_device_independence():
    total = torch.linspace(-1, 1, 1000)
    on_gpu = SeededNoise(1).add(total.cuda(), 1.0, step=0, name="x")
    assert on_gpu.device.type == "cuda"
    assert torch.allclose(on_gpu.cpu(), SeededNoise(1).add(total, 1.0, step=0, name="x"), atol=1e-6)
    assert SecureNoise().add(total.cuda(), 1.0, step=0, name="x").device.type == "cuda"


def test_released_sums_lie_on_a_grid_that_the_sum_cannot_reveal():
    std = 0.7
    grid = 2.0 ** (-1 - 20)  # 2**floor(log2 std) 2**-20
    total = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1e-3
    noisy = SecureNoise().add(total, std, step=0, name="x")
    assert torch.equal(torch.round(noisy / grid) * grid, noisy)
    # Plain float64 addition leaves the low bits of the sum behind, where sum and noise nearly cancel.
    plain = total + gaussian(total.shape, std, seed=1, step=0, name="x")
    assert not torch.equal(torch.round(plain / grid) * grid, plain)


@pytest.mark.parametrize("make", SOURCES)
def test_impossible_deviations(make):
    for std in (-1.0, float("nan"), float("inf"), torch.tensor([1.0, -1.0])):
        with pytest.raises(ParamsError, match="standard deviation"):
            make().add(torch.zeros(2), std, step=0, name="x")


@pytest.mark.parametrize("make", [*SOURCES, pytest.param(lambda: BandedNoise((0.8, 0.6), 1), id="banded")])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16])
def test_a_sum_that_cannot_hold_its_noise_is_refused(make, dtype):
    """Noise of standard deviation 0.5 becomes 0.21 in integers, and beside a sum of 1000 in bfloat16 nothing."""
    total = torch.full((1000,), 1000).to(dtype)
    with pytest.raises(ParamsError, match="noise would be lost in a sum of torch") as raised:
        make().add(total, 0.5, step=0, name="x")
    assert "\n" not in str(raised.value)
    std = float((make().add(total.float(), 0.5, step=0, name="x") - total.float()).std())
    assert std == pytest.approx(0.5 / 0.8 if isinstance(make(), BandedNoise) else 0.5, rel=6 / 2000**0.5)
