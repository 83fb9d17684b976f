"""torchvision's networks as an encoder library: what somebody writes who adds one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from typing_extensions import override

from dpmix.files import atomic_directory, read_json, write_json
from dpmix.models.libraries.base import EncoderLibrary, not_fetched, put_by_hand
from dpmix.params.models import EncoderSpec


class Torchvision(EncoderLibrary):
    what, prefix, has_text = "torchvision model", "torchvision/", False
    config_file, weights_file = "torchvision.json", "torchvision.safetensors"

    @override
    def architectures(self) -> Sequence[str]:
        return torchvision.models.list_models(torchvision.models)

    @override
    def weights(self, architecture: str) -> Sequence[str]:
        return list(torchvision.models.get_model_weights(architecture).__members__)

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        from safetensors.torch import load_file, save_file

        name = encoder.architecture.removeprefix(self.prefix)
        try:
            weights = load_file(put_by_hand(out))
        except Exception as error:
            raise not_fetched(error, name, "its weights as safetensors", out) from error
        with atomic_directory(out) as folder:
            write_json(folder / self.config_file, {"architecture": encoder.architecture})
            save_file(weights, folder / self.weights_file)

    @override
    def load(self, directory: Path, side: int | None = None) -> dict[str, Any]:
        from safetensors.torch import load_file

        architecture = read_json(directory / self.config_file)["architecture"]
        model, _, side = self.skeleton(architecture, torch.device("cpu"), side)
        model.load_state_dict(load_file(directory / self.weights_file))
        return {"visual": model, "resolution": side, "mean": (0.5,) * 3, "std": (0.25,) * 3}

    @override
    def skeleton(
        self, architecture: str, device: torch.device, side: int | None = None
    ) -> tuple[nn.Module, nn.Module, int]:
        self.check_architecture(architecture)
        with device:
            model = torchvision.models.get_model(architecture.removeprefix(self.prefix), weights=None).eval()
        return model, model, side or 224


TORCHVISION = Torchvision()
