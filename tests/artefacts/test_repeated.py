"""How many views of streams are different, against draws that are counted one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpmix.artefacts.data import SyntheticSet
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.repeated import (
    PAYS,
    Pictures,
    Shown,
    different,
    examples_shown,
    features_kept,
    kept_shares,
    plain_views,
    views_saved,
)  # fmt: skip
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import read

CROPS = 81 * 2


@pytest.fixture(scope="module")
def paper(repository: Path) -> Catalogue:
    return Catalogue(read(repository / "params.yaml"), "paper")


def run_of(paper: Catalogue, **changes: Any) -> Experiment:
    found = next(
        one
        for cell in paper.cells("3")
        for one in cell.artefacts
        if isinstance(one, Experiment) and (one.dataset.name, one.method) == ("oxford-pet", "dp-mix-diff")
    )
    return found.model_copy(update=changes)


class Drawn:
    """A simulation of streams: which pictures of which images their steps draw."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.pictures: set[tuple[int, int]] = set()
        self.draws = 0

    def add(self, images: np.ndarray, count: int, each: int) -> None:
        picture = self.random.integers(0, each, (len(images), count))
        self.draws += picture.size
        self.pictures |= set(zip(np.repeat(images, count).tolist(), picture.ravel().tolist(), strict=True))

    def base(self, images: np.ndarray, rate: float, steps: int, k_base: int, each: int) -> "Drawn":
        for _ in range(steps):
            self.add(images[self.random.random(len(images)) < rate], k_base, each)
        return self

    def of_d(self, size: int, examples: int, rate: float, steps: int, k_diff: int, each: int) -> "Drawn":
        for _ in range(steps):
            for _ in range(self.random.binomial(examples, rate)):
                self.add(self.random.choice(size, k_diff, replace=False), 1, each)
        return self


def test_a_stream_against_its_draws_one_by_one(paper: Catalogue) -> None:
    """Oxford Pet: 36 steps of about 1,000 of 3,680 images with 16 crops of 162, and with 24 images of 3,680 of D."""
    run = run_of(paper)
    base, of_d = plain_views([run])
    assert base is not None
    assert of_d is not None
    rate, steps = 1000 / 3680, 36
    drawn = Drawn().base(np.arange(3680), rate, steps, 16, CROPS)
    assert base.draws == pytest.approx(drawn.draws, rel=0.02)
    assert different([base]) == pytest.approx(len(drawn.pictures), rel=0.01)
    drawn = Drawn().of_d(3680, 3680, rate, 4, 24, CROPS)
    part = of_d.missed ** (4 / steps)
    assert 3680 * CROPS * (1 - part) == pytest.approx(len(drawn.pictures), rel=0.02)
    assert of_d.draws == pytest.approx(examples_shown(run) * 24)


def test_several_streams_on_parts_of_the_same_images(paper: Catalogue) -> None:
    """Two seeds of all images, one of the half S1, which draws from S2, and a tuning run with a tenth held out."""
    runs = [
        run_of(paper, seed=1),
        run_of(paper, seed=2),
        run_of(paper, subset="S1", mix_with="S2", k_diff=2),
        run_of(paper, holdout=0.1),
    ]
    shown = [plain_views([run])[0] for run in runs] + [plain_views([runs[2]])[1]]
    assert len({one.of for one in shown if one}) == 1
    everything, random = np.arange(3680), np.random.default_rng(1)
    half = everything[:1840]
    kept = np.sort(random.permutation(everything)[:3312])
    drawn = Drawn()
    drawn.base(everything, 1000 / 3680, 36, 16, CROPS).base(everything, 1000 / 3680, 36, 16, CROPS)
    drawn.base(half, 1000 / 1840, 18, 16, CROPS).base(kept, 1000 / 3312, 33, 16, CROPS)
    other = Drawn(1)
    other.of_d(1840, 1840, 1000 / 1840, 18, 2, CROPS)
    drawn.pictures |= {(image + 1840, picture) for image, picture in other.pictures}
    assert different(one for one in shown if one) == pytest.approx(len(drawn.pictures), rel=0.01)
    assert sum(one.draws for one in shown if one) == pytest.approx(drawn.draws + other.draws, rel=0.02)


def test_images_that_are_trained_on_are_none_of_those_that_are_mixed_in(paper: Catalogue) -> None:
    """A run on S1 that draws from S2 finds no crop of the one among those of the other."""
    found = [one for one in plain_views([run_of(paper, subset="S1", mix_with="S2", k_diff=24)]) if one]
    assert len({one.of for one in found}) == 1
    assert different(found) == pytest.approx(sum(different([one]) for one in found))


def test_tuning_runs_on_all_images_and_on_a_half_hold_out_others(paper: Catalogue) -> None:
    """Each a tenth, so that a picture is missed where its image is held out by the one and not drawn by the other."""
    found = [plain_views([run_of(paper, holdout=0.1, subset=subset)])[0] for subset in ("all", "S1")]
    whole, half = (0.1 + 0.9 * one.missed for one in found if one)
    both, alone = 1 - whole * half, 1 - whole
    assert different(one for one in found if one) == pytest.approx(1840 * CROPS * (both + alone))


def test_what_has_no_part_in_it(paper: Catalogue) -> None:
    assert len(plain_views([run_of(paper)])) == 2
    model = paper.params.models["wrn-16-4"]
    for changes in ({"release": True}, {"view_sets": 2}, {"unit": "person"}, {"model": model}):
        assert plain_views([run_of(paper, **changes)]) == []
    base, of_d = plain_views([run_of(paper, transforms=("crop", "jitter"))])
    assert base is of_d is None
    plain, _ = plain_views([run_of(paper, augment_synthetic=False, transforms=())])
    assert plain is not None
    assert plain.each == 1


def test_d_of_another_size_is_a_part_of_the_larger_one(paper: Catalogue) -> None:
    run = run_of(paper)
    assert isinstance(run.synthetic, SyntheticSet)
    whole, part = plain_views([run])[1], plain_views([run_of(paper, subset="S1")])[1]
    assert whole is not None
    assert part is not None
    assert (whole.of, whole.first, whole.last, part.last) == (part.of, 0, 3680, 1840)
    assert different([whole, part]) < different([whole]) + different([part])
    assert different([whole, part]) > different([whole])


def test_in_a_fixed_order_every_epoch_shows_every_image(paper: Catalogue) -> None:
    (base, *_) = plain_views([run_of(paper, batches="fixed-order", epochs=10, batch_size=920)])
    assert base is not None
    assert different([base]) == pytest.approx(3680 * CROPS * (1 - (1 - 1 / CROPS) ** 160))


def test_several_processes_see_fewer_repeats(paper: Catalogue) -> None:
    alone, half = plain_views([run_of(paper)])[0], plain_views([run_of(paper)], 2)[0]
    assert alone is not None
    assert half is not None
    assert half.draws == alone.draws / 2
    drawn = Drawn().base(np.arange(3680), 500 / 3680, 36, 16, CROPS)
    assert different([half]) == pytest.approx(len(drawn.pictures), rel=0.01)
    assert 2 * different([half]) > different([alone])


def pictures_drawn(of: str, draws: float, missed: float) -> Shown:
    return Shown(Pictures(of, ("flip",), 0), 100, 2, 0, 100, "all", 1.0, draws, missed)


def test_only_what_comes_again_often_enough_is_kept() -> None:
    often, seldom = pictures_drawn("a", 300.0, 0.25), pictures_drawn("b", 105.0, 0.5)
    assert different([seldom]) > PAYS * seldom.draws
    assert dict(kept_shares([[often, seldom, None]], 1e9)) == {often.of: 1.0}
    assert features_kept([[often, seldom]], 1e9) == 150
    # Two streams that draw the same are more than enough.
    assert set(kept_shares([[seldom], [seldom]], 1e9)) == {seldom.of}
    assert dict(kept_shares([[often]], 0)) == {}
    assert kept_shares([[often]], 75)[often.of] == 0.5


def test_what_is_saved_adds_up_and_the_first_stream_saves_least() -> None:
    one = pictures_drawn("a", 300.0, 0.25)
    assert views_saved([[one]], 1e9) == [150]
    assert views_saved([[one], [None], [one], [one]], 1e9) == pytest.approx([150, 0, 262.5, 300 - 9.375])
    assert views_saved([[one], [one]], 93.75) == pytest.approx([75, 131.25])
