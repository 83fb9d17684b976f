"""What a run computes, as `plan` and `train` say it before it begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from dpmix.execution import IN_MEMORY, KEPT_BYTES
from dpmix.models.encoder import Encoder
from dpmix.models.photographs import crops
from dpmix.own.choices.request import request
from dpmix.own.choices.setup import Setup, listed, setup
from dpmix.own.training.plan import plan
from dpmix.own.training.train import train
from dpmix.own.training.work import Work, work_of, work_words

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def made(images: Path, quick: dict[str, Any]) -> Setup:
    asked = request(images, None, epsilon=4, **quick)
    found = setup(asked, listed(asked))
    assert found.settings["view_sets"] == 1
    return found


def test_what_is_encoded_is_what_was_said(
    images: Path,
    quick: dict[str, Any],
    made: Setup,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With enough epochs each view is encoded once, before the first step."""
    options = {**quick, "epochs": 12, "batch_size": 60}
    planned = plan(images, epsilon=4, **options)
    passed, run = [0], Encoder.__call__

    def counted(self: Encoder, pixels: Tensor) -> Tensor:
        passed[0] += len(pixels)
        return run(self, pixels)

    monkeypatch.setattr(Encoder, "__call__", counted)
    train(images, epsilon=4, **options)
    others = len(made.listing.of("test")) + len(crops(made.model.resolution))
    assert planned.views_encoded == made.population * made.views == passed[0] - others
    said = capsys.readouterr().err
    assert f"{planned.views_encoded:,} views are encoded, once for all steps" in said
    assert any(work_words(planned.views_encoded, planned.kept_bytes) in line for line in planned.lines())


def test_sets_of_which_few_are_shown_are_counted_as_they_are_shown(made: Setup) -> None:
    plan_of = made.plan_file().calibrated()
    sets = replace(made, settings={**made.settings, "view_sets": 50})
    shown = plan_of.steps * plan_of.expected_units
    seeded = replace(sets, request=sets.request.model_copy(update={"research": True}))
    assert 0.9 * shown < work_of(seeded, plan_of, 64).encoded / made.views < shown
    # A release keeps nothing that is not encoded ahead.
    assert work_of(sets, plan_of, 64) == Work(shown * made.views, shown, 0)
    anew = work_of(replace(made, settings={**made.settings, "view_sets": 0}), plan_of, 64)
    assert (anew.encoded, anew.trained, anew.kept) == (shown * made.views, shown, 0)
    assert "in each step those that it shows" in work_words(anew.encoded, anew.kept)


def test_what_has_no_room_is_encoded_in_each_step(made: Setup) -> None:
    made = replace(made, settings={**made.settings, "epochs": 12, "batch_size": 60})
    plan_of = made.plan_file().calibrated()
    whole = work_of(made, plan_of, 64)
    # Each picture has 65 numbers, each view a label and two numbers where it is found.
    assert whole.kept == 4 * made.population * made.views * (65 + made.dataset.classes + 1)
    half = work_of(made, plan_of, 64, most=whole.kept / 2)
    assert half.kept == whole.kept / 2
    anew = plan_of.steps * plan_of.expected_units * made.views
    assert half.encoded == pytest.approx((whole.encoded + anew) / 2)


def test_much_is_said_to_be_on_disk() -> None:
    assert work_words(10, IN_MEMORY).endswith("256 MB of memory meanwhile")
    assert work_words(10, 1.25e9).endswith("1.2 GB of disk meanwhile")
    assert "as far as there is room; their features take 16.0 GB of disk" in work_words(10, KEPT_BYTES)
