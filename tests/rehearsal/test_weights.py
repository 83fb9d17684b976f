"""Repositories of models through the project's own loading: what is on disk afterwards is what the repository has."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpmix.errors import DataError
from dpmix.models.encoder_files import load_encoder
from rehearsal import stable_diffusion, weights
from rehearsal.faults import Changed, Dropped
from rehearsal.hub import EXPIRED_TOKEN, Hub, Repository, hub_serving
from tests.models.conftest import VISION, backbone, build, fetch
from tests.rehearsal.test_hub import environment

pytestmark = pytest.mark.filterwarnings("ignore")

FETCH = """
import sys
from pathlib import Path
from dpmix.errors import DataError
from dpmix.synthesis.pipeline import fetch_model
try:
    fetch_model(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
except DataError as error:
    sys.exit(f"error: {error}")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with hub_serving() as running:
        cache = tmp_path_factory.mktemp("weights")
        running.repositories[stable_diffusion.DIFFUSION] = stable_diffusion.diffusion_repository(cache)
        yield running


def fetched(hub: Hub, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    line = [
        sys.executable,
        "-c",
        FETCH,
        stable_diffusion.DIFFUSION,
        str(folder / "out"),
        stable_diffusion.DIFFUSION_COMMIT,
    ]
    return subprocess.run(line, env=environment(hub, folder / "hub", **more), capture_output=True, text=True)


def test_a_pipeline_of_stable_diffusions_layout_has_the_repositorys_own_weights(hub: Hub, tmp_path: Path) -> None:
    """None of them random, though their names have changed since they were saved; and no pickle is asked for."""
    hub.objects.faults[hub.place(stable_diffusion.DIFFUSION, "unet/diffusion_pytorch_model.safetensors")] = Dropped(1)
    done = fetched(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    files = hub.repositories[stable_diffusion.DIFFUSION].files
    compared = 0
    for name, source in files.items():
        if name.endswith(".safetensors") and isinstance(source, Path):
            published, kept = load_file(source), load_file(tmp_path / "out" / name)
            sums = [
                sorted(float(one.double().sum()) for one in tensors.values() if one.is_floating_point())
                for tensors in (published, kept)
            ]
            assert sums[0] == sums[1], name
            compared += len(sums[0])
    assert compared > 900
    asked = {place for _, place, _ in [*hub.asked, *hub.objects.asked]}
    assert not [
        name for name in files if name.endswith(".bin") and hub.place(stable_diffusion.DIFFUSION, name) in asked
    ]


def test_a_gated_repository_and_an_expired_token_are_one_line_each(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[stable_diffusion.DIFFUSION].gated = True
    try:
        for token, words in (
            ({}, f"the repository is gated); accept its terms at {hub.url}/{stable_diffusion.DIFFUSION} and log in"),
            (
                {"HF_TOKEN": EXPIRED_TOKEN},
                "the token, which is wrong or has expired); get a new one by `hf auth login`",
            ),
        ):
            done = fetched(hub, tmp_path, **token)
            assert done.returncode == 1
            assert words in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr
            assert not (tmp_path / "out").exists()
    finally:
        hub.repositories[stable_diffusion.DIFFUSION].gated = False


def test_the_tokenizer_is_clips_own(tmp_path: Path) -> None:
    """Its files, of the merges that OpenCLIP carries, give transformers the tokens that OpenCLIP gives."""
    import open_clip
    from transformers import CLIPTokenizer

    for name, content in stable_diffusion.tokenizer_files().items():
        (tmp_path / name).write_bytes(content)
    captions = ["a photo of a annual crop land", "a photo of a tree-house, 123!", "a photo of a naïve café"]
    expected = open_clip.get_tokenizer("ViT-B-16")(captions)
    found = CLIPTokenizer.from_pretrained(tmp_path)(captions)["input_ids"]
    assert [expected[row, : len(ids)].tolist() for row, ids in enumerate(found)] == found
    assert len(json.loads((tmp_path / "vocab.json").read_text())) == 49408


@pytest.fixture
def asked_of(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that the client of this process asks, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return hub


def fetched_if_whole(hub: Hub, name: str, file: str, encoder: tuple[str, str], out: Path) -> dict[str, torch.Tensor]:
    """The weights of an encoder that is fetched; not at all while a byte of them is changed on the way."""
    place = hub.place(name, file)
    hub.objects.faults[place] = Changed()
    with pytest.raises(DataError, match=rf"{re.escape(file)} of \S+ arrives with another checksum"):
        fetch(*encoder, out)
    assert not out.exists()
    hub.objects.faults[place] = Changed(1)
    fetch(*encoder, out)
    weights: dict[str, torch.Tensor] = load_file(out / file)
    return weights


def test_a_backbone_of_timms_comes_from_its_repository_or_not_at_all(asked_of: Hub, tmp_path: Path) -> None:
    """A byte that is another in its weights is another encoder."""
    model = backbone()
    save_file(model.state_dict(), tmp_path / "small.safetensors")
    content = (tmp_path / "small.safetensors").read_bytes()
    name = "timm/test_vit.r160_in1k"
    asked_of.repositories[name] = Repository({"model.safetensors": content}, "c" * 40)
    kept = fetched_if_whole(asked_of, name, "model.safetensors", ("timm/test_vit", "r160_in1k"), tmp_path / "out")
    assert all(torch.equal(kept[key], tensor) for key, tensor in model.state_dict().items())


def test_an_encoder_of_openclips_comes_from_its_repository(
    asked_of: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one under a published name; `make rehearsal` has those of full size."""
    from huggingface_hub import constants
    from open_clip import factory

    model, config = build(VISION["vit"])
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-B-16", config)
    hub = asked_of
    save_file(model.state_dict(), tmp_path / "small.safetensors")
    content = (tmp_path / "small.safetensors").read_bytes()
    hub.repositories[weights.VIT] = Repository({"open_clip_model.safetensors": content}, "b" * 40)
    published = ("ViT-B-16", "laion2b_s34b_b88k")
    kept = fetched_if_whole(hub, weights.VIT, "open_clip_model.safetensors", published, tmp_path / "out")
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    assert load_encoder(tmp_path / "out")(torch.rand(2, 3, 16, 16)).shape == (2, 8)
    del hub.repositories[weights.VIT]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(
        DataError, match=r"could not be downloaded \(the hub has no such repository, or it is private\); "
    ):
        fetch(*published, tmp_path / "again")
