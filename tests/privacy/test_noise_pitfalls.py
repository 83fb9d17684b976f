"""Noise that is there and hides nothing: what known seeds, short seeds and floating-point numbers give away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus.optimizers.optimizer import _generate_noise
from torch import Tensor

from dpmix.privacy.noise import SecureNoise, SeededNoise
from tests.needs import JAX_PRIVACY, module
from tests.privacy import checks

DRAWS = 1_000_000


@pytest.mark.parametrize("case", [checks.HEADS, checks.SCRATCH], ids=["heads", "scratch"])
def test_who_knows_the_seed_subtracts_the_noise(case: checks.Case) -> None:
    """From a research run's weights before and after a step, and its seed, follows the clipped sum itself."""
    case = replace(case, steps=1)
    recorder = checks.Recorder()
    checks.run(case, recorder)
    published = checks.run(case, None, learning_rate=1.0)
    noises = {True: SeededNoise(checks.SEED), False: SecureNoise()}
    for known, source in noises.items():
        drawn = [
            source.add(torch.zeros_like(total), std, step=step, name=name).flatten()
            for step, name, std, total, _ in recorder.calls
        ]
        guesses = drawn if case.trainer == "head" else [torch.cat(drawn)]
        assert guesses
        noise_std = [std for _, _, std, _, _ in recorder.calls]
        for index, (guess, true) in enumerate(zip(guesses, recorder.sums(case)[0], strict=True)):
            noisy = (published.initial[index] - published.weights[index]).double() * case.expected_units
            off = (noisy - guess.double() - true.double()).square().mean().sqrt()
            # Weights near one, in float32; or the noise, and as much again from the guess.
            assert off < 1e-5 if known else off == pytest.approx(2**0.5 * noise_std[index], rel=0.1)
            assert float(true.norm()) > 0.01


def impossible(outputs: Tensor) -> Tensor:
    """Whether 1 + x, rounded to float32, is none of these for any float32 number x.

    A result in [-0.5, 0.5] comes from an x in [-2, -0.5], where the sum is exact and a multiple of 2**-24 as x is.
    """
    exact = outputs.double()
    return (exact.abs() <= 0.5) & (exact * 2**24 != torch.round(exact * 2**24))


def test_float32_noise_tells_what_it_was_added_to() -> None:
    """Opacus adds in float32: a quarter of the outputs for a sum of 0 cannot be outputs for a sum of 1."""
    zeros = torch.zeros(DRAWS)
    drawn = _generate_noise(1.0, zeros, generator=torch.Generator().manual_seed(0))
    assert float(impossible(zeros + drawn).float().mean()) == pytest.approx(0.26, abs=0.005)
    assert not impossible(1 + drawn).any()


def test_noise_for_release_tells_nothing_by_its_last_bits() -> None:
    for total in (torch.zeros(DRAWS), torch.ones(DRAWS)):
        noisy = SecureNoise().add(total, 1.0, step=0, name="w")
        assert not impossible(noisy).any()
        assert torch.equal(noisy * 2**20, torch.round(noisy * 2**20))


def test_jax_privacys_default_key_comes_from_numpys_global_state() -> None:
    noise = module("jax_privacy.noise_addition", JAX_PRIVACY)
    drawn = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002  # that it decides is the point
        privatizer = noise.gaussian_privatizer(stddev=1.0)
        noisy, _ = privatizer.update(np.zeros(100, np.float32), privatizer.init(np.zeros(100, np.float32)))
        drawn.append(np.asarray(noisy))
    assert drawn[0].std() > 0.5
    assert np.array_equal(*drawn)
