"""What each pitfall of `docs/pitfalls.md` makes of a stated ε = 4, computed again and compared with the page.

One run stands for all: N = 50,000 records, batches of 1000, ten epochs, δ = 1e-5, noise calibrated by PLD. Its steps
are those of the paper's linear head on CIFAR-10.
"""

import functools
import math
import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from dpmix.own.choices.recipe import recipe
from dpmix.privacy.accounting import Steps, composed_epsilon, epsilon
from dpmix.privacy.group_privacy import group_epsilon
from dpmix.privacy.model_mix_plan import model_mix_plan
from dpmix.privacy.plan import Plan

POPULATION, BATCH, EPOCHS, DELTA = 50_000, 1000, 10, 1e-5
RATE, STEPS, BATCHES = BATCH / POPULATION, POPULATION * EPOCHS // BATCH, POPULATION // BATCH


@functools.cache
def sigma(target: float = 4.0) -> float:
    plan = Plan.calibrated(
        population=POPULATION, batch_size=BATCH, epochs=EPOCHS, clip_norm=1.0, epsilon=target, delta=DELTA
    )
    assert (plan.sampling_rate, plan.steps) == (RATE, STEPS)
    return plan.noise_multiplier


def spent(noise_multiplier: float, steps: int = STEPS, rate: float = RATE, accountant: str = "pld") -> float:
    return epsilon(accountant, noise_multiplier=noise_multiplier, sampling_rate=rate, steps=steps, delta=DELTA)


def gaussian_delta(target: float, mu: np.ndarray) -> np.ndarray:
    """δ at ε of the Gaussian mechanism whose sensitivity is `mu` standard deviations (Balle and Wang, ICML 2018)."""
    return stats.norm.cdf(mu / 2 - target / mu) - np.exp(target + stats.norm.logcdf(-mu / 2 - target / mu))


def solved(delta_at, high: float = 1000.0) -> float:
    return float(optimize.brentq(lambda target: float(delta_at(target)) - DELTA, 0.0, high))


def fixed_order() -> float:
    """Each record is in one batch of every epoch, and everybody knows in which: nothing hides it but the noise."""
    return solved(lambda target: gaussian_delta(target, np.array(EPOCHS**0.5 / sigma())))


def known_sample() -> float:
    """Poisson sampling that the attacker can repeat: a mixture over how often the record took part."""
    times = np.arange(1, STEPS + 1)
    weights = stats.binom.pmf(times, STEPS, RATE)
    return solved(lambda target: (weights * gaussian_delta(target, times**0.5 / sigma())).sum())


def fresh_shuffle() -> float:
    """A lower bound for batches of a new permutation each epoch (Chua et al., NeurIPS 2024).

    All other gradients point away from the record's, so that its own batch stands out by 2 with it, by 1 with nothing
    in its place. The attacker looks at the largest batch of an epoch alone, in bins, with losses rounded down.
    """
    from dp_accounting.pld import privacy_loss_distribution

    std = sigma()
    edges = np.linspace(-4 * std, 2 + 10 * std, 4000)
    probabilities = []
    for shift in (1, 2):
        below = stats.norm.cdf(edges, shift, std) * stats.norm.cdf(edges, 0, std) ** (BATCHES - 1)
        bins = np.diff(np.concatenate([[0.0], below, [1.0]]))
        probabilities.append({index: math.log(value) for index, value in enumerate(bins) if value > 0})
    directions = []
    for lower, upper in (probabilities, probabilities[::-1]):
        epoch = privacy_loss_distribution.from_two_probability_mass_functions(
            lower, upper, pessimistic_estimate=False, value_discretization_interval=1e-3
        )
        directions.append(epoch.self_compose(EPOCHS).get_epsilon_for_delta(DELTA))
    return max(directions)


def sixteen_views() -> float:
    """A lower bound: one step alone, of a record whose sixteen views are each clipped to C and added up."""

    def delta_at(target: float) -> np.ndarray:
        inner = target + math.log1p((RATE - 1) * math.exp(-target)) - math.log(RATE)
        return RATE * gaussian_delta(inner, np.array(16 / sigma()))

    return solved(delta_at)


def central_limit() -> float:
    """What the noise that Opacus's GDP accountant takes for ε = 4 spends."""
    from opacus.accountants import GaussianAccountant

    def claimed(noise: float) -> float:
        accountant = GaussianAccountant()
        accountant.history = [(noise, RATE, STEPS)]
        return accountant.get_epsilon(DELTA) - 4

    with pytest.warns(UserWarning, match="GDP accounting"):
        noise = optimize.brentq(claimed, 0.5, 1.5)
    return spent(noise)


@functools.cache
def person(images: int, target: float = 4.0) -> float:
    """All of a person's images come or go: their number in a sample is binomial, and each moves the sum by C."""
    from dp_accounting.pld import privacy_loss_distribution

    counts = np.arange(images + 1)
    step = privacy_loss_distribution.from_mixture_gaussian_mechanism(
        sigma(target),
        [float(count) for count in counts],
        list(stats.binom.pmf(counts, images, RATE)),
        value_discretization_interval=4e-3,
    )
    return step.self_compose(STEPS).get_epsilon_for_delta(DELTA)


def pets(steps: int, rate: float) -> float:
    plan = Plan.calibrated(population=3680, batch_size=1000, epochs=10, clip_norm=1.0, epsilon=4.0, delta=DELTA)
    assert plan.steps == 36
    return spent(plan.noise_multiplier, steps, rate)


def together(*targets: float) -> float:
    """Models of one stream: the same sample at every step, so that their noises average out."""
    return spent(sum(sigma(target) ** -2 for target in targets) ** -0.5)


def equal_keys(steps: int) -> int:
    """Pairs of (step, parameter) of a WRN-16-4 with the same CRC-32, as the first version named them."""
    from dpmix.models.networks import build_network
    from dpmix.params.models import WideResNetSpec

    spec = WideResNetSpec(kind="wide-resnet", name="wrn", label="WRN-16-4", depth=16, width=4, groups=16, resolution=32)
    names = [name for name, _ in build_network(spec, 3, 10, seed=0).named_parameters()]
    keys = Counter(zlib.crc32(repr(("noise", step, name)).encode()) for step in range(steps) for name in names)
    return sum(count * (count - 1) // 2 for count in keys.values())


def told_apart(weights: int) -> float:
    """The equal error probabilities of telling noise of 1/20 from noise of 1/13 by its sum of squares."""
    narrow, wide = (stats.chi2(weights, scale=batch**-2) for batch in (20, 13))
    threshold = optimize.brentq(lambda at: narrow.sf(at) - wide.cdf(at), narrow.mean(), wide.mean())
    return float(narrow.sf(threshold))


def unmixed() -> float:
    """A coordinate that ModelMix leaves out, at the noise that mixing was to make up for."""
    return spent(mixed_sigma(), accountant="rdp")


@functools.cache
def mixed_sigma() -> float:
    plan = model_mix_plan(
        population=POPULATION, batch_size=BATCH, epochs=EPOCHS, clip_norm=20.0, epsilon=4.0, delta=DELTA,
        mix_width=0.15, truncation=100.0,
    )  # fmt: skip
    return plan.noise_multiplier


COSTS = {
    "Batches in a fixed order": fixed_order,
    "Shuffled batches": fresh_shuffle,
    "A sample that can be recomputed": known_sample,
    "Processes that draw the same sample": known_sample,
    "A rate of one over the number of batches": lambda: pets(40, 1000 / 3680),
    "A record twice in one step": lambda: spent(sigma() / 2),
    "Views that count as examples": lambda: spent(sigma() / 2),
    "Mixing across examples": lambda: spent(sigma() / 2),
    "Microbatches": lambda: spent(sigma() / 2),
    "Norms that are not of what is added": lambda: spent(sigma() / 1.1),
    "An accountant that underestimates": central_limit,
    "Amplification whose conditions fail": unmixed,
    "Models that share a sample": lambda: together(4, 4),
    "Tuning on private images": lambda: spent(sigma(), 8 * STEPS),
    "A person with several images": lambda: person(5),
    "Duplicates": lambda: person(5),
}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return " ".join((repository / "docs" / "pitfalls.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def rows(repository: Path) -> dict[str, str]:
    """The page's first table: what ε = 4 becomes, by pitfall."""
    text = (repository / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| \[([^\]]+)\]\(#[\w-]+\) \| (.+?) +\|$", text, flags=re.MULTILINE))


def test_every_row_with_a_number_is_computed_here(rows):
    assert {name for name, cell in rows.items() if re.match(r"\d", cell)} == set(COSTS)


@pytest.mark.parametrize("name", COSTS)
def test_what_four_becomes(rows, name):
    shown = re.match(r"\d+\.\d\b", rows[name])
    assert shown, rows[name]
    assert float(shown[0]) == round(COSTS[name](), 1)


@pytest.mark.parametrize(
    ("sentence", "numbers"),
    [
        ("charges itself {:.2f} for the 40 steps", lambda: [pets(40, 0.25)]),
        ("the truth is {:.2f}", lambda: [pets(40, 1000 / 3680)]),
        ("With sixteen views a single step has ε above {:.0f}", lambda: [math.floor(sixteen_views() / 10) * 10]),
        (
            "four at 1, 2, 4 and 8, which one would add up to 15, are {:.1f} together",
            lambda: [together(1, 2, 4, 8)],
        ),
        (
            "would be {:.1f} with samples of their own",
            lambda: [composed_epsilon("pld", [Steps(sigma(), RATE, 2 * STEPS)], delta=DELTA)],
        ),
        ("lets σ = {:.2f} stand for ε = 4", lambda: [mixed_sigma()]),
        ("that noise alone, for which RDP certifies {:.1f}", lambda: [unmixed()]),
        ("at σ = 0.3 the same steps spend {:.0f} under RDP", lambda: [spent(0.3, accountant="rdp")]),
        (
            "{} pairs of (step, parameter) of a WRN-16-4 have the same noise within 2441 steps",
            lambda: [equal_keys(2441)],
        ),
        ("Two at ε = 4 are {:.1f} together", lambda: [together(4, 4)]),
        ("two images make ε = 4 into {:.1f}, five into {:.1f}", lambda: map(person, (2, 5))),
        ("ε = 1 becomes {:.1f} with five", lambda: [person(5, target=1.0)]),
        ("up to −ln(1 − q) for each, {:.2f} for 20 steps of q = 0.05", lambda: [-20 * math.log1p(-0.05)]),
        ("told apart with error probabilities of {:.1f} %", lambda: [100 * told_apart(51)]),
    ],
)
def test_what_the_text_says(page, sentence, numbers):
    assert sentence.format(*numbers()) in page


def test_one_image_is_the_plan_itself():
    assert person(1) == pytest.approx(spent(sigma()), rel=2e-3)


def test_every_pitfall_has_a_row_a_cost_and_a_test(repository, rows):
    text = (repository / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (.+)\n+((?:(?!^#).*\n)+)", text, flags=re.MULTILINE)
    assert [name for name, _ in sections] == list(rows)
    assert len(sections) > 20
    for name, words in sections:
        parts = re.findall(r"^- \*\*(Seen in|Cost|Here|Shown by)\*\*", words, flags=re.MULTILINE)
        assert parts == ["Seen in", "Cost", "Here", "Shown by"], name
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", words.partition("Shown by")[2]), name


def test_every_test_that_the_page_names_is_there(repository):
    text = (repository / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text))
    assert len(named) > 50
    sources = {file: (repository / file).read_text(encoding="utf-8") for file, _ in named}
    assert {(file, name) for file, name in named if f"def {name}(" not in sources[file]} == set()


def test_the_changelog_says_the_same_of_models_that_shared_a_sample(repository):
    text = " ".join((repository / "CHANGELOG.md").read_text(encoding="utf-8").split())
    assert f"two with ε = 4 can have {together(4, 4):.1f} together" in text


@pytest.mark.parametrize("images", [300, 10_000])
def test_own_images_says_what_the_recipe_makes_of_persons(repository, images):
    text = " ".join((repository / "docs" / "own-images" / "README.md").read_text(encoding="utf-8").split())
    usual = recipe(images, classes=10, epsilon=4)
    plan = Plan.calibrated(
        population=images, batch_size=usual.batch_size, epochs=usual.epochs, clip_norm=1.0, epsilon=4, delta=usual.delta
    )
    steps = Steps(plan.noise_multiplier, plan.sampling_rate, plan.steps)
    five = group_epsilon([steps], 5, delta=usual.delta)
    assert f"five of them make ε = 4 into {five:.1f} with the batches and steps of `train`" in text
