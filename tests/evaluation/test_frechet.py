"""The Fréchet distance against a second implementation, on features whose moments are known."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dpmix.errors import DataError
from dpmix.evaluation.frechet import FidResult, fetch_inception, frechet_distance


class Identity(nn.Module):
    """Pixels as features, so that the distance has a closed form."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.name = dim, "identity"

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def batches(points: np.ndarray, size: int = 100) -> Iterator[Tensor]:
    """Points [n, 4] as images [n, 1, 2, 2]."""
    for start in range(0, len(points), size):
        yield torch.from_numpy(points[start : start + size]).reshape(-1, 1, 2, 2)


def exactly(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` points whose sample mean and (unbiased) sample covariance are exactly these."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def closed_form(mean: np.ndarray, covariance: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    root = scipy.linalg.sqrtm(covariance @ covariance2).real
    return float(((mean - mean2) ** 2).sum() + np.trace(covariance + covariance2 - 2 * root))


def spread(seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(4, 4))
    return factor @ factor.T + 0.1 * np.eye(4)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_known_gaussians_give_the_closed_form(seed: int, size: int) -> None:
    mean, mean2 = np.random.default_rng(seed).normal(size=(2, 4))
    first, second = exactly(mean, spread(seed), 400, seed + 1), exactly(mean2, spread(seed + 2), 250, seed + 3)
    result = frechet_distance(batches(first, size), batches(second), Identity(4))
    expected = closed_form(mean, spread(seed), mean2, spread(seed + 2))
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result == FidResult(result.value, 400, 250, "identity", 4)


def test_the_statistics_are_float64() -> None:
    """A common offset of 1e6 must not matter; float32 sums of squares would lose everything below 1e5."""
    mean = np.full(4, 1e6)
    first, second = exactly(mean, np.eye(4), 300, 0), exactly(mean + 1, np.eye(4), 300, 1)
    assert frechet_distance(batches(first), batches(second), Identity(4)).value == pytest.approx(4, rel=1e-2)


def test_equal_sets_are_at_distance_zero_and_the_distance_is_symmetric() -> None:
    first, second = exactly(np.zeros(4), spread(1), 300, 0), exactly(np.ones(4), spread(2), 300, 1)
    assert 0 <= frechet_distance(batches(first), batches(first), Identity(4)).value < 1e-6
    there = frechet_distance(batches(first), batches(second), Identity(4)).value
    back = frechet_distance(batches(second), batches(first), Identity(4)).value
    assert there == pytest.approx(back, rel=1e-9)
    assert there > 1


def test_empty_batches_do_not_count() -> None:
    points = exactly(np.zeros(4), np.eye(4), 50, 0)
    stream = [torch.empty(0, 1, 2, 2, dtype=torch.float64), *batches(points)]
    assert frechet_distance(stream, batches(points), Identity(4)).real_count == 50


def test_few_images_are_warned_of_and_single_ones_refused() -> None:
    points = exactly(np.zeros(4), np.eye(4), 50, 0)
    with pytest.warns(UserWarning, match="3 images for 4 features"):
        frechet_distance(batches(points), batches(points[:3]), Identity(4))
    with pytest.raises(DataError, match="two images or more"):
        frechet_distance(batches(points), batches(points[:1]), Identity(4))
    with pytest.raises(DataError, match="two images or more"):
        frechet_distance([], batches(points), Identity(4))


def test_features_that_are_not_finite_are_refused() -> None:
    points = exactly(np.zeros(4), np.eye(4), 50, 0)
    points[7, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(batches(points), batches(points), Identity(4))


def test_inception_without_network_says_what_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def offline(request: urllib.request.Request, **options: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"no route to host.*weights-inception-2015-12-05-6726825d\.pth") as caught:
        frechet_distance([], [], "inception")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(asked) == {torch_fidelitys_address()}


def torch_fidelitys_address() -> str:
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    return str(fidelity.URL_INCEPTION_V3)


def test_inception_is_fetched_with_its_digest_and_sealed(tmp_path: Path) -> None:
    from dpmix.seals import check_folder
    from rehearsal.faults import Changed, Dropped
    from rehearsal.server import Content, serving, sha256

    source = tmp_path / "published.pth"
    torch.save({"weight": torch.ones(100_000)}, source)
    with serving() as server:
        server.files["/inception.pth"] = Content(source)
        server.faults["/inception.pth"] = Dropped(1)
        fetch_inception(f"{server.url}/inception.pth", sha256(source), tmp_path / "out" / "weights.pth")
        assert check_folder(tmp_path / "out") is not None
        assert (tmp_path / "out" / "weights.pth").read_bytes() == source.read_bytes()
        server.faults["/inception.pth"] = Changed()
        with pytest.raises(
            DataError, match=r"could not be downloaded \(.*SHA256 is not .*\); on a machine with network get"
        ):
            fetch_inception(f"{server.url}/inception.pth", sha256(source)[:8], tmp_path / "other" / "weights.pth")
    assert not list((tmp_path / "other").iterdir())


class Hostile:
    """Unpickled without restriction, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weights": Hostile(tmp_path / "ran")}, path)
    with pytest.raises(DataError, match="damaged or not InceptionV3's weights"):
        frechet_distance([], [], "inception", path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()  # so the check above can fail


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published architecture with random weights that keep features near 1.

    By torch's own initialisation they would shrink to 1e-8, and no tolerance would tell one image from another.
    """
    from rehearsal.weights import inception

    return inception(tmp_path_factory.mktemp("weights"))


@pytest.mark.filterwarnings("ignore:.*singular")
@pytest.mark.parametrize("sides", ["colours", "grey and colours"])
def test_inception_is_given_bytes_of_three_channels(inception_weights: Path, sides: str) -> None:
    """Colours stay colours, grey becomes three equal channels, and x in [0, 1] is the byte that is nearest to 255 x."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    draws = torch.Generator().manual_seed(0)
    channels = 1 if sides.startswith("grey") else 3
    one, other = torch.rand(channels, 8, 8, generator=draws), torch.rand(3, 8, 8, generator=draws)
    with pytest.warns(UserWarning, match="2 images for 2048 features"):
        # Each side one image again and again: no covariance, hence the distance of two points.
        result = frechet_distance([torch.stack([one] * 2)], [torch.stack([other] * 3)], "inception", inception_weights)
    assert (result.extractor, result.dim, result.real_count, result.other_count) == ("InceptionV3", 2048, 2, 3)
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )
    layers = nn.Sequential(*(module for name, module in network.named_children() if name != "fc")).eval()

    def apart(to_byte: Callable[[Tensor], Tensor], *images: Tensor) -> float:
        bytes_ = torch.stack([to_byte(255 * image).expand(3, -1, -1) for image in images])
        resized = nn.functional.interpolate(bytes_, size=(299, 299), mode="bilinear", align_corners=False)
        with torch.no_grad():
            features = layers((resized - 128) / 128).flatten(1)
        return float((features[0] - features[1]).double().square().sum())

    expected = apart(torch.round, one, other)
    assert result.value == pytest.approx(expected, rel=1e-4, abs=0)  # float32, through some hundred layers
    for wrong in (apart(torch.floor, one, other), apart(torch.round, one[:1], other[:1])):
        assert abs(wrong - expected) > 1e-3 * expected  # so other bytes would be seen
