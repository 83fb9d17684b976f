"""What is drawn for mixtures: uniform pairs, and the first of more where there are fewer."""

import numpy as np
import pytest
from scipy import stats

from dpmix.random import KeyedRandom
from dpmix.views.mixtures import draw_pairs, draw_weights, pairs_of
from dpmix.views.settings import ViewSettings


@pytest.mark.parametrize("kind", ["distinct", "independent"])
@pytest.mark.parametrize("members", [2, 3, 5])
def test_pairs_are_uniform_over_s(kind, members):
    spec = ViewSettings(members, 0, 3, pairs=kind)
    drawn = draw_pairs(KeyedRandom(0, 0, np.arange(8000)), members, spec).reshape(-1, 2)
    counts = np.zeros((members, members))
    np.add.at(counts, tuple(drawn.T), 1)
    if kind == "distinct":
        assert not counts.diagonal().any()
        counts = counts[~np.eye(members, dtype=bool)]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-5


@pytest.mark.parametrize(
    "settings", [ViewSettings(4), ViewSettings(4, pairs="independent"), ViewSettings(4, 0, 2, mixing="unmixed")]
)
def test_two_uniform_numbers_are_a_pair(settings: ViewSettings) -> None:
    """Each pair has the same share of the unit square, and only members of S are drawn."""
    ends = np.linspace(0, 1, 241)
    middle = (ends[1:] + ends[:-1]) / 2
    drawn = pairs_of(middle[:, None], middle[None, :], 4, settings).reshape(-1, 2)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(set(counts)) == 1
    possible = {"distinct": 12, "independent": 16}[settings.pairs] if settings.mixing == "mixup" else 9
    assert len(counts) == possible
    assert drawn.max() == (2 if settings.mixing == "unmixed" else 3)


@pytest.mark.parametrize("mixing", ["mixup", "cutmix", "unmixed"])
def test_weights_and_boxes_of_fewer_are_the_first_of_more(mixing: str) -> None:
    settings = ViewSettings(4, 0, 2, mixing=mixing)  # type: ignore[arg-type]
    random = KeyedRandom(1, 5, np.arange(200))
    few, boxes = draw_weights(random, "lambda", 3, settings, (9, 7))
    many, more = draw_weights(random, "lambda", 8, settings, (9, 7))
    assert np.array_equal(few, many[:, :3])
    assert few.dtype == np.float32
    assert (boxes is None) == (more is None) == (mixing != "cutmix")
    if boxes is not None and more is not None:
        assert np.array_equal(boxes, more[:, :3])
