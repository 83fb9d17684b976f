"""What may be handed out: the one list of what a run with `release: true` may use and a release scale may hold.

ε covers what the noisy steps computed from the sampled records, and nothing else. So every setting of an experiment
stands here with the values that read private records through the clipped sum alone, and every kind of artefact that may
lie in the same results folder. What is not listed is refused, in particular a setting or artefact that is new.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# By setting: what a release may have, and what is wrong with anything else. None: any value, since it is a public
# constant or acts on views and noisy sums alone.
_ANY = None

Rule = tuple[Callable[[Any], bool], str] | None

SETTINGS: Mapping[str, Rule] = {
    "semantics": _ANY,
    "dataset": _ANY,
    "model": _ANY,  # what it was trained on must not be the private images: see `objection`
    "method": _ANY,
    "synthetic": _ANY,  # D and what it is made from are public
    "epsilon": (
        lambda value: value < math.inf,
        "a model without noise reveals its training images; give a finite epsilon, and no ladder",
    ),
    "delta": _ANY,
    "accountant": _ANY,
    "clip_norm": _ANY,
    "clipping": _ANY,
    "precision": _ANY,
    "bands": _ANY,
    "batch_size": _ANY,
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

# Kinds of artefact, by class name, that a scale with a release may ask for. Inputs are made from public data, or stay
# in data/; zero-shot accuracy reads test images alone, as the accuracy of the release itself does.
ARTEFACTS = (
    "ImageStore",
    "SyntheticSet",
    "SyntheticStore",
    "EncoderModel",
    "DiffusionModel",
    "PlanFile",
    "ZeroShot",
    "Experiment",
)


def objection(settings: Mapping[str, Any]) -> str | None:
    """Why an experiment with these settings may not be released; None if it may."""
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
    """Where the images lie that an experiment takes as public: its encoder was trained on them, or they are its D."""
    synthetic = settings.get("synthetic")
    sources = (settings.get("model"), synthetic.diffusion if synthetic else None)
    images = (getattr(source, "images", None) for source in sources)
    return [path for path in images if path]


def overlap(one: str, other: str) -> bool:
    """Whether two paths are one place, or either lies in the other; links are followed."""
    first, second = Path(one).resolve(), Path(other).resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
