"""`dpmix step synthetic-images`: D is packed as it was made, or not at all."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import ImageStore, SyntheticSet, SyntheticStore
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli import main
from dpmix.data.images import load
from dpmix.params.read import parse

CLASSES = ("ant", "bee")


def draw(folder: Path, per_class: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture
def catalogue(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A folder with private images, public images, and params that mix them."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "private" / "train", 4, 1)
    draw(tmp_path / "private" / "test", 1, 2)
    draw(tmp_path / "public", 3, 3)
    params = yaml.safe_load((repository / "docs" / "cifar10" / "params.yaml").read_text(encoding="utf-8"))
    own = {"label": "Own", "source": "folder", "path": "private", "classes": 2, "train": 8, "test": 2}
    params["datasets"]["cifar-10"] = own
    params["diffusion"]["sd14"] = {"images": "public"}
    params["models"]["efficientnet-lite0"]["resolution"] = 8
    scale = params["scales"]["cifar10"]
    scale["synthetic_size"] = {"cifar-10": 6}
    scale["finetune"] |= {"batch_size": 4, "epochs": 1, "learning_rate": 1}
    scale["datasets"] = {}
    scale["tables"] = {
        "mine": {
            "kind": "accuracy",
            "title": "Mine",
            "columns": [{"axis": "ε", "epsilon": [8]}],
            "fixed": {"dataset": "cifar-10", "model": "efficientnet-lite0", "method": "dp-mix-diff"},
        }
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return Catalogue(parse(params))


def step(monkeypatch: pytest.MonkeyPatch, name: str, output: Path) -> str:
    """What a step ends with: nothing, or one line."""
    monkeypatch.setattr("sys.argv", ["dpmix", "step", name, output.as_posix()])
    with pytest.raises(SystemExit) as caught:
        main()
    return str(caught.value.code or "")


def only(catalogue: Catalogue, kind: type[Artefact]) -> Path:
    (artefact,) = catalogue.of(kind)
    return artefact.path(catalogue.scale)


def _lose(image: Path) -> None:
    image.unlink()


def _damage(image: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(image)


@pytest.mark.parametrize(("harm", "words"), [(_lose, "is missing"), (_damage, "is not the image that was made")])
def test_images_that_are_not_as_they_were_made_are_not_packed(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, harm: Any, words: str
) -> None:
    manifest, store = only(catalogue, SyntheticSet), only(catalogue, SyntheticStore)
    assert step(monkeypatch, "images", only(catalogue, ImageStore)) == ""
    assert step(monkeypatch, "synthetic", manifest) == ""
    victim = manifest.parent / "bee" / "000004.png"
    before = hashlib.sha256(victim.read_bytes()).hexdigest()
    harm(victim)
    line = step(monkeypatch, "synthetic-images", store)
    assert line.startswith(f"error: {manifest.parent} is not whole: {victim} {words}")
    assert line.endswith(
        f"; delete {manifest} and run the same command again, which makes the images anew that are missing or damaged"
    )
    assert not store.exists()
    # What the line says to do helps: the workflow makes the missing manifest first.
    manifest.unlink()
    assert step(monkeypatch, "synthetic", manifest) == ""
    assert hashlib.sha256(victim.read_bytes()).hexdigest() == before
    assert step(monkeypatch, "synthetic-images", store) == ""
    packed = load(store.parent)
    expected = [np.asarray(Image.open(Path("public", name, f"{i}.png"))) for name in CLASSES for i in range(3)]
    assert np.array_equal(packed.images, np.stack(expected).transpose(0, 3, 1, 2))
    assert packed.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_set_of_another_size_is_not_packed(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpmix.synthesis.folder import gather

    manifest, store = only(catalogue, SyntheticSet), only(catalogue, SyntheticStore)
    assert step(monkeypatch, "images", only(catalogue, ImageStore)) == ""
    draw(Path("fewer"), 2, 4)
    gather(Path("fewer"), CLASSES, 4, manifest.parent)
    line = step(monkeypatch, "synthetic-images", store)
    assert line == (
        f"error: {manifest.parent} has 4 images of 2 classes, not the 6 of the 2 classes of cifar-10; delete it and "
        "run the same command again"
    )
    assert not store.exists()
