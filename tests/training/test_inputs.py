import pytest

from dpmix.artefacts.experiment import Selection
from dpmix.errors import DpmixError, ParamsError
from dpmix.files import read_json, write_json
from dpmix.training.inputs import learning_rate
from dpmix.training.runner import make
from tests.training.conftest import World
from tests.training.jobs import RATES

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_learning_rate_chosen_with_another_c_is_in_units_of_one_over_c(world: World) -> None:
    tuning = world.experiment(learning_rate=None, holdout=0.25, clip_norm=4.0)
    selection = Selection(experiment=tuning, learning_rates=RATES)
    write_json(selection.path("demo"), {"learning_rate": 8.0})
    for clip_norm, expected in ((4.0, 8.0), (0.5, 64.0), (0.05, 640.0)):
        run = world.experiment(learning_rate=selection, clip_norm=clip_norm)
        assert learning_rate(run, "demo") == pytest.approx(expected)
    make([run], "demo")
    assert read_json(run.path("demo"))["learning_rate"] == pytest.approx(640.0)
    assert learning_rate(world.experiment(learning_rate=2.0, clip_norm=0.05), "demo") == 2.0


def test_what_is_missing_is_one_line(world: World) -> None:
    run = world.experiment()
    run.plan().path("demo").unlink()
    with pytest.raises(DpmixError, match="does not exist; run the step that makes it"):
        make([run], "demo")
    tuned = world.experiment(
        learning_rate=Selection(experiment=world.experiment(learning_rate=None, holdout=0.25), learning_rates=RATES)
    )
    with pytest.raises(DpmixError, match=r"selections/.* does not exist; run the step that makes it"):
        make([tuned], "demo")
    with pytest.raises(ParamsError, match="has no learning rate"):
        learning_rate(world.experiment(learning_rate=None), "demo")
