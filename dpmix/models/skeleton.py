"""Builds an encoder's architecture without weights, to count its operations and parameters."""

import torch
from torch import nn

from dpmix.models.architectures import TIMM_PREFIX, check_known
from dpmix.models.encoder_files import quiet


def skeleton(architecture: str, device: torch.device) -> tuple[nn.Module, nn.Module, int]:
    """An architecture without pretrained weights.

    Args:
        architecture: OpenCLIP's name, `timm/<model>`, or one of `small_encoders.ARCHITECTURES`.
        device: where parameters are; on torch's meta device they take no memory.

    Returns:
        The whole model, its image tower, and the side in pixels of the images that it takes.

    Raises:
        ParamsError: if there is no such architecture.
    """
    if architecture.startswith(TIMM_PREFIX):
        import timm

        name = architecture.removeprefix(TIMM_PREFIX)
        check_known("timm model", name, timm.list_models())
        with device:
            backbone = timm.create_model(name, pretrained=False, num_classes=0).eval()
        return backbone, backbone, timm.data.resolve_model_data_config(backbone)["input_size"][-1]
    import open_clip

    from dpmix.models.small_encoders import ARCHITECTURES, configuration

    with quiet(), device:
        if architecture in ARCHITECTURES:
            import dpmix.models.small_repvgg
            import dpmix.models.tiny_convnext  # noqa: F401  # registered with timm

            model = open_clip.CLIP(**configuration(architecture))
        else:
            check_known("OpenCLIP model", architecture, open_clip.list_models())
            model = open_clip.create_model(architecture, load_weights=False, pretrained_text=False, device=device)
    size = model.visual.image_size
    return model.eval(), model.visual, size if isinstance(size, int) else size[0]
