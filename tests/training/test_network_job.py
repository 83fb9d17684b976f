"""A network from scratch is trained by itself; what only encoders have is refused."""

from pathlib import Path

import pytest

from dpmix.artefacts.experiment import GradientRecord
from dpmix.errors import ParamsError
from dpmix.training.runner import make
from tests.training.conftest import NETWORK, World


def test_a_gradient_record_is_of_an_encoder(world: World) -> None:
    with pytest.raises(ParamsError, match=r"trained from scratch; give its learning rates .* record gradients"):
        make([GradientRecord(experiment=world.scratch(model=NETWORK))], "demo")
    assert not Path("results/demo/runs").exists()


def test_one_run_is_written_with_its_plan(world: World) -> None:
    run = world.scratch(model=NETWORK)
    make([run], "demo")
    assert run.path("demo").is_file()
    assert not list(Path("results/demo").glob("checkpoints/*"))
