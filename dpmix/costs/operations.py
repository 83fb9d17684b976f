"""Counts the floating-point operations of one image through each model.

They are counted on the real architectures, built on torch's meta device, where tensors take no memory.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.models import EncoderSpec, ModelSpec, NetworkSpec
from dpmix.params.registries import encoder_library
from dpmix.params.specs import DiffusionSpec

INCEPTION = "inception"

FLOAT32 = 4  # bytes

_HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Diffusion:
    """The cost of a text-to-image model at 512 px.

    Attributes:
        step: operations of one denoising step for one image.
        once: operations per image outside the steps: text encoder, decoder, safety checker.
        parameters: the number of its parameters.
    """

    step: float
    once: float
    parameters: int


# Counted with torch.utils.flop_counter on diffusers' and transformers' classes in the configurations of the repository:
# one U-Net pass over latents of 64 x 64 with a caption of 77 tokens 803 GFLOP; decoder 2,515; text encoder 13; safety
# checker (CLIP ViT-L/14 at 224 px) 162. Parameters 860 + 84 + 123 + 304 million. A test counts U-Net and decoder again.
DIFFUSION = {"CompVis/stable-diffusion-v1-4": Diffusion(803e9, 2515e9 + 13e9 + 162e9, 1_370_000_000)}

_COUNTED_AT = 512


class Tower(NamedTuple):
    """What is counted of an encoder's image tower: operations of an image forward, and the length of embeddings."""

    forward: float
    width: int


# Those of the paper's scale, counted as below: whoever needs no more need not build them, which takes seconds. A test
# counts them again.
TOWERS = {"ViT-B-16": Tower(35_126_906_880.0, 512), "convnext_base_w": Tower(40_108_949_504.0, 640)}


@dataclass(frozen=True)
class Cost:
    """The floating-point operations of one image: a forward pass, and a forward and backward pass (`training`)."""

    forward: float
    training: float


class Costs:
    """The cost of one image through each model of a scale; each is counted when it is first needed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._models: dict[str, ModelSpec] = dict(catalogue.params.models)
        self._bundle = catalogue.spec.bundle
        self._diffusion = {
            name: spec for name, spec in catalogue.params.diffusion.items() if isinstance(spec, DiffusionSpec)
        }

    def names(self) -> list[str]:
        """The names of all models that can appear in an estimate."""
        return [*self._models, *self._diffusion, INCEPTION]

    def from_scratch(self, model: str) -> bool:
        """Whether a model is trained from scratch."""
        return model in self._models and not self._models[model].frozen

    def of(self, model: str) -> Cost | None:
        """The cost of one image through a model; None for a text-to-image model that is not in `DIFFUSION`."""
        if model == INCEPTION:
            return inception_cost()
        if model in self._diffusion:
            flops = drawing_flops(self._diffusion[model])
            return None if flops is None else Cost(flops, flops)
        spec = self._models[model]
        if isinstance(spec, EncoderSpec):
            return encoder_cost(spec.architecture, spec.side)
        # The numbers of channels and classes hardly change the cost.
        return network_cost(spec, channels=3, classes=10)

    @property
    def processes(self) -> int:
        """How many share a run."""
        return max(1, self._bundle.gpus)

    def room(self, model: str) -> float:
        """How many of an encoder's features one process of a job may keep (`kept_gigabytes`)."""
        spec = self._models[model]
        assert isinstance(spec, EncoderSpec)
        precision = self._bundle.encoder_precision
        half = precision in _HALF or (precision == "auto" and self._bundle.gpus > 0)
        size = (FLOAT32 // 2 if half else FLOAT32) * tower(spec.architecture, spec.side).width
        return 1e9 * self._bundle.kept_gigabytes / self.processes / size

    def unit(self, model: str) -> float:
        """Operations of one image as throughput counts it: a training step's for a network from scratch, else forward.

        0 for a model whose cost is not known.
        """
        cost = self.of(model)
        if cost is None:
            return 0.0
        return cost.training if self.from_scratch(model) else cost.forward


# Operations -------------------------------------------------------------------------------------------------------
def _count(run: Callable[[], Any]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


@functools.cache
def network_cost(spec: NetworkSpec, channels: int, classes: int) -> Cost:
    """The cost of one image [1, channels, R, R] through a network from scratch; a multiply-add is two operations."""
    import torch

    from dpmix.models.networks import build_network

    with torch.device("meta"):
        model = build_network(spec, channels, classes, seed=0)
        image = torch.empty(1, channels, spec.resolution, spec.resolution)
    return Cost(_count(lambda: model(image)), _count(lambda: model(image).sum().backward()))


@functools.cache
def encoder_cost(architecture: str, side: int | None = None) -> Cost:
    """The cost of one image through an encoder's image tower, which is only run forward.

    Args:
        architecture: as in params.yaml.
        side: of the image that it sees, in pixels; None is its own.

    Raises:
        ParamsError: no such architecture.
    """
    forward = tower(architecture, side).forward
    return Cost(forward, forward)


def tower(architecture: str, side: int | None = None) -> Tower:
    """What is known of an encoder's image tower, or else counted on its layers; arguments are `encoder_cost`'s."""
    known = TOWERS.get(architecture) if side is None else None
    return known or counted_tower(architecture, side)


@functools.cache
def counted_tower(architecture: str, side: int | None = None) -> Tower:
    """The same, counted."""
    import torch

    visual, seen, _ = _encoder(architecture, side)
    image, embedded = torch.empty(1, 3, seen, seen, device="meta"), []
    forward = _count(lambda: embedded.append(visual(image)))
    made = embedded[-1]
    return Tower(forward, int((made[0] if isinstance(made, tuple) else made).shape[-1]))


def encoder_parameters(architecture: str) -> int:
    """The number of an encoder's parameters, those of the text tower included."""
    return _encoder(architecture)[2]


@functools.cache
def _encoder(architecture: str, side: int | None = None) -> tuple[Any, int, int]:
    """The image tower on the meta device, the side in pixels that it sees, and the whole model's parameters."""
    import torch

    model, visual, seen = encoder_library(architecture).skeleton(architecture, torch.device("meta"), side)
    return visual, seen, sum(parameter.numel() for parameter in model.parameters())


@functools.cache
def inception_cost() -> Cost:
    """One image through InceptionV3 at 299 px."""
    import torch
    from torchvision.models import inception_v3

    with torch.device("meta"):
        model = inception_v3(weights=None, init_weights=False, aux_logits=False).eval()
        image = torch.empty(1, 3, 299, 299)
    forward = _count(lambda: model(image))
    return Cost(forward, forward)


def drawing_flops(spec: DiffusionSpec) -> float | None:
    """The operations of drawing one image; None for a model that is not in `DIFFUSION`.

    With classifier-free guidance each step runs the network twice. Costs at 512 px are scaled by the number of pixels;
    because attention grows faster than that, the result is somewhat high below 512 px and low above.
    """
    if spec.model not in DIFFUSION:
        return None
    counted = DIFFUSION[spec.model]
    passes = spec.steps * (2 if spec.guidance_scale > 1 else 1)
    return (passes * counted.step + counted.once) * (spec.resolution / _COUNTED_AT) ** 2
