"""What a run with `release: true` may use, and what may lie in the results folder of a scale that has such a run.

ε covers what the noisy steps compute from the sampled records, and nothing else. So this module lists every setting of
an experiment with the values under which private records are read only by the clipped, noisy sums, and every kind of
artefact that may be handed out beside a released model. What is not listed is refused, so that somebody who adds a
setting or a kind of artefact has to decide.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# For each setting: a test of its value, and the error message where the test fails. None allows every value, because
# the setting is a public constant or acts only on views and noisy sums.
_ANY = None

Rule = tuple[Callable[[Any], bool], str] | None

SETTINGS: Mapping[str, Rule] = {
    "semantics": _ANY,
    # `dpmix.catalogue.release_splits` and `dpmix.training.data` also refuse a folder whose test images were drawn.
    "dataset": (
        lambda value: value.drawn_from is None,
        "drawn_from takes a part that depends on the classes and places of all images, which ε does not cover; leave "
        "it out, and lay the images to train on into a folder of their own, with train/ and test/",
    ),
    "model": _ANY,  # `objection` also checks that the encoder was not trained on the private images
    "method": _ANY,
    "synthetic": _ANY,  # D and what it is made from are public
    "epsilon": (
        lambda value: value < math.inf,
        "a model without noise reveals its training images; give a finite epsilon, and no ladder",
    ),
    "delta": (
        lambda value: 1e-100 <= value <= 0.1,
        "a delta above 0.1 promises nothing, and none below 1e-100 is accounted for; give one well below 1 / N",
    ),
    "accountant": _ANY,
    "clip_norm": _ANY,
    "clipping": _ANY,
    "precision": _ANY,
    "engine": _ANY,  # its clipped sums have the same bound, and get the same noise
    "bands": _ANY,
    "update": _ANY,  # α, which mixes released weights, is from the operating system's entropy and kept nowhere
    "mix_width": _ANY,
    "truncation": _ANY,
    "batches": (
        lambda value: value == "poisson",
        "batches in a fixed order have another ε than the nominal one; set batches to poisson",
    ),
    "calibration": _ANY,
    "batch_size": _ANY,
    "unit": _ANY,  # ε is stated for it; of persons nothing written says how many images there are
    "epochs": _ANY,
    "learning_rate": (
        lambda value: isinstance(value, float | int),
        "choosing a learning rate on private images is not covered by ε; give learning_rate as a number, from public "
        "data",
    ),
    "momentum": _ANY,
    "weight_decay": _ANY,
    "ema_decay": _ANY,
    "k_base": _ANY,
    "k_self": _ANY,
    "k_diff": _ANY,
    "mixup_alpha": _ANY,
    "mixup_pairs": _ANY,
    "mixing": _ANY,
    "transforms": _ANY,
    "padding": _ANY,
    "augment_synthetic": _ANY,
    "view_sets": _ANY,  # which set a step shows is drawn by public keys, and does not change whose views they are
    "microbatch_size": (
        lambda value: value == 1,
        "that twice the clip norm bounds microbatches is computed for each plan, and for no two models together; set "
        "microbatch_size to 1",
    ),
    "microbatch_mixup": _ANY,
    "pretrain_epochs": _ANY,  # on D alone
    "subset": _ANY,  # a public half; the other half is not read
    "mix_with": (
        lambda value: value == "synthetic",
        "mixing with S2 puts the images of S2 into the model unprotected; mix with synthetic images",
    ),
    "holdout": (
        lambda value: value == 0,
        "an accuracy on held-out training images is not covered by ε; set holdout to 0",
    ),
    "release": _ANY,
    "seed": _ANY,  # of initial weights and views; sample and noise have none
}

# The kinds of artefact, by class name, that a scale with a release may have. They are made from public data or sizes,
# stay in data/ (image stores), or read only test images (zero-shot accuracy, as the accuracy of the released model
# itself); an attack is simulated and reads nothing.
ARTEFACTS = (
    "ImageStore",
    "SyntheticSet",
    "SyntheticStore",
    "EncoderModel",
    "DiffusionModel",
    "InceptionWeights",
    "PlanFile",
    "PublishedPrivacy",
    "ZeroShot",
    "CanaryAttack",
    "Experiment",
)


def objection(settings: Mapping[str, Any]) -> str | None:
    """Why an experiment with these settings must not be released, with a remedy, as the end of a message; else None."""
    for name, value in settings.items():
        if name not in SETTINGS:
            return f"nobody has decided whether ε covers {name}; decide it in dpmix/artefacts/releasable.py"
        rule = SETTINGS[name]
        if rule is not None and not rule[0](value):
            return rule[1]
    private = settings.get("dataset")
    if private is not None and private.path:
        for source in public_sources(settings):
            if overlap(source, private.path):
                return f"{source} is said to be public, but it holds the private images of {private.name}; name another"
    return None


def public_sources(settings: Mapping[str, Any]) -> list[str]:
    """The folders whose images an experiment takes for public: those its encoder was trained on, and those of D."""
    synthetic = settings.get("synthetic")
    sources = (settings.get("model"), synthetic.diffusion if synthetic else None)
    images = (getattr(source, "images", None) for source in sources)
    return [path for path in images if path]


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies inside the other, after symbolic links are followed."""
    first, second = Path(one).expanduser().resolve(), Path(other).expanduser().resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
