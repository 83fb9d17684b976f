"""What a result was made of: the digests of its inputs, which its file holds under `inputs`."""

from dpmix.artefacts.base import Artefact
from dpmix.artefacts.data import ImageStore
from dpmix.artefacts.experiment import Experiment
from dpmix.seals import seal_of


def inputs_of(artefact: Artefact, scale: str) -> dict[str, str]:
    """The digests of what an artefact is made of, by the paths of these artefacts (`dpmix.seals.seal_of`).

    For a release, without that of the private images: it depends on each of them, and no ε covers it.

    Args:
        artefact: a result that is being made.
        scale: the name of the scale.
    """
    release = isinstance(artefact, Experiment) and artefact.release
    sources = [one for one in artefact.inputs() if not (release and isinstance(one, ImageStore))]
    seals = {one.path(scale).as_posix(): seal_of(one.path(scale)) for one in sources}
    return {path: seal for path, seal in seals.items() if seal is not None}
