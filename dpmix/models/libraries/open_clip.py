"""OpenCLIP's encoders: a folder has `open_clip_config.json` and `open_clip_model.safetensors`, OpenCLIP's own format.

OpenCLIP takes seconds to import. Names are therefore read from the files of its package, and it is imported only to
build, to fetch and to load.
"""

import ast
import contextlib
import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dpmix.errors import DataError
from dpmix.files import write_json
from dpmix.hub import hub_file
from dpmix.models.libraries.base import EncoderLibrary, not_fetched, put_by_hand, write_side
from dpmix.network import retried
from dpmix.params.models import EncoderSpec
from dpmix.seals import sealed_directory

if TYPE_CHECKING:
    import torch
    from torch import nn


class OpenClip(EncoderLibrary):
    """Image and text towers of contrastive language-image models, such as `ViT-B-16` with `laion2b_s34b_b88k`."""

    what, prefix, has_text = "OpenCLIP model", "", True
    config_file, weights_file = "open_clip_config.json", "open_clip_model.safetensors"

    @override
    def architectures(self) -> Sequence[str]:
        return sorted(path.stem for path in (_package() / "model_configs").glob("*.json"))

    @override
    def weights(self, architecture: str) -> Sequence[str]:
        return _tags().get(architecture, [])

    @override
    def fetch(self, encoder: EncoderSpec, out: Path) -> None:
        self.check(encoder)
        import open_clip
        from open_clip.pretrained import get_pretrained_cfg

        architecture, weights = encoder.architecture, encoder.weights
        tag = get_pretrained_cfg(architecture, weights)
        model_cfg = open_clip.get_model_config(architecture)
        # Some architectures exist with two activations; the tag says which one its weights were trained with.
        quick_gelu = bool(tag.get("quick_gelu", False)) or bool(model_cfg.get("quick_gelu", False))
        if quick_gelu:
            model_cfg["quick_gelu"] = True
        by_hand = put_by_hand(out)
        colours = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None}
        name = f"{architecture} / {weights}"
        repository, _, file = str(tag.get("hf_hub") or "").rpartition("/")
        try:
            with quiet():
                # Fetched here, because OpenCLIP would take any failure for a repository without safetensors, and go on
                # with the pickle of the same weights.
                place = by_hand if by_hand.is_file() else None
                if place is None and repository:
                    place = hub_file(repository, _names_on_hub(file))
                model = retried(
                    lambda: open_clip.create_model(
                        architecture,
                        pretrained=weights if place is None else str(place),
                        force_quick_gelu=quick_gelu,
                        force_preprocess_cfg=colours,
                        require_pretrained=True,
                    ),
                    name,
                )
        except DataError:
            raise
        except Exception as error:
            hub = f"{file or self.weights_file} of {repository} on the Hugging Face hub"
            source = hub if repository else str(tag.get("url"))
            # Where the tag names a file, the repository need not have the two that a folder is read from.
            raise not_fetched(error, name, source, out, repository, as_folder=not file) from error
        used = open_clip.get_model_preprocess_cfg(model)
        preprocess_cfg = {key: used[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in used}
        save_open_clip(model, model_cfg, preprocess_cfg, out, encoder.side)

    @override
    def load(self, directory: Path, side: int | None = None) -> dict[str, Any]:
        import open_clip

        import dpmix.models.small_repvgg
        import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm: encoders that are trained here need it
        from dpmix.models.encoder import TextTower

        source = f"local-dir:{directory}"
        with quiet():
            model = open_clip.create_model(source, require_pretrained=True, force_image_size=side)
        preprocess: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
        size = preprocess["size"]
        return {
            "visual": model.visual,
            "resolution": size if isinstance(size, int) else size[0],
            "mean": preprocess["mean"],
            "std": preprocess["std"],
            "interpolation": preprocess.get("interpolation", "bicubic"),
            "text": TextTower(model, source),
        }

    @override
    def skeleton(
        self, architecture: str, device: "torch.device", side: int | None = None
    ) -> "tuple[nn.Module, nn.Module, int]":
        self.check_architecture(architecture)
        import open_clip

        with quiet(), device:
            model = open_clip.create_model(
                architecture, load_weights=False, pretrained_text=False, device=device, force_image_size=side
            )
        return towers(model)


OPEN_CLIP = OpenClip()


def _names_on_hub(file: str) -> list[str]:
    """The files that may hold a tag's weights, the preferred one first; the tag names one, or leaves it to a custom."""
    if not file:
        return [OpenClip.weights_file, "open_clip_pytorch_model.bin"]
    return [str(Path(file).with_suffix(".safetensors")), file] if file.endswith((".bin", ".pth")) else [file]


def towers(model: "nn.Module") -> "tuple[nn.Module, nn.Module, int]":
    """A model of OpenCLIP's in eval mode, its image tower, and the side in pixels of the images that it takes."""
    visual: Any = model.visual
    size = visual.image_size
    return model.eval(), visual, size if isinstance(size, int) else size[0]


def save_open_clip(
    model: "nn.Module", model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], out: Path, side: int | None = None
) -> None:
    """Write an OpenCLIP model as a folder in OpenCLIP's format, whole or not at all.

    Args:
        model: with its weights.
        model_cfg: arguments of `open_clip.CLIP` that build it.
        preprocess_cfg: how images are resized and normalised.
        out: the folder.
        side: of the images that it is to see, in pixels; None is its own.
    """
    from safetensors.torch import save_file

    with sealed_directory(Path(out)) as folder:
        write_json(folder / OpenClip.config_file, {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / OpenClip.weights_file, metadata={"format": "pt"})
        write_side(folder, side)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context without logging: OpenCLIP logs an error before it raises it, and our message follows anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _package() -> Path:
    found = find_spec("open_clip")
    return Path(*(found.submodule_search_locations or ())) if found else Path()


def _tags() -> dict[str, list[str]]:
    """For each architecture, the tags of its weights, as `open_clip.list_pretrained` has them, without importing it."""
    try:
        return _tags_in((_package() / "pretrained.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, LookupError, AttributeError):  # another version keeps them in another way
        import open_clip

        listed: dict[str, list[str]] = {}
        for architecture, tag in open_clip.list_pretrained():
            listed.setdefault(architecture, []).append(tag)
        return listed


def _tags_in(source: str) -> dict[str, list[str]]:
    """The tags in OpenCLIP's source: `_PRETRAINED = {"<architecture>": dict(<tag>=_pcfg(...)) or the name of one}`.

    Weights that were trained with QuickGELU also belong to a second architecture, `<architecture>-quickgelu`.
    """
    assigned: dict[str, Any] = {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    tags: dict[str, list[str]] = {}
    for key, value in zip(assigned["_PRETRAINED"].keys, assigned["_PRETRAINED"].values, strict=True):
        group = assigned[value.id] if isinstance(value, ast.Name) else value
        tags[key.value] = [one.arg for one in group.keywords]
        quick = [one.arg for one in group.keywords if "quick_gelu=True" in map(ast.unparse, one.value.keywords)]
        if quick:
            tags[f"{key.value}-quickgelu"] = quick
    return tags
