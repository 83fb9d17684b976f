"""Makers of image stores (private images, decoded once) and of D (the synthetic images that are mixed in)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmix.artefacts.data import ImageStore, SyntheticSet, SyntheticStore
from dpmix.errors import DataError
from dpmix.makers.registry import Context, maker
from dpmix.params.specs import GivenImagesSpec
from dpmix.progress import say

if TYPE_CHECKING:
    from dpmix.synthesis.folder import SyntheticFolder


@maker(ImageStore)
def make_image_stores(stores: Sequence[ImageStore], context: Context) -> None:
    """Fetch or read each data set and decode it once at one resolution."""
    from dpmix.data.sources import prepare

    for store in stores:
        prepare(store.dataset, store.resolution, context.raw, store.path(context.scale).parent)


@maker(SyntheticSet)
def make_synthetic_sets(wanted: Sequence[SyntheticSet], context: Context) -> None:
    """Draw each D, synthetic images of a data set's classes, or copy the public images that are given instead."""
    from dpmix.synthesis.draw import synthesize
    from dpmix.synthesis.folder import gather

    for d in wanted:
        out, classes, model = d.path(context.scale).parent, _classes(d, context), d.model_on_disk()
        if isinstance(d.diffusion, GivenImagesSpec):
            skip: dict[str, Any] = {"skip_damaged": d.diffusion.skip_damaged}
            if d.dataset.source == "listed":  # of a command, and not of params
                skip["leave_out"] = "leave out by `skip_damaged=True`"
            gather(Path(d.diffusion.images), classes, d.size, out, **skip)
        elif model is not None:
            folder, device = model.path(context.scale).parent, context.execution.where()
            synthesize(folder, classes, d.size, out, device=device, **d.diffusion.sampling())


@maker(SyntheticStore)
def make_synthetic_stores(stores: Sequence[SyntheticStore], context: Context) -> None:
    """Check the images of each D against the SHA-256 sums in its manifest, and decode them once at one resolution.

    Images that are missing or damaged are made again.

    Raises:
        DataError: if they cannot be, or D has another size or other classes than it should.
    """
    from dpmix.data.store import pack_images

    for store in stores:
        d = store.synthetic
        folder, classes = d.path(context.scale).parent, _classes(d, context)
        found = _whole(d, context)
        if found.classes != classes or len(found.paths) != d.size:
            raise DataError(
                f"{folder} has {len(found.paths)} images of {len(found.classes)} classes, not the {d.size} of the "
                f"{len(classes)} classes of {d.dataset.name}; delete it and run the same command again"
            )
        out = store.path(context.scale).parent
        pack_images(found.paths, found.labels, classes, store.resolution, out, d.dataset.channels, folder)


def _classes(d: SyntheticSet, context: Context) -> tuple[str, ...]:
    """The names of the private data set's classes, which are all of it that D uses."""
    from dpmix.data.images import load

    return load(d.names().path(context.scale).parent, "train").classes


def _whole(d: SyntheticSet, context: Context) -> "SyntheticFolder":
    """D, of which images that are missing or damaged are made again."""
    from dpmix.synthesis.folder import load_synthetic

    path = d.path(context.scale)
    try:
        return load_synthetic(path.parent)
    except DataError as error:
        model = d.model_on_disk()
        if not path.is_file() or (model is not None and not model.path(context.scale).is_file()):
            raise
        say(f"{str(error).partition(';')[0]}: what is missing or damaged is made again")
    path.unlink()
    make_synthetic_sets([d], context)
    return load_synthetic(path.parent)
