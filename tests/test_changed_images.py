"""Private images that change after they were decoded are noticed, and results of the old ones are not taken for new."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from dpmix.build import build
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import DataError
from dpmix.models import small_encoders
from dpmix.params.read import read
from dpmix.seals import read_record
from tests.test_build import on_disk, private, world

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("door", ["mine", "mine/labels.csv"])
def test_images_that_changed_places_are_noticed_before_anything_is_made(
    door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one name and size; and what the line says to delete is made again of what is there now."""
    world(tmp_path)
    monkeypatch.chdir(tmp_path)
    if door != "mine":
        files = [path.relative_to("mine") for path in sorted(Path("mine").rglob("*.png"))]
        rows = [f"{path},{path.parent.name},{path.parts[0]}" for path in files]
        Path(door).write_text("\n".join(["file_name,label,split", *rows]), encoding="utf-8")
        params = Path("params.yaml").read_text(encoding="utf-8")
        Path("params.yaml").write_text(params.replace("path: mine", f"path: {door}"), encoding="utf-8")
    recipe = dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=20, batch=8)
    monkeypatch.setitem(small_encoders.RECIPES, "tiny-vit", recipe)
    run, _ = private(Catalogue(read(Path("params.yaml"))))
    build(run, scale="demo")
    store = run.images().path("demo").parent
    one, other = Path("mine/train/bile/0.png"), Path("mine/train/blood/0.png")
    one_content, other_content = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_content)
    other.write_bytes(one_content)
    before = on_disk()
    with pytest.raises(DataError) as caught:
        build(run, scale="demo")
    assert on_disk() == before
    line = (
        rf"{door} has changed since {store} was made of it; put back what was there, or delete (.+) and run the same .*"
    )
    named = re.fullmatch(line, str(caught.value))[1].split(" and ")  # type: ignore[index]
    assert str(store) in named
    for path in map(Path, named):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not run.path("demo").exists()
    assert set(build(run, scale="demo")) >= {store / "meta.json", run.path("demo")}
    assert read_record(store / "meta.json")["files"] != json.loads(before[f"{store}/meta.json"])["files"]
