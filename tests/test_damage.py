"""Every kind of artefact, damaged in every way, is noticed in one line, and what the line says to do mends it.

Kinds are those that have a maker: a new one is tested as soon as the small scale below asks for one of it.
"""

import copy
import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import InceptionWeights, SyntheticSet
from dpmix.artefacts.experiment import Experiment, GradientRecord, Selection
from dpmix.artefacts.measurements import Distance
from dpmix.artefacts.plan_file import PlanFile
from dpmix.build import build, check, make
from dpmix.catalogue.catalogue import Catalogue
from dpmix.demo import diffusion
from dpmix.errors import DataError
from dpmix.files import write_json
from dpmix.makers import registry
from dpmix.makers.registry import Context
from dpmix.models import small_encoders
from dpmix.params.read import parse
from dpmix.seals import DIGESTS, FILES, read_record, records
from dpmix.targets import make_target

pytestmark = pytest.mark.filterwarnings("ignore")
# What is only fetched is compared with a checksum of the params: tests/rehearsal.
KINDS = [
    kind for kind in registry._MAKERS if kind.__module__.startswith("dpmix.") and kind is not InceptionWeights
]  # fmt: skip
CONTEXT = Context("demo")


def params(repository: Path) -> dict[str, Any]:
    """The project's own, with a scale that has one small thing of each kind."""
    whole = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    scale = copy.deepcopy(whole["scales"]["demo"])
    tables = scale["tables"]
    head = {"dataset": "digits-300", "model": "tiny-vit", "epsilon": 8, "k_base": 1, "k_self": 1, "k_diff": 1}
    one = {"kind": "accuracy", "rows": [{"axis": "Method", "method": ["dp-mix-diff"]}]}
    attack = {**next(iter(tables["modelmix"]["attacks"].values())), "runs": 100, "steps": 20}
    scale["tables"] = {
        "12": {**one, "fixed": head, "ladder": {"method": "dp-mix-diff"}},
        "8": {**tables["8"], "datasets": ["digits-300"], "extractors": ["tiny-vit"]},
        "modelmix": {
            **{name: tables["modelmix"][name] for name in ("kind", "title", "caption")},
            "rows": [{"axis": "Method", "values": {"DP-SGD": {"method": "dp-sgd", "learning_rate": 4}}}],
            "columns": [{"axis": "ε", "epsilon": [8]}],
            "fixed": {"dataset": "digits", "model": "tiny-resnet", "epochs": 1},
            "attacks": {"Algorithm 1 (attack)": attack},
        },
        "privacy": {
            **tables["privacy"],
            "trainings": dict(list(tables["privacy"]["trainings"].items())[-1:]),
            "epsilons": [8],
        },
    }
    scale["figures"] = {"2": {**scale["figures"]["2"], "datasets": ["digits-300"], "methods": ["dp-mix-self"]}}
    scale["seeds"], scale["synthetic_size"], scale["tuning"]["learning_rates"] = [1], {"digits": 20}, [1, 8]
    scale["datasets"] = {"digits-300": {"batch_size": 100, "epochs": 1}}
    scale["dataset_methods"] = {}
    return {**whole, "scales": {"demo": scale}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[dict[type[Artefact], Artefact]]:
    """One artefact of each kind, made with all that it is made from, in the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        for name, recipe in small_encoders.RECIPES.items():
            patch.setitem(small_encoders.RECIPES, name, dataclasses.replace(recipe, steps=3, batch=8))
        for name, value in {"_AUTOENCODER_STEPS": 2, "_UNET_STEPS": 2}.items():
            patch.setattr(diffusion, name, value)
        catalogue = Catalogue(parse(params(repository)))
        chosen = {kind: list(catalogue.of(kind)) for kind in KINDS}
        assert [kind.__name__ for kind, found in chosen.items() if not found] == []
        made = {kind: found[0] for kind, found in chosen.items()}
        # A run for release has two files.
        made[Experiment] = made[Experiment].model_copy(
            update={"release": True, "learning_rate": 1.0, "accountant": "pld", "epsilon": 8.0}
        )
        build(*made.values(), scale="demo", quiet=True)
        yield made


def files_of(artefact: Artefact) -> list[Path]:
    """The files of an artefact: all of its folder, if the folder is named after it, but for other artefacts'."""
    path = artefact.path("demo")
    if isinstance(artefact, GradientRecord) or artefact.hash not in path.parent.name:
        return [path]
    found = [one for one in path.parent.rglob("*") if one.is_file() and not one.name.startswith(".")]
    return sorted(one for one in found if one.suffix != ".npz")


def flipped(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x01
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def made_a_loop(path: Path) -> None:
    """What nobody can read, an administrator neither."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": truncated,
    "emptied": emptied,
    "a byte flipped at the start": lambda path: flipped(path, 0.0),
    "a byte flipped early": lambda path: flipped(path, 0.3),
    "a byte flipped late": lambda path: flipped(path, 0.7),
    "null": lambda path: path.write_bytes(b"null\n"),
    "a list": lambda path: path.write_bytes(b"[]\n"),
    "an object of nothing": lambda path: path.write_bytes(b"{}\n"),
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
    "brackets without end": lambda path: path.write_bytes(b"[" * 100_000),
    "a folder": made_a_folder,
    "unreadable": made_a_loop,
}


def users(artefact: Artefact, world: dict[type[Artefact], Artefact]) -> list[Artefact]:
    """The artefact, and what was made from it."""
    return [artefact, *(one for one in world.values() if artefact in one.inputs())]


Kept = tuple[Callable[[Path], None], Callable[[], None]]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A function that keeps a file, and one that puts back what was kept, which also happens in the end."""
    held: dict[Path, Path] = {}

    def keep(path: Path) -> None:
        held[path] = tmp_path / str(len(held))
        shutil.copy2(path, held[path])

    def put_back() -> None:
        for path, copied in held.items():
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)
            shutil.copy2(copied, path)

    yield keep, put_back
    put_back()


def complaint(artefacts: list[Artefact]) -> str | None:
    """The line about what is wrong with these artefacts, or None."""
    try:
        check(artefacts, CONTEXT)
    except DataError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    return said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_one_line_that_names_the_file(
    world: dict[type[Artefact], Artefact],
    kind: type[Artefact],
    damage: str,
    kept: Kept,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "_UNSEALED", [])
    artefact = world[kind]
    assert complaint(users(artefact, world)) is None
    files = files_of(artefact)
    others = [path for path in files if path != artefact.path("demo")]
    # Of other files, another one with another damage.
    for path in (artefact.path("demo"), *others[len(damage) % max(len(others), 1) :][:1]):
        keep, put_back = kept
        keep(path)
        DAMAGES[damage](path)
        said = complaint(users(artefact, world))
        if said is None:
            # What cannot be found is made again; a record whose words are all gone is as one of earlier versions.
            gone = not artefact.path("demo").exists()
            assert gone or (damage == "an object of nothing" and "has no digest" in capsys.readouterr().err), path
        else:
            assert str(path) in said or str(artefact.path("demo").parent) in said, said
            assert re.search(r"; (.*, or )?(delete \S|replace or remove it$)", said), said
        put_back()


def named(said: str) -> list[Path]:
    """What a line says to delete."""
    what = re.search(r"delete (.+?)(?: and run the same| and make|$)", said)[1]
    if what.startswith("it"):
        return [next(Path(word.strip(":")) for word in said.split() if Path(word.strip(":")).exists())]
    return [Path(one) for one in what.split(" and ")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_the_line_says_to_do_mends_it(world: dict[type[Artefact], Artefact], kind: type[Artefact]) -> None:
    artefact = world[kind]
    truncated(files_of(artefact)[-1])
    for _ in range(2):
        said = complaint(users(artefact, world))
        if said is None:
            break
        for path in named(said):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        build(*users(artefact, world), scale="demo", quiet=True)
    assert complaint(list(world.values())) is None


def test_a_job_checks_what_it_is_made_from(world: dict[type[Artefact], Artefact], kept: Kept) -> None:
    run = world[Experiment]
    assert isinstance(run, Experiment)
    path = run.plan().path("demo")
    kept[0](path)
    values = json.loads(path.read_text())
    write_json(path, {**values, "noise_multiplier": values["noise_multiplier"] * 2})
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} was damaged or changed .*; delete it and run the s"):
        make([run], CONTEXT)


def test_a_table_checks_what_it_shows(world: dict[type[Artefact], Artefact], kept: Kept, repository: Path) -> None:
    catalogue = Catalogue(parse(params(repository)))
    path = world[Distance].path("demo")
    kept[0](path)
    values = json.loads(path.read_text())
    write_json(path, {**values, "distance": values["distance"] / 2})
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} was damaged or changed "):
        make_target("table8", catalogue)


def test_an_image_of_d_that_is_gone_is_drawn_again(
    world: dict[type[Artefact], Artefact], capsys: pytest.CaptureFixture[str]
) -> None:
    d = world[SyntheticSet]
    (store,) = (one for one in users(d, world) if one is not d)
    image, *_ = sorted(d.path("demo").parent.rglob("*.png"))
    before = image.read_bytes(), read_record(store.path("demo"))[FILES]
    image.unlink()
    shutil.rmtree(store.path("demo").parent)
    build(store, scale="demo", quiet=True)
    assert (image.read_bytes(), read_record(store.path("demo"))[FILES]) == before
    assert f"{image} is missing: what is missing or damaged is made again" in capsys.readouterr().err


def test_a_selection_that_chose_nothing_is_one_line(world: dict[type[Artefact], Artefact], kept: Kept) -> None:
    selection = world[Selection]
    assert isinstance(selection, Selection)
    path = selection.path("demo")
    kept[0](path)
    run = selection.experiment.model_copy(update={"learning_rate": selection, "holdout": 0.0})
    for value in ("null", '{"learning_rate": null}', '{"learning_rate": "NaN"}', '{"learning_rate": NaN}'):
        path.write_text(value)
        with pytest.raises(DataError, match=r"; delete it and run the same command again$"):
            make([run], CONTEXT)


def test_a_plan_is_read_as_it_was_written(world: dict[type[Artefact], Artefact]) -> None:
    plan = world[PlanFile]
    assert isinstance(plan, PlanFile)
    assert read_record(plan.path("demo")) == json.loads(json.dumps(plan.calibrated().to_json()))
    assert not (plan.path("demo").parent / DIGESTS).exists()
