"""Names that `params.yaml` may use for code: each stands here beside the place of what it names.

Places are texts, `module:object`, because that code loads torch or stands above this room; it is imported when it is
first used. To add something, write it in a file of its own and put its name here (`docs/add-a-method.md`).
"""

import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

# Published data sets, `dpmix.data.archives.Source` each.
DATA_SETS = {
    "cifar-10": "dpmix.data.published.cifar:CIFAR_10",
    "cifar-100": "dpmix.data.published.cifar:CIFAR_100",
    "eurosat": "dpmix.data.published.eurosat:EUROSAT",
    "caltech256": "dpmix.data.published.caltech256:CALTECH_256",
    "sun397": "dpmix.data.published.sun397:SUN_397",
    "oxford-pet": "dpmix.data.published.oxford_pet:OXFORD_PET",
}

# Clipping modes, classes below `dpmix.privacy.modes.Clipping` each, made without arguments.
CLIPPING_MODES = {
    "flat": "dpmix.privacy.modes:Flat",
    "auto-s": "dpmix.privacy.modes:AutoS",
    "per-layer": "dpmix.privacy.modes:PerLayer",
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

# Kinds of tables, classes below `dpmix.tables.kinds.base.Kind`: what a table of the kind says in the params, which
# cells and artefacts that comes to, and how these are read back.
TABLE_KINDS = {
    "accuracy": "dpmix.tables.kinds.accuracy:AccuracyTable",
    "runtime": "dpmix.tables.kinds.runtime:RuntimeTable",
    "fid-views": "dpmix.tables.kinds.fid:FidViewsTable",
    "fid-sets": "dpmix.tables.kinds.fid:FidSetsTable",
    "external": "dpmix.tables.kinds.external:ExternalTable",
}

# What a field of the params may say: one of the names above. Pydantic takes them when the field is declared.
if TYPE_CHECKING:
    ClippingName = str
    SchedulerName = str
else:
    ClippingName = Literal[*CLIPPING_MODES]
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
