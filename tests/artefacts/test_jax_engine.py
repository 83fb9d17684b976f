from typing import Any

import pytest
from pydantic import ValidationError

from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.jax_engine import objection
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.models import ResNetSpec
from dpmix.params.read import parse
from dpmix.params.settings import Settings
from tests.artefacts.test_experiment import ENCODER, NETWORK, experiment
from tests.catalogue.test_settings import raw


def run(**changes: Any) -> Experiment:
    return experiment(**{"model": NETWORK, "engine": "jax", **changes})


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"model": ENCODER}, "is for networks from scratch", {"engine": "torch"}),
        (
            {"microbatch_size": 2, "k_self": 0, "k_diff": 0},
            "clips examples and not microbatches; set microbatch_size: 1, or engine: torch",
            {"microbatch_size": 1},
        ),
        ({"clipping": "auto-s"}, "no clipping: auto-s; set clipping: flat, or engine: torch", {"clipping": "flat"}),
        ({"clipping": "per-layer"}, "no clipping: per-layer", {"engine": "torch"}),
        ({"precision": "bfloat16"}, "in float32 and not in bfloat16; set precision: float32", {"precision": "float32"}),
        ({"precision": "float16"}, "or engine: torch", {"engine": "torch"}),
    ],
)
def test_what_it_cannot_do_is_refused_and_the_remedy_works(
    changes: dict[str, Any], words: str, remedy: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError, match=f"shapes, .*: engine: jax .*{words}"):
        run(**changes)
    assert run(**{**changes, **remedy}).hash


def test_a_network_that_nobody_wrote_for_it_is_refused() -> None:
    other = ResNetSpec(kind="resnet", name="other", label="Other", depth=8)
    with pytest.raises(ValidationError, match="engine: jax has no network of kind resnet; set engine: torch, or write"):
        run(model=other)
    assert run(model=other, engine="torch").hash
    settings = run()
    assert objection(settings.model, settings) is None


@pytest.mark.parametrize(
    "changes", [{"bands": 2}, {"update": "model-mix"}, {"release": True}, {"ema_decay": 0.9}, {"mixing": "cutmix"}]
)
def test_what_the_loop_and_the_views_do_it_takes(changes: dict[str, Any]) -> None:
    assert run(**changes).engine == "jax"


def test_a_table_that_asks_for_it_is_refused_in_one_line() -> None:
    cell = Settings(dataset="shapes", model="eye", method="self", epsilon=2.0, engine="jax")
    with pytest.raises(ParamsError, match="here: shapes, eye, self: engine: jax is for networks from") as caught:
        Catalogue(parse(raw())).experiment(cell, 1, "here")
    assert "\n" not in str(caught.value)
    with pytest.raises(ParamsError, match=r"engine: .*did you mean 'jax'"):
        parse(raw(scratch={**raw()["scales"]["demo"]["scratch"], "engine": "jaxx"}))


def test_it_is_another_run_and_torch_is_the_run_that_was() -> None:
    assert run().hash != run(engine="torch").hash == experiment(model=NETWORK).hash
    assert "engine" not in run(engine="torch").key()


def test_with_jobs_by_model_its_seeds_share_a_job() -> None:
    seeds = [run(seed=seed).job_share() for seed in (1, 2)]
    assert seeds[0][:3] == seeds[1][:3]
    assert seeds[0].stream != seeds[1].stream  # with jobs by stream they do not
    assert run(engine="torch").job_share()[:3] not in [share[:3] for share in seeds]
    assert run(engine="torch", seed=1).job_share()[:3] != run(engine="torch", seed=2).job_share()[:3]
