"""`plan`: what `train` then does, without training or writing anything."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dpmix.cli.app import app
from dpmix.own.training import spent, totals
from dpmix.own.training.plan import plan
from dpmix.own.training.train import train
from dpmix.privacy.accounting import Steps, composed_epsilons
from dpmix.release.statement import read_statement

pytestmark = pytest.mark.filterwarnings("ignore")
LEDGER = Path("my-images.dpmix-spent.json")


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_it_says_what_train_then_does_and_writes_nothing(images: Path, quick: dict[str, Any]) -> None:
    before = everything(Path())
    planned = plan(images, epsilon=4, **quick)
    assert everything(Path()) == before
    made = train(images, epsilon=4, **quick)
    (row,) = read_statement(made / "model.safetensors").mechanism
    assert (planned.noise_multiplier, planned.steps) == (row.noise_multiplier, row.steps)
    assert planned.sampling_rate == pytest.approx(row.sampling_rate)
    rate = json.loads((made / "privacy.json").read_text(encoding="utf-8"))["tuning"]["learning_rate"]
    assert planned.learning_rate == pytest.approx(rate)
    assert (planned.views, planned.spent, planned.together) == (3, None, None)
    assert 4 < planned.epsilon_of_several[2] < planned.epsilon_of_several[5]
    assert planned.images_per_second > 0
    # What is spent already is told, and what it comes to with this run.
    again = plan(images, epsilon=2, **quick)
    more = Steps(again.noise_multiplier, again.sampling_rate, again.steps)
    joint = composed_epsilons([row, more], delta=again.delta)["pld"]
    assert again.together == pytest.approx(joint, rel=1e-3)
    assert again.spent == totals.so_far(spent.Record(LEDGER).runs(), "image")


def test_a_small_epsilon_of_a_person_is_not_told_as_a_tenth(images: Path, quick: dict[str, Any]) -> None:
    planned = plan(images, epsilon=0.02, **quick)
    (line,) = [one for one in planned.lines() if one.startswith("ε of a person with ")]
    told = {int(many): float(value) for many, value in re.findall(r"(\d+) images (\S+?)[,;]", line)}
    assert told == pytest.approx(planned.epsilon_of_several, rel=0.1)
    assert min(told[many] - value for many, value in planned.epsilon_of_several.items()) >= 0


def test_the_command_prints_it_for_people_and_for_programs(images: Path) -> None:
    arguments = ["plan", "my-images", "--epsilon", "4", "--encoder", "tiny-vit/strokes", "--side", "16"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    train = sum(1 for _ in Path("my-images").rglob("*.png"))
    for words in ("ε = 4 at δ = 1e-05 for one image", "ε of a person with 2 images", "noise multiplier σ", "images/s"):
        assert words in shown.output
    began = time.monotonic()
    values = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert time.monotonic() - began > 2  # the burst
    assert 0 < values["population"] < train
    assert values["epsilon"] == 4
    assert set(values["epsilon_of_several"]) == {"2", "5", "10"}
    assert not LEDGER.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my-image/", "--epsilon", "4"], "my-image/ does not exist; name the folder, zip archive or CSV file"),
        (["my-image", "--epsilon", "4"], "my-image does not exist; name the folder, zip archive or CSV file"),
        (["--epsilon", "4"], "none are named; give their folder first: dpmix plan my-images"),
        (["my-images"], "how much ε the model may spend is not given; say it: --epsilon 4"),
        (["my-images", "table9"], "table9 is one too many"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str, images: Path) -> None:
    shown = CliRunner().invoke(app, ["plan", *arguments])
    assert words in str(shown.exception)
    assert len(str(shown.exception).splitlines()) == 1
