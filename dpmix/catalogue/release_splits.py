"""Whether the images of a release are in training and test folders, asked of these before anything is made of them."""

from pathlib import Path

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.data.listing import read_listing
from dpmix.data.splits import drawn_for_a_release


def refuse_drawn_splits(catalogue: Catalogue) -> None:
    """Check that which images a release is trained on was not drawn from all; images elsewhere are passed over.

    Args:
        catalogue: the scale; without a run for release nothing is looked at.

    Raises:
        PrivacyError: for a data set without given training and test images, in one line.
        DataError: for one whose images cannot be understood.
    """
    runs = [run for run in catalogue.of(Experiment) if isinstance(run, Experiment) and run.release]
    for dataset, persons in {(run.dataset, run.unit == "person"): None for run in runs}:
        if dataset.source == "folder" and Path(str(dataset.path)).expanduser().exists():
            listing = read_listing(str(dataset.path), persons=persons, test_share=None, strict=True)
            if listing.split != "given":
                raise drawn_for_a_release(dataset.name, str(dataset.path))
