"""What the params say of an artefact reaches the code that fetches, trains, draws or calibrates it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpmix.artefacts.data import DiffusionModel, EncoderModel, ImageStore, SyntheticSet
from dpmix.artefacts.plan_file import PlanFile
from dpmix.catalogue.catalogue import Catalogue
from dpmix.models.libraries.open_clip import OpenClip
from dpmix.privacy.plan_json import plan_from_json
from dpmix.seals import read_record
from tests.cli.conftest import BATCH, PIXELS, TRAIN, D, of, params, step, write_params

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the steps that fetch, train or draw hand on; none of it is done."""
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    for target in (
        "dpmix.demo.encoder.train_encoder",
        "dpmix.demo.diffusion.train_diffusion",
        "dpmix.synthesis.pipeline.fetch_model",
        "dpmix.synthesis.draw.synthesize",
        "dpmix.synthesis.folder.gather",
        "dpmix.data.sources.prepare",
    ):
        name = target.rpartition(".")[2]
        monkeypatch.setattr(target, lambda *given, name=name, **named: seen.update({name: (given, named)}))
    return seen


Calls = dict[str, tuple[tuple[Any, ...], dict[str, Any]]]


def test_a_data_set_is_prepared_as_it_is_named(made: Callable[..., Catalogue], calls: Calls) -> None:
    store = of(made(), ImageStore)
    assert isinstance(store, ImageStore)
    path = step("images", store)
    assert calls == {"prepare": ((store.dataset, PIXELS, Path("data/raw"), path.parent), {})}


def test_an_encoder_is_fetched_or_trained(
    made: Callable[..., Catalogue], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenClip, "fetch", lambda library, *given: calls.update(fetch=(given, {})))
    model = of(made(), EncoderModel)
    assert isinstance(model, EncoderModel)
    path = step("encoder", model)
    assert calls.pop("fetch") == ((model.encoder, path.parent), {})
    values = params()
    values["models"]["eye"] |= {"architecture": "tiny-vit", "weights": "strokes"}
    path = step("encoder", of(write_params(values), EncoderModel))
    (architecture, images, labels, classes, out, seed), _ = calls.pop("train_encoder")
    assert (architecture, seed) == ("tiny-vit", 0)
    assert out.name.startswith(f".{path.parent.name}")  # moved to its place when it is whole
    assert classes == [str(digit) for digit in range(10)]
    assert (images.dtype, len(images), set(labels.tolist())) == (np.uint8, len(labels), set(range(10)))
    values["models"]["eye"] |= {"weights": "public", "images": "d"}
    for index, name in enumerate(("ant", "bee", "bee")):
        from PIL import Image

        Path("d", name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 50 * index, np.uint8)).save(f"d/{name}/{index}.png")
    path = step("encoder", of(write_params(values), EncoderModel))
    (architecture, images, labels, classes, out, seed), _ = calls.pop("train_encoder")
    assert (architecture, tuple(classes), seed) == ("tiny-vit", ("ant", "bee"), 0)
    assert (images.shape, labels.tolist()) == ((3, 3, PIXELS, PIXELS), [0, 1, 1])
    assert [int(image.max()) for image in images] == [0, 50, 100]
    assert calls == {}


def with_d() -> dict[str, Any]:
    values = params()
    values["methods"]["self"]["k_diff"] = 1
    return values


def test_a_diffusion_model_is_fetched_or_trained(made: Callable[..., Catalogue], calls: Calls) -> None:
    made()
    values = with_d()
    path = step("diffusion", of(write_params(values), DiffusionModel))
    assert calls.pop("fetch_model") == (("someone/brush", path.parent), {"revision": "abc"})
    values["diffusion"]["brush"]["model"] = "strokes"
    path = step("diffusion", of(write_params(values), DiffusionModel))
    (images, labels, classes, out, seed), _ = calls.pop("train_diffusion")
    assert (len(images), classes, out, seed) == (len(labels), [str(digit) for digit in range(10)], path.parent, 0)
    assert calls == {}


def test_d_is_drawn_as_its_model_says(made: Callable[..., Catalogue], calls: Calls) -> None:
    made()
    catalogue = write_params(with_d())
    path = step("synthetic", of(catalogue, SyntheticSet))
    classes = tuple(f"class {number}" for number in range(4))
    sampling = {
        "revision": "abc", "prompt": "a drawing of a {}", "guidance_scale": 3.0, "steps": 7, "resolution": 64,
        "scheduler": "DDIMScheduler", "saved_resolution": 32, "batch_size": 5, "seed": 11,
    }  # fmt: skip
    folder = of(catalogue, DiffusionModel).path("demo").parent
    given, named = calls.pop("synthesize")
    assert given == (folder, classes, D, path.parent)
    assert named.pop("device") in ("cpu", "cuda")
    assert named == sampling
    assert calls == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_d_is_drawn_on_the_threads_of_the_option(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    made()
    seen: list[int] = []
    monkeypatch.setattr("dpmix.synthesis.draw.synthesize", lambda *_, **__: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        step("synthetic", of(write_params(with_d()), SyntheticSet), "--threads", str(threads))
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]


def test_or_gathered_from_where_it_lies(made: Callable[..., Catalogue], calls: Calls) -> None:
    made()
    values = with_d()
    values["diffusion"]["brush"] = {"images": "some.zip"}
    path = step("synthetic", of(write_params(values), SyntheticSet))
    classes = tuple(f"class {number}" for number in range(4))
    assert calls == {"gather": ((Path("some.zip"), classes, D, path.parent), {"skip_damaged": False})}


@pytest.mark.parametrize("bands", [1, 2])
def test_noise_is_calibrated_for_the_plan_that_is_asked_for(made: Callable[..., Catalogue], bands: int) -> None:
    made()
    values = params()
    for track in ("scratch", "finetune"):
        values["scales"]["demo"][track] |= {"bands": bands, "delta": 1e-4, "accountant": "pld", "clip_norm": 0.5}
    catalogue = write_params(values)
    spec = of(catalogue, PlanFile)
    assert isinstance(spec, PlanFile)
    written = read_record(step("plans", spec))
    assert (written["population"], written["batch_size"], written["clip_norm"]) == (TRAIN, BATCH, 0.5)
    assert (written["delta"], written["accountant"], written["target_epsilon"]) == (1e-4, "pld", 2)
    assert 1.9 < plan_from_json(written).epsilons()["pld"] <= 2
    assert len(written.get("coefficients", [1])) == bands
