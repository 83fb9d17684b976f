"""`Encoder`: a frozen image encoder, either the image tower of an OpenCLIP model or a timm backbone.

Its library (`dpmix.models.libraries`) fetches one into a folder; `dpmix.models.encoder_files` loads it from there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dpmix.errors import DataError, ParamsError
from dpmix.models.folding import folded
from dpmix.models.low_precision import REMAINDER, cast_images, cast_network, chunks, padded

# In a forward pass on a processor: so few that what one layer hands to the next stays in its cache.
_PIXELS_AT_A_TIME = 300_000


def _compiled(visual: nn.Module, device: torch.device, wanted: bool) -> Callable[[Tensor], Any]:
    return torch.compile(visual) if wanted and device.type == "cuda" else visual


def _laid_out(visual: nn.Module) -> nn.Module:
    """With channels last, where there are depthwise convolutions, which are faster so."""
    if any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in visual.modules()):
        return visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    return visual


class Encoder:
    """A frozen image encoder x -> phi(x), where phi(x) is the projected image embedding before normalisation.

    Args:
        visual: maps normalised images [m, 3, R, R] to embeddings [m, dim]; put into eval mode, gradients switched off.
        resolution: R, side in pixels of the images that `visual` takes.
        mean: of each channel, subtracted from images in [0, 1].
        std: of each channel, by which they are then divided.
        interpolation: by which images of another size are resized, `bilinear` or `bicubic`.
        device: where to compute.
        dtype: bfloat16 or float16 for the forward pass; None is float32.
        batch_size: images in a forward pass; by default 512, and on a processor fewer of large ones.
        name: for messages.
        text: the text tower, for zero-shot classification.
        compiled: whether to use `torch.compile`, on a GPU.

    Attributes:
        dim: length of an embedding.
        precision: in which embeddings lose nothing: that of a network whose weights are in low precision, else float32.
        resolution: R; images of other sizes are resized to it.
        logit_scale: the learnt inverse temperature of the contrastive loss, for zero-shot logits; None without text.

    Raises:
        DataError: if one image's embedding depends on other images of the batch (`embedding_length`). Then
            one example's gradient would depend on other examples, and clipping it would bound nothing.
        ParamsError: for any other dtype.
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
        batch_size: int | None = None,
        name: str = "encoder",
        text: "TextTower | None" = None,
        compiled: bool = False,
    ) -> None:
        if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
            raise ParamsError(f"an encoder does not compute in {dtype}; give float32, bfloat16 or float16")
        self.resolution, self.name = int(resolution), name
        self.device = torch.device(device)
        on_cpu = self.device.type == "cpu"
        few = min(512, max(4, _PIXELS_AT_A_TIME // self.resolution**2))
        self.batch_size = int(batch_size or (few if on_cpu else 512))
        self._dtype = None if dtype is torch.float32 else dtype
        self._interpolation = interpolation if interpolation in ("bilinear", "bicubic") else "bicubic"
        self._visual = visual.requires_grad_(False).eval().to(self.device)
        self._visual = _laid_out(self._visual)
        self._mean = torch.tensor(mean, device=self.device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).reshape(1, 3, 1, 1)
        self._text = text
        self.logit_scale = None if text is None else text.logit_scale
        self.dim = embedding_length(self._visual, self.resolution, self.device, name)
        self._cast, self.precision = False, torch.float32
        # In float32 a feature depends on their number by rounding alone, and on a processor one image would cost 64.
        self._remainder = REMAINDER if self._dtype is not None and self.device.type == "cuda" else None
        if self._dtype is not None:
            trial = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
            low = cast_network(self._visual, self._dtype, trial.to(self.device), _embed)
            if low is not None:
                self._visual, self._cast = low, True
                with torch.inference_mode():
                    given = cast_images(trial.to(self.device), self._dtype)
                    self.precision = _embed(low, given).dtype
        # `torch.compile` makes a wrapper, and folding a copy; `_visual` stays the plain network.
        plain = on_cpu and self._dtype is None
        runs = _laid_out(folded(self._visual)) if plain else self._visual
        self._run = _compiled(runs, self.device, compiled)

    def __call__(self, images: Tensor) -> Tensor:
        """The embeddings of some images.

        Images are resized to `resolution`, grey ones repeated over three channels, and normalised with the encoder's
        mean and standard deviation. They go through the network in batches, so m may be large; on a GPU in low
        precision in batches of two sizes alone (`dpmix.models.low_precision.chunks`). No gradient is recorded.

        Args:
            images: float [m, C, R, R] in [0, 1], C = 1 or 3, any R.

        Returns:
            float32 [m, dim] on the encoder's device.

        Raises:
            ValueError: for images of another shape.
            RuntimeError: if a part of the network was put into training mode.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
            raise ValueError(f"expected images [m, 1 or 3, R, R], not {list(images.shape)}")
        if any(module.training for module in self._visual.modules()):
            raise RuntimeError(f"{self.name} was put into training mode; an encoder stays frozen, in eval mode")
        features = torch.empty(len(images), self.dim, device=self.device)
        autocast = self._dtype is not None and not self._cast
        with torch.inference_mode(), torch.autocast(self.device.type, self._dtype, enabled=autocast):
            for part, size in chunks(len(images), self.batch_size, self._remainder):
                given = self._normalised(images[part])
                features[part] = _embed(self._run, padded(given, size))[: len(given)]
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

    @property
    def visual(self) -> nn.Module:
        """The network itself: maps normalised images [m, 3, R, R] of side `resolution` to embeddings [m, dim]."""
        return self._visual

    @property
    def normalization(self) -> tuple[list[float], list[float]]:
        """What each channel is reduced by, and then divided by."""
        # Seven digits say a float32.
        mean, std = ([float(f"{one:.7g}") for one in values.flatten().tolist()] for values in (self._mean, self._std))
        return mean, std

    def resizing(self, side: int) -> Tensor:
        """The matrix A, float32 [resolution, side], by which images X [m, C, side, side] are resized to A X A^T.

        Entries outside [0, 1] are then clamped. Interpolation with antialiasing is linear, and the same for rows and
        columns; so two products say it to programs that have another interpolation, or none.
        """
        # A channel for each row, in which this row alone is 1.
        units = torch.eye(side)[None, :, :, None].repeat(1, 1, 1, side)
        size = (self.resolution, self.resolution)
        resized = functional.interpolate(
            units, size=size, mode=self._interpolation, align_corners=False, antialias=True
        )
        return resized[0, :, :, 0].T.contiguous()

    def zero_shot_weights(self, classes: Sequence[str], template: str | Sequence[str] = "a photo of a {}") -> Tensor:
        """The weights of the zero-shot classifier (Radford et al., 2021): normalised text embeddings of the classes.

        Logits are `logit_scale * normalize(phi(x)) @ weights.T`. With several templates, a class's weight is the
        normalised mean of their normalised embeddings (a prompt ensemble).

        Args:
            classes: names of the classes.
            template: a caption with `{}` for the name, or several.

        Returns:
            float32 [classes, dim], rows of norm 1.

        Raises:
            ParamsError: if the encoder has no text tower, or a template has no `{}`.
        """
        if self._text is None:
            raise ParamsError(f"{self.name} has no text tower, hence no zero-shot classifier; use an OpenCLIP model")
        templates = [template] if isinstance(template, str) else list(template)
        if not templates or any("{}" not in each for each in templates):
            raise ParamsError(
                "a prompt template does not name the class; write {} where the name goes, as in 'a photo of a {}'"
            )
        embeddings = [self._text([each.format(name) for name in classes]) for each in templates]
        mean = torch.stack([functional.normalize(each, dim=-1) for each in embeddings]).mean(0)
        return functional.normalize(mean, dim=-1).to(self.device)


class TextTower:
    """The text tower of an OpenCLIP model. The tokenizer is loaded at the first call, since most runs need none."""

    def __init__(self, model: nn.Module, source: str) -> None:
        self._model, self._source = model.eval(), source
        self.logit_scale = float(model.logit_scale.detach().exp().reshape(-1)[0])  # type: ignore[operator]

    def __call__(self, captions: list[str]) -> Tensor:
        """The embeddings of some captions, float32 [captions, dim], before normalisation."""
        import open_clip

        tokens = open_clip.get_tokenizer(self._source)(captions)
        with torch.no_grad():  # on the CPU, which is fast enough for one caption per class
            embeddings: Tensor = self._model.encode_text(tokens)  # type: ignore[operator]
        return embeddings.float()


def _embed(visual: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    output = visual(images)
    # CoCa's tower also returns the tokens that its captioner reads.
    embeddings: Tensor = output[0] if isinstance(output, tuple) else output
    return embeddings


def embedding_length(visual: nn.Module, resolution: int, device: torch.device, name: str) -> int:
    """The length of an embedding, once it is checked that an image's embedding depends on no other image of its batch.

    Two checks look at the modules: none may be in training mode (dropout, batch norm), and no batch norm may lack
    running statistics, because it would use those of the batch even in eval mode. A third embeds one image in two
    batches that differ in the other image, and compares.

    Args:
        visual: maps images [m, 3, R, R] to embeddings [m, dim].
        resolution: R, in pixels.
        device: where `visual` is.
        name: for messages.

    Returns:
        dim, the length of an embedding.

    Raises:
        DataError: if a check fails, or `visual` does not give one finite vector per image.
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
