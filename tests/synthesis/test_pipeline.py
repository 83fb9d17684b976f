"""Text-to-image models: fetched, read, and a line for each that cannot be."""

from pathlib import Path
from typing import Any

import pytest

from dpmix.errors import DataError
from dpmix.params.registries import SCHEDULERS
from dpmix.synthesis.draw import synthesize
from dpmix.synthesis.folder import load_synthetic
from dpmix.synthesis.pipeline import fetch_model
from tests.synthesis.conftest import CLASSES, SETTINGS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if name != "default"])
def test_every_scheduler_exists_in_diffusers(scheduler: str) -> None:
    import diffusers

    assert hasattr(getattr(diffusers, scheduler), "from_config")


def test_missing_and_broken_models_are_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for path, message in (
        (tmp_path / "absent", "there is no model folder"),
        (tmp_path / "empty", "model_index.json is missing"),
        (tmp_path / "broken", "could not be loaded"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            synthesize(path, CLASSES, 4, tmp_path / "out", **SETTINGS)
        assert "\n" not in str(caught.value)


def test_without_network_a_hub_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    def offline(*arguments: Any, **options: Any) -> Any:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", offline)
    with pytest.raises(
        DataError,
        match=r"We couldn't connect to the hub\); on a machine with network run `hf download CompVis/",
    ) as caught:
        fetch_model("CompVis/stable-diffusion-v1-4", tmp_path / "out", "133a221b8aa7292a167afc5127cb63fb5005638b")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_fetched_model_samples_as_the_original(model: Path, tmp_path: Path) -> None:
    fetch_model(str(model), tmp_path / "copy")
    for name, source in (("a", model), ("b", tmp_path / "copy")):
        synthesize(source, CLASSES, 2, tmp_path / name, **SETTINGS)
    assert load_synthetic(tmp_path / "a").digest == load_synthetic(tmp_path / "b").digest
