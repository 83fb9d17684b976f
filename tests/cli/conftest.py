"""A small pipeline on disk, whose steps are run one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel, ImageStore, SyntheticStore
from dpmix.artefacts.plan_file import PlanFile
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli.app import app
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.params.read import read
from tests.training.conftest import draw, write_store

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
    import open_clip
    import torch

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
