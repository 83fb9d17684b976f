"""A test accuracy that may be released, with a budget of its own: a count of correct answers, with noise.

Training and test images are apart, and with persons so are these, so an image (or a person) is in the training data or
here and the two ε do not add up. A test image, or of each person one image, changes the count by at most 1, and the
count gets discrete Laplace noise (`dpmix.privacy.discrete_laplace`).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dpmix.artefacts.experiment import Experiment
from dpmix.data.images import Images, load
from dpmix.data.listing import Listing
from dpmix.errors import DataError
from dpmix.execution import default_device
from dpmix.own.choices.setup import Setup
from dpmix.own.training.spent import Measured, Record
from dpmix.own.use.probabilities import of_pixels
from dpmix.privacy.discrete_laplace import noisy_count

_BATCH = 256


def noisy_accuracy(
    run: Experiment,
    scale: str,
    released: Path,
    encoder: Path,
    made: Setup,
    record: Record,
    epsilon: float,
) -> dict[str, float]:
    """The accuracy of a released model on the test images, with noise for `epsilon`.

    Args:
        run: the run that made it, whose image store has the test images.
        scale: the name of the scale.
        released: `model.safetensors`.
        encoder: the folder of its encoder.
        made: the run's setup; its images are listed in the order of the store.
        record: what was spent; ε is entered before anything is returned.
        epsilon: ε, for one test image, or for one person if the model's ε is for persons.

    Returns:
        For `privacy.json`: `accuracy` in per cent, within [0, 100]; `images`, how many test images (with persons, one
        for each) were classified; and `epsilon`.
    """
    listing, unit = made.listing, made.request.unit
    images = load(Path(run.images().path(scale)).parent, "test")
    chosen = counted(listing, unit)
    if len(images) != len(listing.of("test")):
        raise DataError(f"{len(images)} test images are stored and {len(listing.of('test'))} listed; train afresh")
    right = int((predicted(released, encoder, images)[chosen] == images.labels[chosen]).sum())
    record.add(Measured(model=made.request.output.name, unit=unit, epsilon=epsilon))
    noisy = min(max(noisy_count(right, epsilon), 0), len(chosen))
    return {
        "accuracy": round(100 * noisy / len(chosen), 4),
        "images": len(chosen),
        "epsilon": epsilon,
    }


def counted(listing: Listing, unit: str) -> npt.NDArray[np.int64]:
    """The test images that are counted, int64 [m], as places among them: all, or the first of each person by name."""
    test = listing.of("test")
    if unit != "person":
        return np.arange(len(test))
    first: dict[str | None, int] = {}
    for index in sorted(range(len(test)), key=lambda index: test[index].place):
        first.setdefault(test[index].person, index)
    return np.array(sorted(first.values()), dtype=np.int64)


def predicted(released: Path, encoder: Path, images: Images) -> npt.NDArray[np.int64]:
    """The class of each image by a released model, int64 [N]."""
    from dpmix.release.model import load as load_model

    device = default_device()
    model = load_model(released, encoder, device)
    rows = of_pixels(model, images.images, batch_size=_BATCH, device=device)
    return np.array([row.argmax() for row in rows], dtype=np.int64)
