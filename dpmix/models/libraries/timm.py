"""timm's backbones, `timm/<model>`: a folder has `config.json` and `model.safetensors`, timm's own format.

The weights of one of them come with an installed package (`dpmix.models.efficientnet_lite0`), as a tag like any other.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dpmix.errors import DataError
from dpmix.files import read_object
from dpmix.hub import hub_file
from dpmix.models import efficientnet_lite0
from dpmix.models.libraries.base import EncoderLibrary, not_fetched, put_by_hand, write_side
from dpmix.network import retried
from dpmix.params.models import EncoderSpec
from dpmix.seals import sealed_directory

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
        installed = [efficientnet_lite0.WEIGHTS] if architecture == efficientnet_lite0.ARCHITECTURE else []
        return [*installed, *(name.removeprefix(start) for name in timm.list_models(f"{start}*", pretrained=True))]

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        architecture = encoder.architecture.removeprefix(self.prefix)
        if (architecture, encoder.weights) == (efficientnet_lite0.ARCHITECTURE, efficientnet_lite0.WEIGHTS):
            save_timm(efficientnet_lite0.backbone(), out, encoder.side)
            return
        import timm

        name = f"{architecture}.{encoder.weights}"
        by_hand, published = put_by_hand(out), timm.get_pretrained_cfg(name)
        try:
            place = by_hand if by_hand.is_file() else None
            # Fetched here, because timm and the hub's client compare no checksum.
            if place is None and published.hf_hub_id:
                place = hub_file(published.hf_hub_id, [self.weights_file, "pytorch_model.bin"])
            overlay = None if place is None else {"file": str(place)}
            with _every_weight():
                model = retried(
                    lambda: timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay),
                    name,
                )
        except DataError:
            raise
        except Exception as error:
            source = f"{self.weights_file} of timm/{name} on the Hugging Face hub"
            raise not_fetched(error, name, source, out, f"timm/{name}") from error
        save_timm(model, out, encoder.side)

    @override
    def load(self, directory: Path, side: int | None = None) -> dict[str, Any]:
        import timm

        config = read_object(directory / self.config_file, "fetch the encoder again", ("architecture",))
        sized = _sized(config["architecture"], side)
        model = timm.create_model(f"local-dir:{directory}", pretrained=True, num_classes=0, **sized)
        data = timm.data.resolve_model_data_config(model)
        return {
            "visual": model,
            "resolution": side or data["input_size"][-1],
            "mean": data["mean"],
            "std": data["std"],
            "interpolation": data["interpolation"],
        }

    @override
    def skeleton(
        self, architecture: str, device: "torch.device", side: int | None = None
    ) -> "tuple[nn.Module, nn.Module, int]":
        self.check_architecture(architecture)
        import timm

        name = architecture.removeprefix(self.prefix)
        with device:
            model = timm.create_model(name, pretrained=False, num_classes=0, **_sized(name, side)).eval()
        return model, model, side or timm.data.resolve_model_data_config(model)["input_size"][-1]


TIMM = Timm()


def save_timm(model: "nn.Module", out: Path, side: int | None = None) -> None:
    """Write a timm backbone (made with `num_classes=0`) as a folder in timm's format, whole or not at all.

    Args:
        model: with its weights.
        out: the folder.
        side: of the images that it is to see, in pixels; None is its own.
    """
    from timm.models import save_for_hf

    with sealed_directory(Path(out)) as folder:
        save_for_hf(model, str(folder), safe_serialization=True)
        write_side(folder, side)


def _sized(architecture: str, side: int | None) -> dict[str, int]:
    """The argument by which timm builds a model for images of this side; a convolutional one takes any and needs none.

    Models with fixed position embeddings or windows are those that timm marks with `fixed_input_size`; their weights
    are interpolated when they are loaded.
    """
    import timm

    known = timm.get_pretrained_cfg(architecture)
    return {"img_size": side} if side is not None and known is not None and known.fixed_input_size else {}


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
