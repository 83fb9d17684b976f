"""Encoders in folders of one's own: copied whole, known by their content, and silent about where they were."""

from pathlib import Path

import pytest
import torch

from dpmix.artefacts.data import EncoderModel
from dpmix.errors import DataError, ParamsError
from dpmix.models.encoder_files import load_encoder
from dpmix.models.libraries.open_clip import save_open_clip
from dpmix.models.libraries.timm import save_timm
from dpmix.own.choices.encoders import encoder
from dpmix.params.models import EncoderSpec
from tests.models.conftest import PREPROCESS, VISION, backbone, build

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    save_timm(backbone(), tmp_path / "my encoder")
    return tmp_path / "my encoder"


def test_a_folder_of_timms_is_an_encoder(mine: Path, tmp_path: Path) -> None:
    for side in (None, 96):
        found = encoder(str(mine), side)
        assert (found.architecture, found.resolution, found.name) == ("folder/timm/test_vit", side or 160, "my-encoder")
        found.library.check(found)
        out = tmp_path / f"copy{side}"
        found.library.fetch(found, out)
        images = torch.rand(2, 3, found.resolution, found.resolution, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(load_encoder(out)(images), load_encoder(mine, side=side)(images))
        _, visual, seen = found.library.skeleton(found.architecture, torch.device("meta"), side)
        assert seen == found.resolution
        assert visual(torch.empty(1, 3, seen, seen, device="meta")).shape == (1, 64)


def test_a_folder_of_openclips_is_an_encoder(tmp_path: Path) -> None:
    model, config = build(VISION["vit"])
    save_open_clip(model, config, PREPROCESS, tmp_path / "clip")
    found = encoder(str(tmp_path / "clip"))
    assert (found.architecture, found.resolution) == ("folder/custom", 16)
    found.library.fetch(found, tmp_path / "out")
    assert load_encoder(tmp_path / "out").dim == 8


def test_its_place_is_told_to_nobody_and_determines_nothing(mine: Path, tmp_path: Path) -> None:
    found = encoder(str(mine))
    mine.rename(tmp_path / "moved")
    moved = encoder(str(tmp_path / "moved"))
    assert moved.folder != found.folder
    assert EncoderModel(encoder=moved).hash == EncoderModel(encoder=found).hash
    moved.library.fetch(moved, tmp_path / "out")
    assert str(tmp_path) not in moved.model_dump_json()
    assert all(str(tmp_path).encode() not in one.read_bytes() for one in (tmp_path / "out").iterdir())
    assert EncoderSpec.model_validate_json(moved.model_dump_json()).folder is None


def test_other_weights_are_another_encoder(mine: Path, tmp_path: Path) -> None:
    found = encoder(str(mine))
    save_timm(backbone(1), mine)
    assert EncoderModel(encoder=encoder(str(mine))).hash != EncoderModel(encoder=found).hash
    with pytest.raises(
        ParamsError, match=r"models\.my-encoder: the weights in .* are [0-9a-f]{16}, not .*; correct it"
    ):
        found.library.fetch(found, tmp_path / "out")
    with pytest.raises(ParamsError, match=r"does not say where it lies; add folder: <its folder>"):
        found.library.check(found.model_copy(update={"folder": None}))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_encoder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no encoder: there is no .*config\.json with .*; name the folder"
    ) as caught:
        encoder(str(tmp_path))
    assert "\n" not in str(caught.value)
