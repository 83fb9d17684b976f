"""Which registered code an artefact uses, for its digest: transforms, clipping modes, networks, encoders' libraries.

What is not named here is shared code, and counts for every artefact of its room (`dpmix.code.entries`).
"""

from typing import TYPE_CHECKING

from dpmix.code import entry
from dpmix.params.models import EncoderSpec, ModelSpec
from dpmix.params.registries import ENCODER_LIBRARIES, encoder_libraries, encoder_library
from dpmix.params.specs import DatasetSpec
from dpmix.views.settings import ViewSettings
from dpmix.views.transforms import PIXEL_TRANSFORMS, TABLE_4

if TYPE_CHECKING:
    from dpmix.artefacts.experiment import Experiment


def of_views(settings: ViewSettings) -> tuple[str, ...]:
    """What makes these views: their transforms, of `all` those that it chooses from, and what is made of pairs."""
    names = dict.fromkeys(settings.transforms)
    if "all" in names:
        names |= dict.fromkeys(TABLE_4)
    moved = (entry("PIXEL_TRANSFORMS" if name in PIXEL_TRANSFORMS else "INDEX_TRANSFORMS", name) for name in names)
    mixes = settings.k_self > 0 or settings.microbatch_mixup != "none"
    return (*moved, *((entry("MIXING_MODES", settings.mixing),) if mixes else ()))


def of_images(dataset: DatasetSpec) -> tuple[str, ...]:
    """What lists a private data set's images: its loader, if it is a published one."""
    return (entry("DATA_SETS", dataset.name),) if dataset.source == "torchvision" else ()


def of_encoder(encoder: EncoderSpec) -> tuple[str, ...]:
    """What fetches, trains and reads an encoder: its library, and whichever reads files such as it has."""
    own = encoder.library
    held = encoder_library(encoder.architecture.removeprefix(own.prefix)) if own.what == "encoder in a folder" else own
    files = {own.config_file, held.config_file}
    readers = {file: next(one for one in encoder_libraries() if one.config_file == file) for file in files}
    using = (own, held, *readers.values())
    named = zip(ENCODER_LIBRARIES, encoder_libraries(), strict=True)
    libraries = [entry("ENCODER_LIBRARIES", name) for name, one in named if one in using]
    return (*libraries, entry("RECIPES", encoder.architecture))


def of_run(run: "Experiment") -> tuple[str, ...]:
    """What a run is trained by: its views' transforms, clipping mode, trainer, engine and network.

    Its images' and its encoder's are those of its inputs.
    """
    return (
        *of_views(run.view_settings),
        entry("CLIPPING_MODES", run.clipping),
        entry("TRAINERS", run.model.trainer),
        *(of_network(run.model, run.engine) if not isinstance(run.model, EncoderSpec) else ()),
    )


def of_network(model: ModelSpec, engine: str) -> tuple[str, ...]:
    """What a network from scratch is, and what computes its clipped sums."""
    said = ("module", "jax_logits") if engine == "jax" else ("module",)
    # A kind of network may have them from the class that it is below.
    classes = [next((one for one in type(model).__mro__ if name in vars(one)), type(model)) for name in said]
    return (entry("ENGINES", engine), *(entry(name, one.__name__) for name, one in zip(said, classes, strict=True)))
