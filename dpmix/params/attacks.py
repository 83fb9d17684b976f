"""What the params say of a canary attack on a run of ModelMix that was released, such as its authors'."""

from typing import Annotated, Literal

from pydantic import Field

from dpmix.params.declared import Declared, PositiveFloat, PositiveInt, Seed, Spec
from dpmix.params.settings import Epsilon


class AttackSpec(Spec):
    """A canary attack on the iterates of ModelMix: what is claimed of the run, and how it departs from Algorithm 1.

    The canary's gradient is C / √p on each of p = `truncation` coordinates (`dpmix.privacy.mixing_attack`).
    """

    epsilon: Annotated[Epsilon, Field(description="ε that is claimed")]
    delta: Annotated[float, Field(gt=0, lt=1, description="δ that ε is claimed at"), Declared(unit="probability")]
    noise_multiplier: Annotated[
        PositiveFloat, Field(description="σ: standard deviation of the noise in units of C"), Declared(unit="C")
    ]
    sampling_rate: Annotated[
        float,
        Field(gt=0, lt=1, description="q: probability of the canary in each step"),
        Declared(unit="probability"),
    ]
    steps: Annotated[int, Field(gt=16, description="T; the attack waits for the first 16"), Declared(unit="steps")]
    width: Annotated[
        PositiveFloat,
        Field(description="τ B / (η C): width of the mixing on the clipped sum, in units of C"),
        Declared(unit="C"),
    ]
    truncation: Annotated[
        PositiveInt,
        Field(description="p: no entry of a clipped gradient exceeds C / √p; also the canary's coordinates"),
    ]
    momentum: Annotated[float, Field(ge=0, lt=1, description="Of a buffer of noisy gradients; 0: none")] = 0.0
    coordinates: Annotated[
        Literal["mixed", "unmixed"],
        Field(description="Whether the canary's coordinates are mixed, or of a layer that is left out of the mixing"),
    ] = "mixed"
    runs: Annotated[PositiveInt, Field(description="Runs with the canary that are simulated"), Declared(unit="runs")]
    seed: Annotated[Seed, Field(description="Of the simulation")] = 1
