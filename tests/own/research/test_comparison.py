"""What `compare` asks the catalogue for: streams, learning rates, references, and D."""

import math
from pathlib import Path
from typing import Any

import pytest

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.catalogue.catalogue import Catalogue
from dpmix.own.choices.learning_rate import learning_rate
from dpmix.own.research.comparison import SCALE, parameters, plan_at
from tests.own.drawn import draw
from tests.own.research.comparisons import compared

pytestmark = pytest.mark.filterwarnings("ignore")


def test_runs_share_a_stream_and_have_the_rules_rate_for_their_noise(images: Path, small: dict[str, Any]) -> None:
    found = compared(small)
    catalogue = Catalogue(parameters(found), SCALE)
    runs = [run for run in catalogue.of(Experiment) if isinstance(run, Experiment)]
    assert sorted({(run.method, run.epsilon) for run in runs}) == [
        ("dp-mix-self", 1), ("dp-mix-self", 8), ("self-aug", 1), ("self-aug", 8), ("self-aug", math.inf),
    ]  # fmt: skip
    assert len(runs) == 10
    # One stream for each seed, whatever ε and method.
    assert len({run.stream() for run in runs}) == 2
    for run in runs:
        plan = plan_at(found.first, run.epsilon)
        assert run.learning_rate == pytest.approx(learning_rate(plan, views=2, classes=3, dimension=64), rel=1e-9)
        assert (plan.noise_multiplier == 0) == math.isinf(run.epsilon)
        assert not run.release


def test_rates_may_be_tuned_on_held_out_images(images: Path, small: dict[str, Any]) -> None:
    catalogue = Catalogue(parameters(compared(small, tune=True)), SCALE)
    assert len(catalogue.of(Selection)) == 5
    assert all(one.experiment.holdout for one in catalogue.of(Selection) if isinstance(one, Selection))


@pytest.mark.parametrize("damaged", [0, 1])
def test_public_images_bring_a_third_method(damaged: int, images: Path, small: dict[str, Any]) -> None:
    draw(Path("public"), 4, seed=9)
    for index in range(damaged):
        Path("public", "bile", f"{index}.png").write_bytes(b"damaged")
    found = compared({**small, "synthetic": "public", "skip_damaged": bool(damaged)})
    catalogue = Catalogue(parameters(found), SCALE)
    mixed = {
        run.synthetic for run in catalogue.of(Experiment) if isinstance(run, Experiment) and run.method == "dp-mix-diff"
    }
    assert list(found.setups) == ["self-aug", "dp-mix-self", "dp-mix-diff"]
    # As `train` would have it: the same images, of which damaged ones are left out.
    (public,) = mixed
    assert public is not None
    assert (public.size, public.diffusion) == (12 - damaged, found.first.synthetic and found.first.synthetic.diffusion)
