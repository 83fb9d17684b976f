"""What `compare` compares, as the parameters that a `params.yaml` would give: one scale with one table and its ladder.

The catalogue and the makers then do what they do for the paper's tables.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpmix.own.choices.setup import Setup

if TYPE_CHECKING:
    from dpmix.artefacts.experiment import Experiment
    from dpmix.catalogue.catalogue import Catalogue
    from dpmix.params.scales import Params
    from dpmix.privacy.plan import Plan

METHODS = {"self-aug": "Self-Aug", "dp-mix-self": "DP-Mix_Self", "dp-mix-diff": "DP-Mix_Diff"}
"""The methods and what tables call them."""

EPSILONS = (1.0, 2.0, 4.0, 8.0)

SCALE, TABLE = "compare", "comparison"

# lr·C that `tune` chooses from, in units of 1 / C.
_RATES = tuple(2.0**power for power in range(-4, 9))
_HOLDOUT = 0.2


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        setups: a setup for each method, by its name; they differ in how views are mixed alone.
        epsilons: values of ε, ascending.
        seeds: how many seeds, from 1 on.
        rates: by ε, infinity for no noise, the learning rate by the rule; None if they are tuned.
    """

    setups: dict[str, Setup]
    epsilons: tuple[float, ...]
    seeds: int
    rates: dict[float, float] | None

    @property
    def first(self) -> Setup:
        """The setup of the first method, which is also that of the reference without noise."""
        return next(iter(self.setups.values()))


def plan_at(made: Setup, epsilon: float) -> "Plan":
    """The plan of a setup at another ε."""
    return replace(made, settings={**made.settings, "epsilon": epsilon}).plan_file().calibrated()


def parameters(compared: Comparison) -> "Params":
    """What is compared, as the parameters that a `params.yaml` would give: one scale with one table."""
    from dpmix.params.read import parse

    one = compared.first
    dataset, model = (spec.model_dump(exclude={"name"}, exclude_none=True) for spec in (one.dataset, one.model))
    of_method = ("k_self", "k_diff")
    common = {name: value for name, value in one.settings.items() if name not in (*of_method, "epsilon", "release")}
    rates = compared.rates
    # If nothing is mixed in, a place that no run looks at.
    public = one.synthetic.diffusion.model_dump(exclude={"name"}) if one.synthetic else {"images": "none"}
    table = {
        "kind": "accuracy",
        "title": f"Methods on {one.dataset.name}",
        "caption": "Research: seeded, and not for release. Test accuracy of a linear head on a frozen encoder.",
        "rows": [{"axis": "Method", "method": list(compared.setups)}],
        "columns": [{"axis": "ε", "epsilon": list(compared.epsilons)}],
        "fixed": {"dataset": one.dataset.name, "model": one.model.name},
        "ladder": {"method": one.method},
    }
    scale = {
        "synthetic": "public",
        "synthetic_size": {one.dataset.name: one.synthetic.size} if one.synthetic else {},
        "seeds": list(range(1, compared.seeds + 1)),
        "bundle": {"by": "model"},
        "tuning": {"learning_rates": list(_RATES), "holdout": _HOLDOUT},
        "scratch": {},
        "finetune": {**common, "learning_rate": rates if rates is not None else "tuned"},
        "tables": {TABLE: table},
        "figures": {},
    }
    return parse(
        {
            "scale": SCALE,
            "datasets": {one.dataset.name: dataset},
            "models": {one.model.name: model},
            "diffusion": {"public": public},
            "methods": {
                name: {"label": METHODS[name], **{k: made.settings[k] for k in of_method}}
                for name, made in compared.setups.items()
            },
            "scales": {SCALE: scale},
        }
    )


def without_noise(catalogue: "Catalogue") -> "Experiment":
    """The first run of the reference that clips and adds no noise."""
    from dpmix.artefacts.experiment import Experiment

    runs = [run for run in catalogue.of(Experiment) if isinstance(run, Experiment) and math.isinf(run.epsilon)]
    return min(runs, key=lambda run: run.seed)
