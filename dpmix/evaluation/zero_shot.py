"""Zero-shot classification (Radford et al., 2021), a reference for private training: ε = 0, no private image is used.

The class of an image x is argmax_c <phi(x), t_c>, with the image embedding phi(x) and the unit-length embedding t_c of
a caption such as "a photo of a cat". The encoder is public, and of the private data set only test images are read.
"""

import time
from collections.abc import Sequence

import torch

from dpmix.artefacts.data import EncoderModel
from dpmix.artefacts.made_of import inputs_of
from dpmix.artefacts.measurements import ZeroShot
from dpmix.data.class_names import prompt_names
from dpmix.data.images import batches, load
from dpmix.execution import DEFAULT, Execution
from dpmix.models.encoder_files import shared_encoder
from dpmix.models.libraries.base import tell_of_other_captions
from dpmix.provenance import hardware, versions
from dpmix.seals import write_record
from dpmix.training.accuracy import percent_correct

_BATCH = 512


def measure(wanted: Sequence[ZeroShot], scale: str, execution: Execution = DEFAULT) -> None:
    """Classify the test images of each data set and write the accuracies.

    Args:
        wanted: data sets and encoders.
        scale: the name of the scale.
        execution: how to compute.

    Raises:
        DataError: if a store or an encoder is missing or damaged.
        ParamsError: if an encoder has no text tower.
    """
    device = execution.where()
    for one in wanted:
        started = time.perf_counter()
        folder = EncoderModel(encoder=one.model).path(scale).parent
        encoder = shared_encoder(folder, execution)
        test = load(one.images().path(scale).parent, "test")
        tell_of_other_captions(folder, test.classes)
        weights = encoder.zero_shot_weights(prompt_names(test.classes), one.prompts)
        predictions = [(encoder(part) @ weights.T).argmax(dim=1) for part in batches(test, _BATCH, device)]
        write_record(
            one.path(scale),
            {
                "accuracy": percent_correct(torch.cat(predictions), test.labels),
                "epsilon": {},
                "prompts": list(one.prompts),
                "experiment": one.model_dump(mode="json"),
                "inputs": inputs_of(one, scale),
                "versions": versions(),
                "times": {
                    "seconds": round(time.perf_counter() - started, 3),
                    "hardware": hardware(),
                    "finished": time.strftime("%F %T%z"),
                },
            },
        )
