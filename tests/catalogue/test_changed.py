"""Results (`artefacts.made_of`) of other images, another encoder or another plan than are there now are refused."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dpmix.artefacts.data import EncoderModel, SyntheticSet
from dpmix.artefacts.experiment import Selection
from dpmix.artefacts.measurements import ZeroShot
from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.catalogue.changed import refuse_changed
from dpmix.errors import DataError
from dpmix.models import small_encoders
from dpmix.params.read import parse
from dpmix.seals import read_record, seal_of, write_record
from tests.test_build import params, private, world
from tests.workflow.test_workflow import Clone, new_clone

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def two_scales() -> Catalogue:
    """The params of `tests.test_build`, and a second scale of the same runs."""
    said = params()
    said["scales"]["again"] = said["scales"]["demo"]
    Path("params.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return Catalogue(parse(said))


def exchange(one: Path, other: Path) -> None:
    one_content, other_content = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_content)
    other.write_bytes(one_content)


def named(line: str) -> list[Path]:
    """The folders and files that a line says to delete."""
    found = re.search(r"or delete (.+) and run the same command again$", line)
    assert found
    return [Path(path) for path in found[1].split(" and ")]


def delete(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def clone(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = new_clone(tmp_path / "clone", repository)
    world(made.folder)
    monkeypatch.chdir(made.folder)
    recipe = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=20, batch=8)
    monkeypatch.setitem(small_encoders.RECIPES, "tiny-vit", recipe)
    return made


@pytest.mark.timeout(300)
def test_images_that_changed_are_the_same_line_to_snakemake_and_its_remedy_leaves_no_result_of_the_old_ones(
    clone: Clone,
) -> None:
    catalogue = two_scales()
    wanted = [*private(catalogue), *catalogue.of(ZeroShot)]
    for scale in ("demo", "again"):
        build(*wanted, scale=scale)
    exchange(Path("mine/train/bile/0.png"), Path("mine/train/blood/0.png"))
    (line,) = clone("--dry-run", "table12", fails=True).splitlines()
    assert re.match(r"error: mine has changed since data/images/mine-16px-\w{10} was made of it; put back ", line)
    made = [one.path(scale) for scale in ("demo", "again") for one in wanted]
    assert all(path.is_file() for path in made)
    delete(named(line))
    assert not any(path.exists() for path in made)
    (encoder,) = catalogue.of(EncoderModel)
    assert encoder.path("demo").is_file()
    (d,) = catalogue.of(SyntheticSet)
    assert not d.path("demo").exists()
    assert len(list(d.path("demo").parent.rglob("*.png"))) == 16
    assert {one.path("demo").as_posix() for one in wanted} < clone.planned("table12")


def another_store(catalogue: Catalogue) -> str:
    """The images change, and of what was made of them the store alone is deleted and made again."""
    store = private(catalogue)[0].images()
    shutil.rmtree(store.path("demo").parent)
    exchange(Path("mine/train/bile/0.png"), Path("mine/train/blood/0.png"))
    build(store, scale="demo")
    return store.path("demo").as_posix()


def another_encoder(catalogue: Catalogue) -> str:
    """The encoder is trained again, by a program that does so otherwise."""
    (encoder,) = catalogue.of(EncoderModel)
    shutil.rmtree(encoder.path("demo").parent)
    small_encoders.RECIPES["tiny-vit"] = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=21)
    build(encoder, scale="demo")
    return encoder.path("demo").as_posix()


def another_plan(catalogue: Catalogue) -> str:
    """An accountant of another version calibrates the noise."""
    place = private(catalogue)[0].plan().path("demo")
    plan = read_record(place)
    write_record(place, {**plan, "noise_multiplier": plan["noise_multiplier"] * 1.01})
    return place.as_posix()


# What changes, and the results that were made of it.
CHANGES: dict[str, tuple[Callable[[Catalogue], str], set[str]]] = {
    "store": (another_store, {"run", "zero-shot", "selection"}),
    "encoder": (another_encoder, {"run", "zero-shot", "selection"}),
    "plan": (another_plan, {"run"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_results_of_another_input_are_refused_and_no_others(change: str, clone: Clone) -> None:
    catalogue = Catalogue(parse(params()))
    run, (zero_shot,) = private(catalogue)[0], catalogue.of(ZeroShot)
    assert isinstance(run.learning_rate, Selection)
    results = {"run": run, "zero-shot": zero_shot, "selection": run.learning_rate}
    build(*results.values(), scale="demo")
    of_other_params = run.path("demo").parent.with_name("of-other-params") / "metrics.json"
    write_record(of_other_params, {"accuracy": 1.0})
    refuse_changed(results.values(), "demo")
    apply, stale = CHANGES[change]
    source = apply(catalogue)
    line = rf".* made of another {re.escape(source)} than is there now; put that back, or delete .*"
    with pytest.raises(DataError, match=line) as caught:
        build(*results.values(), scale="demo")
    delete(named(str(caught.value)))
    assert {name for name, one in results.items() if not one.path("demo").exists()} == stale
    assert of_other_params.is_file()
    assert Path(source).is_file()
    refuse_changed(results.values(), "demo")


def test_an_input_whose_digest_is_damaged_is_itself_what_to_delete(clone: Clone) -> None:
    catalogue = Catalogue(parse(params()))
    run = private(catalogue)[0]
    build(run, scale="demo")
    place = run.plan().path("demo")
    whole = place.read_bytes()
    said = seal_of(place)
    assert said is not None
    place.write_bytes(whole.replace(said.encode(), said[::-1].encode()))
    with pytest.raises(DataError, match=rf"^{place} was damaged .*; delete it and run the same command again$"):
        build(run, scale="demo")
    place.unlink()
    build(run, run.plan(), scale="demo")
    assert place.read_bytes() == whole
