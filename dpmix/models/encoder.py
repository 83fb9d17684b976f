"""Frozen image encoders: OpenCLIP's towers (and timm's backbones), behind one small call.

`dpmix.models.encoder_download` fetches one, once, with network; `dpmix.models.encoder_files` loads it, without.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dpmix.errors import DataError, ParamsError
from dpmix.models.low_precision import cast_images, cast_network


def _compiled(visual: nn.Module, device: torch.device, wanted: bool) -> Callable[[Tensor], Any]:
    return torch.compile(visual) if wanted and device.type == "cuda" else visual


class Encoder:
    """A frozen image encoder x -> phi(x), the un-normalised projected image embedding.

    Attributes:
        dim: length of an embedding.
        resolution: side in pixels that the encoder sees; other sizes are resized to it.
        logit_scale: the learnt inverse temperature of the contrastive loss, for zero-shot logits; None without text.

    Each row of the result depends on its own image alone: parameters are frozen, every module is in eval mode, and a
    network whose rows depend on each other is refused with a `DataError` (`check_examples_independent`). Without that,
    the gradient of one example would depend on another, and clipping would bound nothing.
    """

    def __init__(
        self,
        visual: nn.Module,
        *,
        resolution: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int = 512,
        name: str = "encoder",
        text: "TextTower | None" = None,
        compiled: bool = False,
    ) -> None:
        if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
            raise ParamsError(f"an encoder computes in float32, bfloat16 or float16, not in {dtype}")
        self.resolution, self.name, self.batch_size = int(resolution), name, int(batch_size)
        self.device = torch.device(device)
        self._dtype = None if dtype is torch.float32 else dtype
        self._interpolation = interpolation if interpolation in ("bilinear", "bicubic") else "bicubic"
        self._visual = visual.requires_grad_(False).eval().to(self.device)
        if any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in visual.modules()):
            self._visual = self._visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(mean, device=self.device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).reshape(1, 3, 1, 1)
        self._text = text
        self.logit_scale = None if text is None else text.logit_scale
        self.dim = check_examples_independent(self._visual, self.resolution, self.device, name)
        self._cast = False
        if self._dtype is not None:
            trial = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
            low = cast_network(self._visual, self._dtype, trial.to(self.device), _embed)
            if low is not None:
                self._visual, self._cast = low, True
        # Compiled for itself, the network stays what it is for whoever looks into it.
        self._run = _compiled(self._visual, self.device, compiled)

    def __call__(self, images: Tensor) -> Tensor:
        """Embed images float [m, C, R, R] in [0, 1], C = 1 or 3, any R: float32 [m, dim] on the encoder's device.

        Images are resized if R differs from `resolution`, repeated over channels if grey, and normalised with the
        encoder's own mean and standard deviation; in batches, so m may be large. No gradient is recorded.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
            raise ValueError(f"expected images [m, 1 or 3, R, R], not {list(images.shape)}")
        if any(module.training for module in self._visual.modules()):
            raise RuntimeError(f"{self.name} was put into training mode; an encoder stays frozen, in eval mode")
        features = torch.empty(len(images), self.dim, device=self.device)
        autocast = self._dtype is not None and not self._cast
        with torch.inference_mode(), torch.autocast(self.device.type, self._dtype, enabled=autocast):
            for start in range(0, len(images), self.batch_size):
                batch = slice(start, start + self.batch_size)
                features[batch] = _embed(self._run, self._normalised(images[batch]))
        return features

    def _normalised(self, images: Tensor) -> Tensor:
        images = images.to(self.device, torch.float32, non_blocking=True)
        if images.shape[-1] != self.resolution:
            size = (self.resolution, self.resolution)
            images = functional.interpolate(
                images, size=size, mode=self._interpolation, align_corners=False, antialias=True
            ).clamp(0, 1)  # bicubic overshoots
        images = (images - self._mean) / self._std  # broadcasting also turns one channel into three
        return cast_images(images, self._dtype) if self._cast and self._dtype is not None else images

    def zero_shot_weights(self, classes: Sequence[str], template: str | Sequence[str] = "a photo of a {}") -> Tensor:
        """The zero-shot classifier (Radford et al., 2021): l2-normalised text embeddings, float32 [classes, dim].

        Logits are `logit_scale * normalize(phi(x)) @ weights.T`. With several templates a class's weight is the
        normalised mean of their normalised embeddings (a prompt ensemble).
        """
        if self._text is None:
            raise ParamsError(f"{self.name} has no text tower, hence no zero-shot classifier; use an OpenCLIP model")
        templates = [template] if isinstance(template, str) else list(template)
        if not templates or any("{}" not in each for each in templates):
            raise ParamsError("a prompt template names the class as {}, as in 'a photo of a {}'")
        embeddings = [self._text([each.format(name) for name in classes]) for each in templates]
        mean = torch.stack([functional.normalize(each, dim=-1) for each in embeddings]).mean(0)
        return functional.normalize(mean, dim=-1).to(self.device)


class TextTower:
    """The text side of an OpenCLIP model. Its tokenizer is made when first asked for: most runs never do."""

    def __init__(self, model: nn.Module, source: str) -> None:
        self._model, self._source = model.eval(), source
        self.logit_scale = float(model.logit_scale.detach().exp().reshape(-1)[0])  # type: ignore[operator]

    def __call__(self, captions: list[str]) -> Tensor:
        """Captions to embeddings, float32 [captions, dim]."""
        import open_clip

        tokens = open_clip.get_tokenizer(self._source)(captions)
        with torch.no_grad():  # on the CPU: once per run, a caption per class
            embeddings: Tensor = self._model.encode_text(tokens)  # type: ignore[operator]
        return embeddings.float()


def _embed(visual: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    output = visual(images)
    # CoCa's tower also returns the tokens that its captioner reads.
    embeddings: Tensor = output[0] if isinstance(output, tuple) else output
    return embeddings


def check_examples_independent(visual: nn.Module, resolution: int, device: torch.device, name: str) -> int:
    """Raise a `DataError` if one image's embedding depends on another's; return the embedding's length.

    Refused by structure: anything left in training mode (dropout, batch norm), and batch norm without running
    statistics, which uses the batch's own even in eval mode. Refused by trial: any network that embeds an image
    differently in different company.
    """
    for path, module in visual.named_modules():
        if module.training:
            raise DataError(f"{name}: {path or 'the model'} is in training mode; freeze it in eval mode")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise DataError(
                f"{name}: {path} is a batch norm without running statistics, which mixes examples; use another model"
            )
    draws = torch.Generator().manual_seed(0)
    alone, others = (torch.randn(2, 3, resolution, resolution, generator=draws).to(device) for _ in range(2))
    company = torch.stack([alone[0], others[0]])
    with torch.inference_mode():
        first, second = _embed(visual, alone), _embed(visual, company)
    if first.ndim != 2 or len(first) != 2:
        raise DataError(f"{name} gives {list(first.shape[1:])} per image, not one vector; use a model with pooling")
    if not torch.isfinite(first).all():
        raise DataError(f"{name} gives embeddings that are not finite; fetch its weights again")
    if (first[0] - second[0]).abs().max() > 1e-3 * first[0].abs().max():
        raise DataError(f"{name} mixes examples: an image's embedding depends on the others; use another model")
    return first.shape[1]
