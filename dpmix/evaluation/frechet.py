"""The Fréchet distance between two sets of images (Heusel et al., 2017), for Tables 7 and 8.

With features phi(x) of mean m and covariance S on one set, and m', S' on the other,

    d^2 = |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)).

The features are InceptionV3's 2,048, or any encoder's. Means and covariances are summed in float64, batch by batch, so
that memory does not grow with the number of images.
"""

import http.client
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from dpmix.downloads import download
from dpmix.errors import DataError, one_line
from dpmix.params.specs import InceptionSpec
from dpmix.progress import progress
from dpmix.seals import seal_folder

if TYPE_CHECKING:
    from dpmix.models.encoder import Encoder


_INCEPTION_DIM = 2048

_TINY = 1e-6  # rounding may leave the distance between equal sets this far below zero, relative to the traces


@dataclass(frozen=True)
class FidResult:
    """A distance and what it was measured on.

    Attributes:
        value: the squared Fréchet distance d^2, which is called FID if the extractor is InceptionV3.
        real_count: images of the first set.
        other_count: images of the second set.
        extractor: the name of the network that made the features.
        dim: features of an image.
    """

    value: float
    real_count: int
    other_count: int
    extractor: str
    dim: int


def frechet_distance(
    real: Iterable[Tensor],
    other: Iterable[Tensor],
    extractor: "Literal['inception'] | Encoder | nn.Module",
    inception: Path | None = None,
) -> FidResult:
    """The squared Fréchet distance between two sets of images.

    Args:
        real: batches float [m, C, R, R] in [0, 1], C = 1 or 3; batches may differ in m, and may be empty.
        other: the same for the other set. The distance is symmetric.
        extractor: "inception" (the InceptionV3 of Heusel et al. with its published weights, given bytes of three
            channels that are resized to 299 px bilinearly, with antialiasing where they are larger), an `Encoder`, or a
            module float [m, C, R, R] -> [m, dim] with an int attribute `dim`.
        inception: the file of InceptionV3's weights; by default the published ones, kept where torch.hub keeps its own.

    The covariance of n images has rank n - 1 at most, and the distance of small sets is biased upwards by about
    dim / n. So n <= dim gives a warning; it is no error, because distances at equal n can still be compared.

    Raises:
        DataError: for fewer than two images in a set, or features that are not finite, or if Inception's weights are
            missing and cannot be downloaded.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    features = _Features(*_inception(inception)) if extractor == "inception" else _Features(*_named(extractor))
    metric = FrechetInceptionDistance(feature=features)
    for name, batches, is_real in (("first", real, True), ("second", other, False)):
        for batch in progress(batches, f"features of the {name} set", "batch"):
            if len(batch):
                metric.to(batch.device)
                metric.update(batch, real=is_real)
    counts = int(metric.real_features_num_samples), int(metric.fake_features_num_samples)
    if min(counts) < 2:
        raise DataError(
            f"a Fréchet distance needs two images or more in each set, not {counts[0]} and {counts[1]}; raise samples"
        )
    if min(counts) <= features.num_features:
        warnings.warn(
            f"{min(counts)} images for {features.num_features} features ({features.name}): the covariance is singular "
            "and the Fréchet distance biased upwards; compare it only with distances at equal counts",
            stacklevel=2,
        )
    sums = (metric.real_features_cov_sum, metric.fake_features_cov_sum)
    if not all(bool(torch.isfinite(each).all()) for each in sums):
        raise DataError(f"{features.name} gave features that are not finite; check the images and its weights")
    value = float(metric.compute())
    scale = float(sum(each.trace() for each in sums)) / min(counts)
    return FidResult(0.0 if -_TINY * scale < value < 0 else value, *counts, features.name, features.num_features)


class _Features(nn.Module):
    """The extractor in the form that torchmetrics takes. It returns float64, so that distances are computed in it."""

    def __init__(self, extract: Callable[[Tensor], Tensor], dim: int, name: str) -> None:
        super().__init__()
        self.extract, self.num_features, self.name = extract, dim, name

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.extract(images).to(images.device, torch.float64)


def _named(extractor: Any) -> tuple[Callable[[Tensor], Tensor], int, str]:
    return extractor, int(extractor.dim), str(getattr(extractor, "name", type(extractor).__name__))


def _inception(weights: Path | None) -> tuple[Callable[[Tensor], Tensor], int, str]:
    from torchmetrics.image.fid import NoTrainInceptionV3

    if weights is None:
        published = InceptionSpec()
        weights = Path(torch.hub.get_dir(), "checkpoints", published.url.rpartition("/")[2])
        fetch_inception(published.url, published.sha256, weights, sealed=False)
    _refuse_code(weights)
    inception = NoTrainInceptionV3("inception-v3-compat", [str(_INCEPTION_DIM)], str(weights))

    def extract(images: Tensor) -> Tensor:
        pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
        features: Tensor = inception.to(images.device)(pixels)
        return features

    return extract, _INCEPTION_DIM, "InceptionV3"


def fetch_inception(url: str, sha256: str, path: Path, sealed: bool = True) -> None:
    """Download InceptionV3's weights, unless they are there, and check that they hold tensors alone.

    Args:
        url: where they are.
        sha256: of the file, or the first digits.
        path: where they are to be, whole or not at all.
        sealed: whether to write its digest beside it, in a folder that holds nothing else (`dpmix.seals`).

    Raises:
        DataError: if they cannot be downloaded, or are not what they should be.
    """
    try:
        download(url, path, f"sha256:{sha256}", "InceptionV3")
    except (OSError, http.client.HTTPException, DataError) as error:
        raise DataError(
            f"InceptionV3's weights could not be downloaded ({one_line(error, 200)}); on a machine with network get "
            f"{url} and put it at {path}, or measure with an encoder instead"
        ) from error
    _refuse_code(path)
    if sealed:
        seal_folder(path.parent)


def _refuse_code(path: Path) -> None:
    """Refuse a file that is not tensors alone.

    Raises:
        DataError: for any other file, or none.
    """
    if not path.is_file():
        raise DataError(f"InceptionV3's weights are not at {path}; run the step that fetches them")
    try:
        # torch-fidelity unpickles the file without restriction; what loads here has nothing that could run there.
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError: all mean a file that is not the weights
        raise DataError(f"{path} is damaged or not InceptionV3's weights; delete it and run this again") from error
