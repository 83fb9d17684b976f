"""Frozen image encoders: OpenCLIP's towers (and timm's backbones), behind one small call.

Every encoder lives in a folder of its own, the demo's tiny ones exactly as the real ones:

    open_clip_config.json  open_clip_model.safetensors      read by OpenCLIP under `local-dir:<folder>`
    config.json            model.safetensors                read by timm under `local-dir:<folder>`

`fetch_encoder` writes such a folder once, with network; `load_encoder` reads it, without. OpenCLIP takes seconds to
import, so this module imports it only inside the functions that need it.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dpmix.errors import DataError, ParamsError
from dpmix.execution import Execution, Precision
from dpmix.files import atomic_directory, read_json, write_json
from dpmix.models.architectures import TIMM_PREFIX, nearest
from dpmix.models.low_precision import cast_images, cast_network
from dpmix.network import full_disk, retried

OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TIMM_CONFIG, TIMM_WEIGHTS = "config.json", "model.safetensors"


def _dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """What an encoder computes in on this device; None is float32."""
    if precision != "auto":
        return None if precision == "float32" else getattr(torch, precision)
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _compiled(visual: nn.Module, device: torch.device, wanted: bool) -> Callable[[Tensor], Any]:
    return torch.compile(visual) if wanted and device.type == "cuda" else visual


class Encoder:
    """A frozen image encoder x -> phi(x), the un-normalised projected image embedding.

    Attributes:
        dim: length of an embedding.
        resolution: side in pixels that the encoder sees; other sizes are resized to it.
        logit_scale: the learnt inverse temperature of the contrastive loss, for zero-shot logits; None without text.

    Each row of the result depends on its own image alone: parameters are frozen, every module is in eval mode, and a
    network whose rows depend on each other is refused with a `DataError` (`refuse_mixing`). Without that, the gradient
    of one example would depend on another, and clipping would bound nothing.
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
        text: "_Text | None" = None,
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
        self.dim = refuse_mixing(self._visual, self.resolution, self.device, name)
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


class _Text:
    """The text side of an OpenCLIP model. Its tokenizer is made when first asked for: most runs never do."""

    def __init__(self, model: nn.Module, source: str) -> None:
        self._model, self._source = model.eval(), source
        self.logit_scale = float(model.logit_scale.detach().exp().reshape(-1)[0])  # type: ignore[operator]

    def __call__(self, captions: list[str]) -> Tensor:
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


def refuse_mixing(visual: nn.Module, resolution: int, device: torch.device, name: str) -> int:
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


def shared_encoder(directory: Path, execution: Execution) -> "Encoder":
    """The encoder in a folder, loaded once in a process for each way to compute.

    Args:
        directory: as for `load_encoder`.
        execution: on which device, in which precision and whether compiled; where precision is `auto`, half precision
            on a GPU is bfloat16, or float16 if the GPU has no bfloat16. Embeddings are float32 either way.
    """
    how = (execution.where(), execution.encoder_precision, execution.compile_encoder)
    return _loaded(directory.resolve(), *how)


@functools.cache
def _loaded(directory: Path, device: str, precision: Precision, compiled: bool) -> "Encoder":
    dtype = _dtype(precision, torch.device(device)) or torch.float32
    return load_encoder(directory, device=device, dtype=dtype, compiled=compiled)


def load_encoder(
    directory: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int = 512,
    compiled: bool = False,
) -> Encoder:
    """Read an encoder from the folder that `fetch_encoder` or the demo wrote; never touches the network.

    Args:
        directory: the folder, in OpenCLIP's or timm's own format, with safetensors weights.
        device: where to compute.
        dtype: bfloat16, float16 or float32; by default float32 on the CPU and half precision on a GPU. Embeddings are
            float32 either way.
        batch_size: images per forward pass.
        compiled: whether `torch.compile` makes kernels for the network, which takes a minute once; on a GPU only.

    Raises:
        DataError: files are missing, damaged or do not fit together, or the model mixes examples. Weights that are
            missing are never replaced by random ones.
    """
    directory, device = Path(directory), torch.device(device)
    dtype = _dtype("auto", device) if dtype is None else dtype
    for config, weights, load in (
        (OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, _load_open_clip),
        (TIMM_CONFIG, TIMM_WEIGHTS, _load_timm),
    ):
        if (directory / config).is_file():
            if not (directory / weights).is_file():
                raise DataError(f"{directory / weights} does not exist; fetch or train the encoder again")
            read_json(directory / config)
            try:
                arguments = load(directory)
            except Exception as error:  # each library has its own errors for a folder that does not fit together
                reason = " ".join(str(error).split())[:200]
                raise DataError(f"{directory} is not a whole encoder ({reason}); fetch or train it again") from error
            name = str(directory)
            how: dict[str, Any] = {"device": device, "dtype": dtype, "batch_size": batch_size, "compiled": compiled}
            return Encoder(**arguments, **how, name=name)
    raise DataError(f"{directory} holds no encoder ({OPEN_CLIP_CONFIG} is missing); fetch or train it first")


def _load_open_clip(directory: Path) -> dict[str, Any]:
    import open_clip

    import dpmix.models.small_repvgg
    import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm

    source = f"local-dir:{directory}"
    with _quiet():
        model = open_clip.create_model(source, require_pretrained=True)
    preprocess: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"]
    return {
        "visual": model.visual,
        "resolution": size if isinstance(size, int) else size[0],
        "mean": preprocess["mean"],
        "std": preprocess["std"],
        "interpolation": preprocess.get("interpolation", "bicubic"),
        "text": _Text(model, source),
    }


def _load_timm(directory: Path) -> dict[str, Any]:
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


def save_encoder(model: nn.Module, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], out: Path) -> None:
    """Write an OpenCLIP model as the folder that `load_encoder` reads, whole or not at all."""
    from safetensors.torch import save_file

    with atomic_directory(Path(out)) as folder:
        write_json(folder / OPEN_CLIP_CONFIG, {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / OPEN_CLIP_WEIGHTS, metadata={"format": "pt"})


def fetch_encoder(architecture: str, pretrained: str, out: Path) -> None:
    """Download an encoder and write it to the folder `out`, for `load_encoder` to read without network.

    Args:
        architecture: a model of OpenCLIP, such as `ViT-B-16` or `convnext_base_w`; or `timm/<model>` for a backbone of
            timm, such as `timm/vit_base_patch14_dinov2`, which has no text tower and hence no zero-shot classifier.
        pretrained: the tag of its weights, such as `laion2b_s34b_b88k` or `laion2b_s13b_b82k`.
        out: the folder to write. For a machine without network: weights that lie at `<out>.safetensors` are used
            instead of a download.

    Raises:
        ParamsError: no such architecture or tag; the message lists the nearest names.
        DataError: the weights could not be downloaded; the message says which file to put where.
    """
    out = Path(out)
    if architecture.startswith(TIMM_PREFIX):
        _fetch_timm(architecture.removeprefix(TIMM_PREFIX), pretrained, out)
    else:
        _fetch_open_clip(architecture, pretrained, out)


def skeleton(architecture: str, device: torch.device) -> tuple[nn.Module, nn.Module, int]:
    """An architecture without weights: the whole model, its image tower, and the side in pixels that it sees.

    On the meta device it takes no memory, which is enough to count operations and parameters.

    Raises:
        ParamsError: no such architecture.
    """
    if architecture.startswith(TIMM_PREFIX):
        import timm

        name = architecture.removeprefix(TIMM_PREFIX)
        _known("timm model", name, timm.list_models())
        with device:
            backbone = timm.create_model(name, pretrained=False, num_classes=0).eval()
        return backbone, backbone, timm.data.resolve_model_data_config(backbone)["input_size"][-1]
    import open_clip

    from dpmix.demo.encoder import ARCHITECTURES, configuration

    with _quiet(), device:
        if architecture in ARCHITECTURES:
            import dpmix.models.small_repvgg
            import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm

            model = open_clip.CLIP(**configuration(architecture))
        else:
            _known("OpenCLIP model", architecture, open_clip.list_models())
            model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False, device=device)
    size = model.visual.image_size
    return model.eval(), model.visual, size if isinstance(size, int) else size[0]


def _by_hand(out: Path) -> Path:
    return out.with_name(out.name + ".safetensors")


def _fetch_open_clip(architecture: str, pretrained: str, out: Path) -> None:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    _known("OpenCLIP model", architecture, open_clip.list_models())
    _known(f"weights of {architecture}", pretrained, open_clip.list_pretrained_tags_by_model(architecture))
    tag = get_pretrained_cfg(architecture, pretrained)
    model_cfg = open_clip.get_model_config(architecture)
    # Some architectures exist with either activation, and only the tag knows which one its weights were trained with.
    quick_gelu = bool(tag.get("quick_gelu", False)) or bool(model_cfg.get("quick_gelu", False))
    if quick_gelu:
        model_cfg["quick_gelu"] = True
    by_hand = _by_hand(out)
    colours = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None}
    try:
        with _quiet():
            model = retried(
                lambda: open_clip.create_model(
                    architecture,
                    pretrained=str(by_hand) if by_hand.is_file() else pretrained,
                    force_quick_gelu=quick_gelu,
                    force_preprocess_cfg=colours,
                    require_pretrained=True,
                ),
                f"{architecture} / {pretrained}",
            )
    except Exception as error:
        _refuse_full_disk(error, out)
        if by_hand.is_file():
            raise DataError(f"{by_hand} does not hold the weights of {architecture}; fetch the file again") from error
        hub = str(tag.get("hf_hub") or "")
        source = f"open_clip_model.safetensors of {hub.rstrip('/')} on the Hugging Face hub" if hub else tag.get("url")
        raise DataError(
            f"the weights of {architecture} / {pretrained} could not be downloaded; on a machine with network get "
            f"{source}, put it at {by_hand}, and run this again"
        ) from error
    used = open_clip.get_model_preprocess_cfg(model)
    preprocess_cfg = {key: used[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in used}
    save_encoder(model, model_cfg, preprocess_cfg, out)


def _fetch_timm(architecture: str, pretrained: str, out: Path) -> None:
    import timm

    _known("timm model", architecture, timm.list_models())
    name = f"{architecture}.{pretrained}" if pretrained else architecture
    _known(f"weights of {TIMM_PREFIX}{architecture}", name, timm.list_models(f"{architecture}.*", pretrained=True))
    by_hand = _by_hand(out)
    overlay = {"file": str(by_hand)} if by_hand.is_file() else None
    try:
        with _every_weight():
            model = retried(
                lambda: timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay), name
            )
    except Exception as error:
        _refuse_full_disk(error, out)
        if overlay:
            raise DataError(f"{by_hand} does not hold the weights of {name}; fetch the file again") from error
        raise DataError(
            f"the weights of {name} could not be downloaded; on a machine with network get model.safetensors of "
            f"timm/{name} on the Hugging Face hub, put it at {by_hand}, and run this again"
        ) from error
    save_timm_encoder(model, out)


@contextlib.contextmanager
def _every_weight() -> Iterator[None]:
    """Refuse weights that leave a part of a network random: without its classifier, timm loads what there is."""
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


def save_timm_encoder(model: nn.Module, out: Path) -> None:
    """Write a timm backbone (made with `num_classes=0`) as the folder that `load_encoder` reads."""
    from timm.models import save_for_hf

    with atomic_directory(Path(out)) as folder:
        save_for_hf(model, str(folder), safe_serialization=True)


def _refuse_full_disk(error: Exception, out: Path) -> None:
    if full_disk(error):
        raise DataError(f"no space left for the weights of {out}; free some and run the same command again") from error


def _known(kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ParamsError(f"no {kind} is called {name!r}; the nearest are {nearest(name, names)}; correct params.yaml")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCLIP logs an error before it raises it; what it raises is reported in our own words."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
