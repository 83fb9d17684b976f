"""`docs/own-images/grids.md`: its params, from private folders to a model in other hands, with small networks."""

import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpmix.artefacts.experiment import Experiment, Selection
from dpmix.catalogue.catalogue import Catalogue
from dpmix.cli import main
from dpmix.errors import ParamsError
from dpmix.files import read_json
from dpmix.models import small_encoders
from dpmix.params.read import parse, read
from dpmix.params.specs import DiffusionSpec
from tests.own.drawn import draw
from tests.workflow.in_process import make_table_3, outputs

pytestmark = pytest.mark.filterwarnings("ignore")
DOCS = "docs/own-images"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> dict[str, Any]:
    """The documented params with images, K's and networks cut to a test's size, in a folder with such images."""
    raw: dict[str, Any] = yaml.safe_load((repository / DOCS / "params.yaml").read_text(encoding="utf-8"))
    raw["datasets"]["mine"] |= {"train": 60, "test": 30}
    raw["models"]["vit-b-16"] |= {"architecture": "tiny-vit", "weights": "public", "images": "d", "resolution": 16}
    raw["diffusion"] = {"stable-diffusion": {"images": "d"}}
    for method, settings in raw["methods"].items():
        settings["k_self"] = {"self-aug": 0, "dp-mix-self": 2, "dp-mix-diff": 3}[method]
    for scale in raw["scales"].values():
        scale["synthetic_size"]["mine"] = 24
        scale["finetune"] |= {"batch_size": 30, "epochs": 2, "k_base": 2}
    compare = raw["scales"]["compare"]
    compare["seeds"], compare["tuning"]["learning_rates"] = [1, 2], [1, 8]
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    draw(Path("my-images/train"), 20, 1)
    draw(Path("my-images/test"), 10, 2)
    draw(Path("d"), 8, 3)
    monkeypatch.setitem(
        small_encoders.RECIPES, "tiny-vit", dataclasses.replace(small_encoders.RECIPES["tiny-vit"], steps=40, batch=24)
    )
    return raw


@pytest.mark.slow
def test_from_a_folder_to_a_model_in_other_hands(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = make_table_3("compare")
    table = Path("results/compare/tables/table3.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["Method"] for row in rows} >= {"Self-Aug", "DP-Mix_Self", "DP-Mix_Diff", "Zero-shot (ε = 0)"}
    assert not list(Path("results/compare").rglob("*.safetensors"))
    assert outputs(compared, Selection)

    (metrics,) = outputs(make_table_3("release"), Experiment)
    (model,) = Path().glob("results/release/runs/mine/vit-b-16/dp-mix-diff/*/model.safetensors")  # as the text has it
    assert model.parent == metrics.parent
    assert read_json(metrics)["epsilon"]["pld"] <= 4
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["dpmix", "classify", str(model), "my-images/test"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    right = sum(Path(row["image"]).parent.name == row["class"] for row in found)
    assert len(found) == 30
    assert round(100 * right / 30, 6) == read_json(metrics)["accuracy"]


def test_the_params_as_they_are_ask_for_what_the_text_says(repository: Path) -> None:
    params = read(repository / DOCS / "params.yaml")
    compare, release = (Catalogue(params, scale) for scale in ("compare", "release"))
    (run,) = release.of(Experiment)
    assert isinstance(run, Experiment)
    assert run.release
    assert not release.of(Selection)
    assert not any(one.release for one in compare.of(Experiment) if isinstance(one, Experiment))
    assert len(compare.of(Experiment)) == 3 * (3 * 4 + 1)
    # The paper's own encoder and diffusion model.
    whole = read(repository / "params.yaml")
    assert params.models["vit-b-16"] == whole.models["vit-b-16"]
    assert isinstance(params.diffusion["stable-diffusion"], DiffusionSpec)
    assert params.diffusion["stable-diffusion"] == whole.diffusion["stable-diffusion"]


def test_a_release_with_a_rate_from_private_images_is_refused(raw: dict[str, Any]) -> None:
    raw["scales"]["release"]["finetune"]["learning_rate"] = "tuned"
    with pytest.raises(ParamsError, match="choosing a learning rate on private images is not covered by ε"):
        Catalogue(parse(raw), "release")


@pytest.mark.parametrize("page", ["README.md", "grids.md", "model.md"])
def test_the_text_names_files_and_commands_that_are_there(repository: Path, page: str) -> None:
    text = (repository / DOCS / page).read_text(encoding="utf-8")
    commands, targets = re.findall(r"^dpmix (\w+)", text, flags=re.MULTILINE), re.findall(r"\]\(([^):#]+)[)#]", text)
    used = {"README.md": {"check", "train"}, "grids.md": {"check", "classify"}, "model.md": {"evaluate", "export"}}
    assert used[page] <= set(commands)
    assert targets
    for command in commands:
        assert (repository / "dpmix/cli" / f"{command}.py").is_file()
    for target in targets:
        assert (repository / DOCS / target).exists()
