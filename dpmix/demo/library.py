"""The encoders that are trained here, on public images: as a library, one is trained where another is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from dpmix.models.libraries.base import write_captions, write_side
from dpmix.models.libraries.open_clip import OpenClip, quiet, towers
from dpmix.models.small_encoders import ARCHITECTURES, configuration
from dpmix.params.models import EncoderSpec
from dpmix.seals import sealed_directory

if TYPE_CHECKING:
    import torch
    from torch import nn

_SEED = 0


class TrainedHere(OpenClip):
    """Small encoders in OpenCLIP's format; their weights are `strokes` (drawn digits) or `public` (images given)."""

    what = "encoder that is trained here"

    @override
    def owns(self, architecture: str) -> bool:
        return architecture in ARCHITECTURES

    @override
    def architectures(self) -> Sequence[str]:
        return ARCHITECTURES

    @override
    def weights(self, architecture: str) -> Sequence[str]:
        return "strokes", "public"

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        from dpmix.data import origin
        from dpmix.demo.encoder import train_encoder

        with sealed_directory(out) as folder:
            if encoder.images is None:
                from dpmix.demo.strokes import training_set

                images, labels, classes = training_set()
            else:
                from dpmix.data.folders import read_public

                public = read_public(Path(encoder.images), encoder.resolution)
                images, labels, classes = public.images, public.labels, list(public.classes)
            train_encoder(encoder.architecture, images, labels, classes, folder, _SEED)
            if encoder.images is not None:
                origin.note(folder, Path(encoder.images))
            write_captions(folder, classes)
            write_side(folder, encoder.side)

    @override
    def skeleton(
        self, architecture: str, device: "torch.device", side: int | None = None
    ) -> "tuple[nn.Module, nn.Module, int]":
        import open_clip

        import dpmix.models.small_repvgg
        import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm

        arguments = configuration(architecture)
        if side is not None:
            arguments["vision_cfg"] = {**arguments["vision_cfg"], "image_size": side}
        with quiet(), device:
            model = open_clip.CLIP(**arguments)
        return towers(model)


TRAINED_HERE = TrainedHere()
