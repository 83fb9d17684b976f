"""DP-Mix: mixup for differentially private image classification.

The names in `__all__` are the public API, documented in `docs/api.md`; everything else may change at any time.
Importing the package is fast, because a name is imported from its module only when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for type checkers and editors; a test holds them against `_HOMES`
    from dpmix.adapters.opacus import DPMix
    from dpmix.data.folders import read_public as load_public_images
    from dpmix.data.images import Images
    from dpmix.data.images import load as load_images
    from dpmix.errors import DataError, DpmixError, ParamsError, PrivacyError
    from dpmix.own.research.audit import audit
    from dpmix.own.research.compare import compare
    from dpmix.own.training.plan import plan
    from dpmix.own.training.train import train
    from dpmix.own.use.evaluate import evaluate
    from dpmix.own.use.predict import predict
    from dpmix.privacy.accounting import epsilons
    from dpmix.privacy.audit import Transcript, epsilon_lower_bound
    from dpmix.privacy.banded_plan import banded_plan
    from dpmix.privacy.clipping import clipped_sum
    from dpmix.privacy.ledger import Ledger
    from dpmix.privacy.loss import ExampleLoss
    from dpmix.privacy.model_checks import check_examples_independent
    from dpmix.privacy.modes import AutoS, Flat, PerLayer
    from dpmix.privacy.noise import SecureNoise, SeededNoise
    from dpmix.privacy.plan import Plan
    from dpmix.privacy.sampling import PoissonSampler
    from dpmix.random import KeyedRandom
    from dpmix.release.model import load as load_released
    from dpmix.release.statement import joint_epsilons, read_statement
    from dpmix.synthesis.draw import synthesize
    from dpmix.views.mixing import make_views
    from dpmix.views.settings import ViewSettings

__all__ = [
    "AutoS",
    "DPMix",
    "DataError",
    "DpmixError",
    "ExampleLoss",
    "Flat",
    "Images",
    "KeyedRandom",
    "Ledger",
    "ParamsError",
    "PerLayer",
    "Plan",
    "PoissonSampler",
    "PrivacyError",
    "SecureNoise",
    "SeededNoise",
    "Transcript",
    "ViewSettings",
    "audit",
    "banded_plan",
    "check_examples_independent",
    "clipped_sum",
    "compare",
    "epsilon_lower_bound",
    "epsilons",
    "evaluate",
    "joint_epsilons",
    "load_images",
    "load_public_images",
    "load_released",
    "make_views",
    "plan",
    "predict",
    "read_statement",
    "synthesize",
    "train",
]

# Public name: the module that has it, and what it is called there.
_HOMES = {
    "AutoS": ("dpmix.privacy.modes", "AutoS"),
    "DPMix": ("dpmix.adapters.opacus", "DPMix"),
    "DataError": ("dpmix.errors", "DataError"),
    "DpmixError": ("dpmix.errors", "DpmixError"),
    "ExampleLoss": ("dpmix.privacy.loss", "ExampleLoss"),
    "Flat": ("dpmix.privacy.modes", "Flat"),
    "Images": ("dpmix.data.images", "Images"),
    "KeyedRandom": ("dpmix.random", "KeyedRandom"),
    "Ledger": ("dpmix.privacy.ledger", "Ledger"),
    "ParamsError": ("dpmix.errors", "ParamsError"),
    "PerLayer": ("dpmix.privacy.modes", "PerLayer"),
    "Plan": ("dpmix.privacy.plan", "Plan"),
    "PoissonSampler": ("dpmix.privacy.sampling", "PoissonSampler"),
    "PrivacyError": ("dpmix.errors", "PrivacyError"),
    "SecureNoise": ("dpmix.privacy.noise", "SecureNoise"),
    "SeededNoise": ("dpmix.privacy.noise", "SeededNoise"),
    "Transcript": ("dpmix.privacy.audit", "Transcript"),
    "ViewSettings": ("dpmix.views.settings", "ViewSettings"),
    "audit": ("dpmix.own.research.audit", "audit"),
    "banded_plan": ("dpmix.privacy.banded_plan", "banded_plan"),
    "check_examples_independent": ("dpmix.privacy.model_checks", "check_examples_independent"),
    "clipped_sum": ("dpmix.privacy.clipping", "clipped_sum"),
    "compare": ("dpmix.own.research.compare", "compare"),
    "epsilon_lower_bound": ("dpmix.privacy.audit", "epsilon_lower_bound"),
    "epsilons": ("dpmix.privacy.accounting", "epsilons"),
    "evaluate": ("dpmix.own.use.evaluate", "evaluate"),
    "joint_epsilons": ("dpmix.release.statement", "joint_epsilons"),
    "load_images": ("dpmix.data.images", "load"),
    "load_public_images": ("dpmix.data.folders", "read_public"),
    "load_released": ("dpmix.release.model", "load"),
    "make_views": ("dpmix.views.mixing", "make_views"),
    "plan": ("dpmix.own.training.plan", "plan"),
    "predict": ("dpmix.own.use.predict", "predict"),
    "read_statement": ("dpmix.release.statement", "read_statement"),
    "synthesize": ("dpmix.synthesis.draw", "synthesize"),
    "train": ("dpmix.own.training.train", "train"),
}


if not TYPE_CHECKING:  # a type checker that saw it would take every name for one of this package

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            # With name and obj Python itself suggests the nearest of `__dir__`.
            raise AttributeError(
                f"module 'dpmix' has no attribute {name!r}", name=name, obj=importlib.import_module("dpmix")
            )
        module, there = _HOMES[name]
        found = globals()[name] = getattr(importlib.import_module(module), there)
        return found


def __dir__() -> list[str]:
    return ["__version__", *__all__]
