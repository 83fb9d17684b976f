"""Downloads encoders from the Hugging Face hub and OpenCLIP's and timm's servers, each into a folder of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from dpmix.errors import DataError
from dpmix.models.architectures import TIMM_PREFIX, check_known
from dpmix.models.encoder_files import quiet, save_encoder, save_timm_encoder
from dpmix.network import full_disk, retried


def fetch_encoder(architecture: str, pretrained: str, out: Path) -> None:
    """Download an encoder and write it to the folder `out`, for `load_encoder` to read without network.

    Args:
        architecture: a model of OpenCLIP, such as `ViT-B-16` or `convnext_base_w`; or `timm/<model>` for a backbone of
            timm, such as `timm/vit_base_patch14_dinov2`, which has no text tower and hence no zero-shot classifier.
        pretrained: the tag of its weights, such as `laion2b_s34b_b88k` or `laion2b_s13b_b82k`.
        out: the folder to write. If a file `<out>.safetensors` exists, its weights are used and nothing is downloaded,
            for machines without network.

    Raises:
        ParamsError: for an unknown architecture or tag; the message lists the nearest names.
        DataError: if the weights cannot be downloaded; the message says which file to put where.
    """
    out = Path(out)
    if architecture.startswith(TIMM_PREFIX):
        _fetch_timm(architecture.removeprefix(TIMM_PREFIX), pretrained, out)
    else:
        _fetch_open_clip(architecture, pretrained, out)


def _by_hand(out: Path) -> Path:
    return out.with_name(out.name + ".safetensors")


def _fetch_open_clip(architecture: str, pretrained: str, out: Path) -> None:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    check_known("OpenCLIP model", architecture, open_clip.list_models())
    check_known(f"weights of {architecture}", pretrained, open_clip.list_pretrained_tags_by_model(architecture))
    tag = get_pretrained_cfg(architecture, pretrained)
    model_cfg = open_clip.get_model_config(architecture)
    # Some architectures exist with two activations; the tag says which one its weights were trained with.
    quick_gelu = bool(tag.get("quick_gelu", False)) or bool(model_cfg.get("quick_gelu", False))
    if quick_gelu:
        model_cfg["quick_gelu"] = True
    by_hand = _by_hand(out)
    colours = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None}
    try:
        with quiet():
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

    check_known("timm model", architecture, timm.list_models())
    name = f"{architecture}.{pretrained}" if pretrained else architecture
    check_known(f"weights of {TIMM_PREFIX}{architecture}", name, timm.list_models(f"{architecture}.*", pretrained=True))
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
    """A context in which loading a state dict fails if weights are missing.

    timm loads an incomplete file without an error when the model has no classifier, and leaves the rest random.
    """
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


def _refuse_full_disk(error: Exception, out: Path) -> None:
    if full_disk(error):
        raise DataError(f"no space left for the weights of {out}; free some and run the same command again") from error
