"""`artefacts.entries`: an artefact's digest names the registered code that runs when it is made, and no other."""

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import yaml

from dpmix import code
from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import EncoderModel, ImageStore
from dpmix.artefacts.entries import of_encoder, of_network, of_views
from dpmix.artefacts.experiment import Experiment
from dpmix.artefacts.measurements import Distance, ZeroShot
from dpmix.build import maker_of
from dpmix.catalogue.catalogue import Catalogue
from dpmix.makers.registry import Context
from dpmix.models import small_encoders
from dpmix.params.models import EncoderSpec, WideResNetSpec
from dpmix.params.read import read
from dpmix.params.specs import DatasetSpec
from dpmix.privacy import modes
from dpmix.views import transforms
from dpmix.views.settings import ViewSettings
from tests.test_build import params, world

PACKAGE = Path(code.RECORD).parent
NETWORKS = {
    "net": {"kind": "wide-resnet", "depth": 10, "width": 1, "groups": 2, "base_channels": 4},
    "plain": {"kind": "resnet", "depth": 8, "groups": 2, "base_channels": 4},
}


def table(model: str, values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rows = [{"axis": "Method", "method": ["dp-mix-diff"]}]
    shown = {"rows": rows, "columns": [{"axis": "What", "values": values}]}
    return {
        "kind": "accuracy", "title": "Tried", **shown, "fixed": {"dataset": "mine", "model": model, "epsilon": 8},
    }  # fmt: skip


def asked_for() -> dict[str, Any]:
    """Runs of networks and of a head, whose views and clipping differ, and a distance."""
    said = params()
    said["models"] |= {name: {"label": name, "resolution": 16, **one} for name, one in NETWORKS.items()}
    said["scales"]["demo"]["seeds"] = [1]
    said["scales"]["demo"]["scratch"] = {**said["scales"]["demo"]["scratch"], "learning_rate": 0.5}
    said["scales"]["demo"]["tables"] |= {
        "heads": table("eye", {
            "noise": {"transforms": ["flip", "noise"]}, "scaled": {"clipping": "auto-s"}, "cut": {"mixing": "cutmix"},
        }),
        "networks": table("net", {
            "all": {"transforms": ["crop", "all"]}, "layers": {"clipping": "per-layer"}, "plain": {"model": "plain"},
        }),
        "distance": {
            "kind": "fid-views", "title": "Distances", "model": "eye", "datasets": ["mine"], "extractors": ["eye"],
            "methods": {"Blurred": {"method": "dp-mix-diff", "transforms": ["blur"]}},
        },
    }  # fmt: skip
    return said


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    world(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(asked_for(), allow_unicode=True), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=5, batch=8)
    monkeypatch.setitem(small_encoders.RECIPES, "tiny-vit", recipe)
    return Catalogue(read(Path("params.yaml")))


def import_everything() -> None:
    """What runs while modules are imported is not the making of anything."""
    for room in code.ROOMS:
        place = PACKAGE.joinpath(*room.split("."))
        for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            name = ".".join(("dpmix", *path.relative_to(PACKAGE).with_suffix("").parts))
            if "jax" not in name:
                importlib.import_module(name.removesuffix(".__init__"))


Called = set[tuple[str, int, str]]

# What may run of `artefacts.experiment`, whose code does not count: it names runs and says what they need.
DESCRIBES = frozenset(
    {
        "_fits_together", "_inputs", "_key", "_stream", "_views_vary", "canonical", "directory", "entries", "inputs",
        "job_share", "key", "path", "rooms", "stream", "with_seed",
    }
)  # fmt: skip


@contextmanager
def traced() -> Iterator[Called]:
    """The functions of this package that are called: their modules, first lines and names."""
    called: Called = set()
    seen = set[Any]()

    def note(frame: FrameType, event: str, _: object) -> None:
        one = frame.f_code
        if event == "call" and one not in seen:
            seen.add(one)
            path = Path(one.co_filename)
            # Bodies of modules and classes are no functions.
            if one.co_flags & inspect.CO_OPTIMIZED and path.is_relative_to(PACKAGE):
                name = ".".join(("dpmix", *path.relative_to(PACKAGE).with_suffix("").parts))
                called.add((name.removesuffix(".__init__"), one.co_firstlineno, one.co_qualname))

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


def room_of(module: str) -> str | None:
    return next((room for room in code.ROOMS if f"{module}.".startswith(f"dpmix.{room}.")), None)


def unnamed(artefact: Artefact, called: Called) -> list[str]:
    """The functions that were called to make an artefact, and whose code its digest does not hold."""
    said, wrong = artefact.code().keys(), []
    for module, line, name in sorted(called):
        room, owners = room_of(module), code.shares().at(module, line)
        if module == "dpmix.artefacts.experiment" and name.partition(".<")[0].rpartition(".")[2] not in DESCRIBES:
            wrong.append(f"{name}, which has no digest")
        if room is None or f"{module.removeprefix('dpmix.').replace('.', '/')}.py" in code.ASIDE:
            continue
        if owners is None or (not said & set(owners) if owners else room not in said):
            wrong.append(f"{module}:{line} of {owners or room}")
    return wrong


def in_order(wanted: Iterable[Artefact]) -> list[Artefact]:
    """Artefacts after what they are made of."""
    found: dict[Path, Artefact] = {}
    for one in wanted:
        found |= {source.path("demo"): source for source in in_order(one.inputs())}
        found.setdefault(one.path("demo"), one)
    return list(found.values())


@pytest.mark.slow
def test_all_code_that_makes_an_artefact_is_in_its_digest(catalogue: Catalogue) -> None:
    import_everything()
    context, made, used = Context("demo"), set[type[Artefact]](), set[str]()
    wrong = set[tuple[str, str]]()
    for one in in_order(catalogue.artefacts.values()):
        with traced() as called:
            maker_of(type(one)).make([one], context)
        assert len(called) > 5, one
        wrong |= {(type(one).__name__, name) for name in unnamed(one, called)}
        made.add(type(one))
        used |= {name for name in one.code() if ":" in name}
    assert wrong == set()
    assert {ImageStore, EncoderModel, Experiment, ZeroShot, Distance} <= made
    assert {"PIXEL_TRANSFORMS:all", "CLIPPING_MODES:auto-s", "TRAINERS:network", "module:ResNetSpec"} <= used


def test_code_that_is_not_named_would_be_found(catalogue: Catalogue) -> None:
    (run,) = [one for one in catalogue.of(Experiment) if one.clipping == "auto-s"]
    with traced() as called:
        modes.PerLayer().factors(torch.ones(2, 1), ["one.weight", "two.weight"], 1.0)
    assert [one for one in unnamed(run, called) if "CLIPPING_MODES:per-layer" in one]


# What each uses -------------------------------------------------------------------------------------------------------


def test_views_use_their_transforms_and_all_of_them_those_that_it_chooses_from() -> None:
    plain = ViewSettings(k_base=1, transforms=("crop", "blur"), padding=1)
    assert of_views(plain) == ("INDEX_TRANSFORMS:crop", "PIXEL_TRANSFORMS:blur")
    mixed = ViewSettings(k_base=2, k_self=1, mixing="cutmix")
    assert of_views(mixed) == ("MIXING_MODES:cutmix",)
    assert of_views(ViewSettings(k_base=2, mixing="cutmix")) == ()
    named = {f"PIXEL_TRANSFORMS:{name}" for name in transforms.PIXEL_TRANSFORMS}
    assert set(of_views(ViewSettings(k_base=1, transforms=("all",)))) == named


def test_an_encoder_uses_its_library_and_the_one_that_reads_its_files() -> None:
    def libraries(architecture: str, weights: str = "x") -> set[str]:
        spec = EncoderSpec(
            kind="encoder", name="eye", label="Eye", architecture=architecture, weights=weights, resolution=16
        )
        return {one.partition(":")[2] for one in of_encoder(spec) if one.startswith("ENCODER_LIBRARIES:")}

    assert libraries("timm/resnet18") == {"timm"}
    assert libraries("tiny-vit", "strokes") == {"trained here"}
    # A folder of OpenCLIP's is read by the first library with such files.
    assert libraries("ViT-B-16") == {"OpenCLIP", "trained here"}
    assert libraries("folder/timm/resnet18") == {"folder", "timm"}


def test_a_network_uses_what_it_has_from_the_kind_that_it_is_below() -> None:
    class Wider(WideResNetSpec):
        """Its module and its logits are another kind's."""

    wider = Wider(kind="wide-resnet", name="wider", label="Wider", depth=10, width=2)
    assert of_network(wider, "torch") == ("ENGINES:torch", "module:WideResNetSpec")
    assert of_network(wider, "jax") == ("ENGINES:jax", "module:WideResNetSpec", "jax_logits:WideResNetSpec")


def test_published_data_use_their_loader() -> None:
    published = DatasetSpec(name="eurosat", label="E", source="torchvision", classes=10, train=21600, test=5400)
    assert ImageStore(dataset=published, resolution=8).entries() == ("DATA_SETS:eurosat",)
