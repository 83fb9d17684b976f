"""What the params and the options of a step ask for reaches the code that computes.

Long because each step and option has its own way down to the code that computes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from typer.testing import CliRunner

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import DiffusionModel, EncoderModel, ImageStore, SyntheticSet, SyntheticStore
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.artefacts.plan_file import PlanFile
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.data.images import Images
from dpmix.files import read_json
from dpmix.models import encoder, encoder_files
from dpmix.models.libraries.open_clip import OpenClip, save_open_clip
from dpmix.params.read import read
from dpmix.privacy.banded_plan import plan_from_json
from dpmix.privacy.noise import SeededNoise
from dpmix.training import heads, scratch
from tests.training.conftest import draw, write_store

pytestmark = pytest.mark.filterwarnings("ignore")
TRAIN, TEST, D, PIXELS, BATCH = 96, 40, 48, 16, 24
CONFIG: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": PIXELS, "patch_size": 8, "width": 16, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def params(**bundle: Any) -> dict[str, Any]:
    """A run of a head and one from scratch, zero-shot classification and a distance."""
    settings = {
        "delta": 1e-5, "accountant": "rdp", "clip_norm": 1, "batch_size": BATCH, "epochs": 2, "learning_rate": 1,
        "k_base": 2, "transforms": ["crop"], "padding": 1,
    }  # fmt: skip
    dataset = {"label": "Shapes", "source": "folder", "path": "raw", "classes": 4, "train": TRAIN, "test": TEST}
    eye = {"kind": "encoder", "label": "Eye", "architecture": "tiny", "weights": "none", "resolution": PIXELS}
    net = {"kind": "wide-resnet", "label": "Net", "depth": 10, "width": 1, "groups": 2, "base_channels": 4}
    rows = [{"axis": "Method", "method": ["self"]}]
    spec = {
        "synthetic": "brush", "synthetic_size": {"shapes": D}, "seeds": [1], "bundle": {"by": "model", **bundle},
        "tuning": {"learning_rates": [1]}, "scratch": settings, "finetune": settings, "figures": {},
        "tables": {
            "12": {
                "kind": "accuracy", "rows": rows, "fixed": {"dataset": "shapes", "model": "eye", "epsilon": 2},
                "ladder": {"method": "self"},
            },
            "1": {
                "kind": "accuracy", "rows": rows, "columns": [{"axis": "Microbatch size", "values": {"1": {}}}],
                "fixed": {"dataset": "shapes", "model": "net", "epsilon": 2},
            },
            "8": {"kind": "fid-sets", "model": "eye", "datasets": ["shapes"], "extractors": ["eye"]},
        },
    }  # fmt: skip
    return {
        "scale": "demo",
        "datasets": {"shapes": dataset},
        "models": {"eye": eye, "net": {**net, "stem_stride": 2, "resolution": PIXELS}},
        "diffusion": {
            "brush": {
                "model": "someone/brush", "revision": "abc", "prompt": "a drawing of a {}", "guidance_scale": 3.0,
                "steps": 7, "resolution": 64, "scheduler": "DDIMScheduler", "saved_resolution": 32, "batch_size": 5,
                "seed": 11,
            }
        },
        "methods": {"self": {"label": "Self", "k_self": 0}},
        "scales": {"demo": spec},
    }  # fmt: skip


def write_params(values: dict[str, Any]) -> Catalogue:
    Path("params.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return Catalogue(read(Path("params.yaml")))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Catalogue]:
    """Writes params, and the stores, the encoder and the noise plans of all that they ask for."""
    monkeypatch.chdir(tmp_path)

    def make(**bundle: Any) -> Catalogue:
        catalogue = write_params(params(**bundle))
        for one in catalogue.artefacts.values():
            folder = one.path("demo").parent
            if isinstance(one, ImageStore):
                write_store(folder, train=draw(TRAIN, 0), test=draw(TEST, 1))
            elif isinstance(one, SyntheticStore):
                write_store(folder, train=draw(D, 2))
            elif isinstance(one, EncoderModel):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    model = open_clip.CLIP(**CONFIG)
                save_open_clip(model, CONFIG, {"mean": [0.5] * 3, "std": [0.5] * 3}, folder)
            elif isinstance(one, PlanFile):
                build(one, scale="demo", quiet=True)
        return catalogue

    return make


def of(catalogue: Catalogue, kind: type[Artefact], model: str | None = None) -> Artefact:
    """The first of a kind, of a model, with noise if it has any."""
    found = [one for one in catalogue.of(kind) if model is None or one.model.name == model]  # type: ignore[attr-defined]
    return min(found, key=lambda one: getattr(one, "epsilon", 0))


def step(name: str, artefact: Artefact, *options: str) -> Path:
    path = artefact.path("demo")
    shown = CliRunner().invoke(app, ["step", name, path.as_posix(), *options], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return path


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples' views are made together, time after time; the real function makes them."""
    seen: list[int] = []
    for module in (heads, scratch):
        original = module.make_views

        def counted(private: Images, indices: np.ndarray, *rest: Any, original: Any = original, **named: Any) -> Any:
            seen.append(len(indices))
            return original(private, indices, *rest, **named)

        monkeypatch.setattr(module, "make_views", counted)
    return seen


@pytest.mark.parametrize("model", ["eye", "net"])
def test_as_many_examples_are_computed_together_as_the_params_say(
    made: Callable[..., Catalogue], parts: list[int], model: str
) -> None:
    step("train", of(made(physical_batch=7), Experiment, model))
    assert max(parts) == 7
    assert sum(parts) > BATCH


@pytest.mark.parametrize("model", ["eye", "net"])
def test_or_as_the_option_says(made: Callable[..., Catalogue], parts: list[int], model: str) -> None:
    step("train", of(made(physical_batch=7), Experiment, model), "--physical-batch", "5")
    assert max(parts) == 5


class Killed(BaseException):
    """As a signal that nobody handles."""


@pytest.mark.parametrize("seconds", [None, 0])
@pytest.mark.parametrize("model", ["eye", "net"])
def test_a_killed_run_goes_on_from_where_the_option_had_it_kept(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, model: str, seconds: int | None
) -> None:
    """Every 300 s unless told otherwise: a run that is over sooner is begun anew."""
    run = of(made(), Experiment, model)
    options = [] if seconds is None else ["--checkpoint-seconds", str(seconds)]
    original, steps = SeededNoise.add, []

    def killed(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        steps.append(step)
        if step == 5:
            raise Killed
        return original(self, total, std, step=step, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(SeededNoise, "add", killed)
        with pytest.raises(Killed):
            step("train", run, *options)
    kept = list(Path("results/demo/checkpoints").glob("*.safetensors"))
    assert len(kept) == (0 if seconds is None else 1)
    steps.clear()

    def watched(self: SeededNoise, total: Any, std: Any, *, step: int, name: str) -> Any:
        steps.append(step)
        return original(self, total, std, step=step, name=name)

    monkeypatch.setattr(SeededNoise, "add", watched)
    step("train", run, *options)
    assert min(steps) == (0 if seconds is None else 5)
    assert max(steps) == 2 * TRAIN // BATCH - 1


def test_the_backend_and_the_threads_are_those_of_the_options(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = of(made(), Experiment, "net"), scratch.clipped_sum
    seen: set[tuple[str, int]] = set()

    def watched(*arguments: Any, backend: str, **named: Any) -> Any:
        seen.add((backend, torch.get_num_threads()))
        return original(*arguments, backend=backend, **named)

    monkeypatch.setattr(scratch, "clipped_sum", watched)
    before = torch.get_num_threads()
    try:
        for backend, threads in (("reference", 2), ("vectorized", 1)):
            path = step("train", run, "--backend", backend, "--threads", str(threads))
            path.unlink()
    finally:
        torch.set_num_threads(before)
    assert seen == {("reference", 2), ("vectorized", 1)}


@pytest.fixture
def precisions(monkeypatch: pytest.MonkeyPatch) -> set[torch.dtype | None]:
    """In what precision images are embedded; None is single."""
    seen: set[torch.dtype | None] = set()
    original = encoder.Encoder.__call__

    def watched(self: encoder.Encoder, images: torch.Tensor) -> torch.Tensor:
        seen.add(self._dtype)
        embedded = original(self, images)
        # And it is what was computed: other digits than those of single precision.
        plain = encoder_files.load_encoder(Path(self.name), dtype=torch.float32)
        assert torch.equal(embedded, original(plain, images)) == (self._dtype is None)
        return embedded

    monkeypatch.setattr(encoder.Encoder, "__call__", watched)
    return seen


STEPS = {"train": Experiment, "zero-shot": ZeroShot, "distances": Distance}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", torch.bfloat16), ("float32", None), ("auto", None)])
def test_encoders_compute_in_the_precision_of_the_params(
    made: Callable[..., Catalogue],
    precisions: set[torch.dtype | None],
    name: str,
    precision: str,
    expected: torch.dtype | None,
) -> None:
    catalogue = made(encoder_precision=precision)
    step(name, of(catalogue, STEPS[name], None if name == "distances" else "eye"))
    assert precisions == {expected}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("compiled", [True, False])
def test_encoders_are_compiled_if_the_params_say_so(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, name: str, compiled: bool
) -> None:
    catalogue, asked = made(compile_encoder=compiled), []
    original = encoder._compiled

    def watched(visual: Any, device: torch.device, wanted: bool) -> Any:
        asked.append(wanted)
        return original(visual, device, wanted)

    monkeypatch.setattr(encoder, "_compiled", watched)
    step(name, of(catalogue, STEPS[name], None if name == "distances" else "eye"))
    assert set(asked) == {compiled}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in STEPS if name != "train"])
def test_encoders_compute_on_the_threads_of_the_option(
    made: Callable[..., Catalogue], monkeypatch: pytest.MonkeyPatch, name: str, threads: int
) -> None:
    seen: set[int] = set()
    original, before = encoder.Encoder.__call__, torch.get_num_threads()

    def watched(self: encoder.Encoder, images: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return original(self, images)

    monkeypatch.setattr(encoder.Encoder, "__call__", watched)
    one = of(made(), STEPS[name], None if name == "distances" else "eye")
    try:
        step(name, one, "--threads", str(threads))
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


# What is made of an artefact ------------------------------------------------------------------------------------------


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
    assert (architecture, out, seed) == ("tiny-vit", path.parent, 0)
    assert classes == [str(digit) for digit in range(10)]
    assert (images.dtype, len(images), set(labels.tolist())) == (np.uint8, len(labels), set(range(10)))
    values["models"]["eye"] |= {"weights": "public", "images": "d"}
    for index, name in enumerate(("ant", "bee", "bee")):
        from PIL import Image

        Path("d", name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 50 * index, np.uint8)).save(f"d/{name}/{index}.png")
    path = step("encoder", of(write_params(values), EncoderModel))
    (architecture, images, labels, classes, out, seed), _ = calls.pop("train_encoder")
    assert (architecture, tuple(classes), out, seed) == ("tiny-vit", ("ant", "bee"), path.parent, 0)
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
    assert calls == {"gather": ((Path("some.zip"), classes, D, path.parent), {})}


@pytest.mark.parametrize("bands", [1, 2])
def test_noise_is_calibrated_for_the_plan_that_is_asked_for(made: Callable[..., Catalogue], bands: int) -> None:
    made()
    values = params()
    for track in ("scratch", "finetune"):
        values["scales"]["demo"][track] |= {"bands": bands, "delta": 1e-4, "accountant": "pld", "clip_norm": 0.5}
    catalogue = write_params(values)
    spec = of(catalogue, PlanFile)
    assert isinstance(spec, PlanFile)
    written = read_json(step("plans", spec))
    assert (written["population"], written["batch_size"], written["clip_norm"]) == (TRAIN, BATCH, 0.5)
    assert (written["delta"], written["accountant"], written["target_epsilon"]) == (1e-4, "pld", 2)
    assert 1.9 < plan_from_json(written).epsilons()["pld"] <= 2
    assert len(written.get("coefficients", [1])) == bands
