"""timm's backbones, `timm/<model>`: a folder has `config.json` and `model.safetensors`, timm's own format."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dpmix.files import atomic_directory
from dpmix.models.libraries.base import EncoderLibrary, not_fetched, put_by_hand
from dpmix.network import retried
from dpmix.params.models import EncoderSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


class Timm(EncoderLibrary):
    """Backbones without a text tower, such as `timm/vit_base_patch14_dinov2` with `lvd142m`."""

    what, prefix, has_text = "timm model", "timm/", False
    config_file, weights_file = "config.json", "model.safetensors"

    @override
    def architectures(self) -> Sequence[str]:
        import timm

        names: list[str] = timm.list_models()
        return names

    @override
    def weights(self, architecture: str) -> Sequence[str]:
        import timm

        start = f"{architecture}."
        return [name.removeprefix(start) for name in timm.list_models(f"{start}*", pretrained=True)]

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        import timm

        name = f"{encoder.architecture.removeprefix(self.prefix)}.{encoder.weights}"
        by_hand = put_by_hand(out)
        overlay = {"file": str(by_hand)} if by_hand.is_file() else None
        try:
            with _every_weight():
                model = retried(
                    lambda: timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay),
                    name,
                )
        except Exception as error:
            source = f"{self.weights_file} of timm/{name} on the Hugging Face hub"
            raise not_fetched(error, name, source, out) from error
        save_timm(model, out)

    @override
    def load(self, directory: Path) -> dict[str, Any]:
        import timm

        model = timm.create_model(f"local-dir:{directory}", pretrained=True, num_classes=0)
        data = timm.data.resolve_model_data_config(model)
        return {
            "visual": model,
            "resolution": data["input_size"][-1],
            "mean": data["mean"],
            "std": data["std"],
            "interpolation": data["interpolation"],
        }

    @override
    def skeleton(self, architecture: str, device: "torch.device") -> "tuple[nn.Module, nn.Module, int]":
        self.check_architecture(architecture)
        import timm

        with device:
            model = timm.create_model(architecture.removeprefix(self.prefix), pretrained=False, num_classes=0).eval()
        return model, model, timm.data.resolve_model_data_config(model)["input_size"][-1]


TIMM = Timm()


def save_timm(model: "nn.Module", out: Path) -> None:
    """Write a timm backbone (made with `num_classes=0`) as a folder in timm's format, whole or not at all."""
    from timm.models import save_for_hf

    with atomic_directory(Path(out)) as folder:
        save_for_hf(model, str(folder), safe_serialization=True)


@contextlib.contextmanager
def _every_weight() -> Iterator[None]:
    """A context in which loading a state dict fails if weights are missing.

    timm loads an incomplete file without an error when the model has no classifier, and leaves the rest random.
    """
    from torch import nn

    load = nn.Module.load_state_dict

    def complete(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        result = load(self, *arguments, **options)
        if result.missing_keys:
            raise ValueError(f"no weights for {', '.join(result.missing_keys)}")
        return result

    nn.Module.load_state_dict = complete  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]
