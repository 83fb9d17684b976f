"""Names that `params.yaml` may use for code: each stands here beside the place of what it names.

Places are texts, `module:object`, because that code loads torch or stands above this room; it is imported when it is
first used. To add something, write it in a file of its own and put its name here (`docs/add-a-method.md`).
"""

import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dpmix.models.libraries.base import EncoderLibrary

# Published data sets, `dpmix.data.archives.Source` each.
DATA_SETS = {
    "cifar-10": "dpmix.data.published.cifar:CIFAR_10",
    "cifar-100": "dpmix.data.published.cifar:CIFAR_100",
    "eurosat": "dpmix.data.published.eurosat:EUROSAT",
    "caltech256": "dpmix.data.published.caltech256:CALTECH_256",
    "sun397": "dpmix.data.published.sun397:SUN_397",
    "oxford-pet": "dpmix.data.published.oxford_pet:OXFORD_PET",
}

# Clipping modes, classes below `dpmix.privacy.modes.Clipping` each. They are made without arguments, but a dataclass
# field with the name of a setting of a run gets the run's value.
CLIPPING_MODES = {
    "flat": "dpmix.privacy.modes:Flat",
    "auto-s": "dpmix.privacy.modes:AutoS",
    "per-layer": "dpmix.privacy.modes:PerLayer",
    "coordinates": "dpmix.privacy.modes:Coordinates",
}

# What is made of a pair of views, instances of classes below `dpmix.views.mixing_modes.MixingMode` each.
MIXING_MODES = {
    "mixup": "dpmix.views.mixing_modes:MIXUP",
    "cutmix": "dpmix.views.mixing_modes:CUTMIX",
    "unmixed": "dpmix.views.mixing_modes:UNMIXED",
}

# Engines that compute a network's clipped sums, classes below `dpmix.training.network.Network` each.
ENGINES = {
    "torch": "dpmix.training.scratch:TorchNetwork",
    "jax": "dpmix.training.jax_network:JaxNetwork",
}

# Classes of diffusers that schedule the steps of a text-to-image model; "default" is the one that it was saved with.
SCHEDULERS = (
    "default",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)

# Libraries that encoders come from, instances of classes below `dpmix.models.libraries.base.EncoderLibrary`: which
# architectures and weights there are, and how one is fetched, read and built. An architecture is looked up in the first
# that owns it; OpenCLIP's have no prefix, so it owns what no other does.
ENCODER_LIBRARIES = {
    "folder": "dpmix.models.libraries.folder:FOLDER",
    "trained here": "dpmix.demo.library:TRAINED_HERE",
    "timm": "dpmix.models.libraries.timm:TIMM",
    "OpenCLIP": "dpmix.models.libraries.open_clip:OPEN_CLIP",
}

# Kinds of tables, classes below `dpmix.tables.kinds.base.Kind`: what a table of the kind says in the params, which
# cells and artefacts that comes to, and how these are read back.
TABLE_KINDS = {
    "accuracy": "dpmix.tables.kinds.accuracy:AccuracyTable",
    "runtime": "dpmix.tables.kinds.runtime:RuntimeTable",
    "fid-views": "dpmix.tables.kinds.fid:FidViewsTable",
    "fid-sets": "dpmix.tables.kinds.fid:FidSetsTable",
    "released": "dpmix.tables.kinds.released:ReleasedTable",
    "privacy": "dpmix.tables.kinds.privacy:PrivacyTable",
    "model-mix": "dpmix.tables.kinds.model_mix:ModelMixTable",
}

# What a field of the params may say: one of the names above. Pydantic takes them when the field is declared.
if TYPE_CHECKING:
    ClippingName = str
    EngineName = str
    MixingName = str
    SchedulerName = str
else:
    ClippingName = Literal[*CLIPPING_MODES]
    EngineName = Literal[*ENGINES]
    MixingName = Literal[*MIXING_MODES]
    SchedulerName = Literal[*SCHEDULERS]


def registered(registry: Mapping[str, str], name: str) -> Any:
    """What a name stands for, imported when it is asked for.

    Args:
        registry: one of this module's.
        name: a key of it.

    Raises:
        KeyError: if it has no such name; where a person wrote it, `dpmix.errors.known` looks first.

    >>> registered(CLIPPING_MODES, "flat")
    <class 'dpmix.privacy.modes.Flat'>
    """
    return pkgutil.resolve_name(registry[name])


def encoder_libraries() -> "list[EncoderLibrary]":
    """The libraries of `ENCODER_LIBRARIES`, in their order."""
    return [registered(ENCODER_LIBRARIES, name) for name in ENCODER_LIBRARIES]


def encoder_library(architecture: str) -> "EncoderLibrary":
    """The library in which an encoder's architecture is to be looked up; it need not have it.

    >>> encoder_library("timm/resnet18").what, encoder_library("tiny-vit").what, encoder_library("ViT-B16").what
    ('timm model', 'encoder that is trained here', 'OpenCLIP model')
    """
    return next(library for library in encoder_libraries() if library.owns(architecture))
