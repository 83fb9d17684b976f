"""DP-Mix: mixup for differentially private image classification.

What is listed here is the public face: `docs/api.md` has a section on each name, and what is not here may change at any
time. Importing the package loads nothing heavy; a name is imported from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for type checkers and editors; a test holds them against `_HOMES`
    from dpmix.datasets import Images
    from dpmix.datasets import load as load_images
    from dpmix.datasets import read_public as load_public_images
    from dpmix.errors import DataError, DpmixError, ParamsError, PrivacyError
    from dpmix.mixing import make_views
    from dpmix.privacy.accounting import epsilons
    from dpmix.privacy.audit import Transcript, epsilon_lower_bound
    from dpmix.privacy.clipping import ExampleLoss, clipped_sum
    from dpmix.privacy.ledger import Ledger
    from dpmix.privacy.matrix_factorization import banded_plan
    from dpmix.privacy.modes import AutoS, Flat, PerLayer
    from dpmix.privacy.noise import Release as SecureNoise
    from dpmix.privacy.noise import Research as SeededNoise
    from dpmix.privacy.opacus_adapter import DPMix
    from dpmix.privacy.plan import Plan
    from dpmix.privacy.sampling import PoissonSampler
    from dpmix.privacy.trials import refuse_mixing as check_examples_independent
    from dpmix.random import KeyedRandom
    from dpmix.released import joint_epsilons, read_statement
    from dpmix.released import load as load_released
    from dpmix.synthesis import synthesize
    from dpmix.views import ViewSettings

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
    "banded_plan",
    "check_examples_independent",
    "clipped_sum",
    "epsilon_lower_bound",
    "epsilons",
    "joint_epsilons",
    "load_images",
    "load_public_images",
    "load_released",
    "make_views",
    "read_statement",
    "synthesize",
]

# Public name: the module that has it, and what it is called there.
_HOMES = {
    "AutoS": ("dpmix.privacy.modes", "AutoS"),
    "DPMix": ("dpmix.privacy.opacus_adapter", "DPMix"),
    "DataError": ("dpmix.errors", "DataError"),
    "DpmixError": ("dpmix.errors", "DpmixError"),
    "ExampleLoss": ("dpmix.privacy.clipping", "ExampleLoss"),
    "Flat": ("dpmix.privacy.modes", "Flat"),
    "Images": ("dpmix.datasets", "Images"),
    "KeyedRandom": ("dpmix.random", "KeyedRandom"),
    "Ledger": ("dpmix.privacy.ledger", "Ledger"),
    "ParamsError": ("dpmix.errors", "ParamsError"),
    "PerLayer": ("dpmix.privacy.modes", "PerLayer"),
    "Plan": ("dpmix.privacy.plan", "Plan"),
    "PoissonSampler": ("dpmix.privacy.sampling", "PoissonSampler"),
    "PrivacyError": ("dpmix.errors", "PrivacyError"),
    "SecureNoise": ("dpmix.privacy.noise", "Release"),
    "SeededNoise": ("dpmix.privacy.noise", "Research"),
    "Transcript": ("dpmix.privacy.audit", "Transcript"),
    "ViewSettings": ("dpmix.views", "ViewSettings"),
    "banded_plan": ("dpmix.privacy.matrix_factorization", "banded_plan"),
    "check_examples_independent": ("dpmix.privacy.trials", "refuse_mixing"),
    "clipped_sum": ("dpmix.privacy.clipping", "clipped_sum"),
    "epsilon_lower_bound": ("dpmix.privacy.audit", "epsilon_lower_bound"),
    "epsilons": ("dpmix.privacy.accounting", "epsilons"),
    "joint_epsilons": ("dpmix.released", "joint_epsilons"),
    "load_images": ("dpmix.datasets", "load"),
    "load_public_images": ("dpmix.datasets", "read_public"),
    "load_released": ("dpmix.released", "load"),
    "make_views": ("dpmix.mixing", "make_views"),
    "read_statement": ("dpmix.released", "read_statement"),
    "synthesize": ("dpmix.synthesis", "synthesize"),
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
