"""One ONNX file of a model's folder: from pixels to probabilities, for programs without torch or dpmix.

Its input `images` is float32 [batch, C, S, S] in [0, 1], where S is `resolution` and C `channels` of `config.json`; its
output `probabilities` is float32 [batch, classes]. Inside are the encoder with its own resizing and normalisation, the
standardisation of features, the head, and softmax. Decoding, resizing an image's shorter side to S and cropping its
centre are left to the program; `config.json` says how, and the file's metadata has the labels.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dpmix.errors import DpmixError, one_line
from dpmix.files import atomic_file
from dpmix.own.model.model_folder import ModelFolder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpmix.params.models import ModelSpec

OPSET = 18


def write(folder: ModelFolder, path: Path) -> None:
    """Write the file, whole or not at all.

    Args:
        folder: the model.
        path: the file.

    Raises:
        DataError: if the folder is damaged.
        DpmixError: if onnx and onnxscript are not installed, or the network has a part that ONNX lacks.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (the exporter needs it)
    except ImportError as error:
        raise DpmixError("ONNX needs onnx and onnxscript; pip install onnx onnxscript") from error
    import torch

    network = whole(folder)
    side, channels = int(folder.config["resolution"]), int(folder.config["channels"])
    example = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with atomic_file(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
            assert program is not None
            made = program.model_proto
            onnx.helper.set_model_props(made, {"labels": json.dumps(folder.classes, ensure_ascii=False)})
            onnx.save(made, temporary)
    except DpmixError:
        raise
    except Exception as error:  # the exporter has an error of its own for each of its stages
        raise DpmixError(
            f"{folder.path} has a part that ONNX lacks ({one_line(error, 200)}); hand out the folder itself"
        ) from error
    finally:
        logging.disable(before)


def whole(folder: ModelFolder) -> "nn.Module":
    """The model as one module on the CPU, from images float32 [m, C, S, S] in [0, 1] to probabilities [m, classes].

    Raises:
        DataError: if the folder is damaged.
    """
    import torch
    from torch import nn

    from dpmix.models.encoder_files import load_encoder
    from dpmix.params.models import EncoderSpec

    spec, weights = _read(folder.model)
    if not isinstance(spec, EncoderSpec):
        from dpmix.models.networks import build_network

        network = build_network(spec, int(folder.config["channels"]), len(folder.classes), seed=0).eval()
        network.load_state_dict(weights)
        return nn.Sequential(network, nn.Softmax(dim=1)).eval()

    assert folder.encoder is not None
    encoder = load_encoder(folder.encoder, "cpu", dtype=torch.float32, side=spec.side)
    mean, std = encoder.normalization
    resize = None if spec.resolution == encoder.resolution else encoder.resizing(spec.resolution)

    class Whole(nn.Module):
        mean: "Tensor"
        std: "Tensor"
        weight: "Tensor"
        bias: "Tensor"
        resize: "Tensor | None"
        shift: "Tensor | None"
        scale: "Tensor | None"

        def __init__(self) -> None:
            super().__init__()
            self.visual = encoder.visual
            for name, value in {
                "mean": torch.tensor(mean).reshape(1, 3, 1, 1),
                "std": torch.tensor(std).reshape(1, 3, 1, 1),
                "resize": resize,
                **{name: weights.get(name) for name in ("weight", "bias", "shift", "scale")},
            }.items():
                self.register_buffer(name, value)

        def forward(self, images: "Tensor") -> "Tensor":
            if self.resize is not None:
                images = (self.resize @ images @ self.resize.T).clamp(0, 1)
            features = self.visual((images - self.mean) / self.std)
            features = features[0] if isinstance(features, tuple) else features
            if self.shift is not None and self.scale is not None:
                features = (features - self.shift) * self.scale
            return torch.softmax(features @ self.weight.T + self.bias, dim=1)

    return Whole().eval()


def _read(model: Path) -> "tuple[ModelSpec, dict[str, Tensor]]":
    """What was trained, and its weights by name."""
    from pydantic import TypeAdapter
    from safetensors import safe_open

    from dpmix.params.models import ModelSpec
    from dpmix.release.statement import whole as whole_file

    with whole_file(model), safe_open(model, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec: ModelSpec = TypeAdapter(ModelSpec).validate_json((file.metadata() or {})["model"])
    return spec, weights
