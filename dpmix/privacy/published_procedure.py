"""ε of a training run as its noise was calibrated, as a program executes it, and with microbatches' noise not doubled.

The paper names an ε; its programs find the noise with Opacus's RDP accountant. What that noise amounts to depends on
who counts. For batches of B out of N records and E epochs this module computes ε of

- the calibrated mechanism, by three accountants: Poisson sampling at the rate q, T steps;
- the steps that the training loop takes, E · ⌈N / B⌉, which may be more than T;
- what the program prints, which takes 1 / ⌈N / B⌉ for the rate;
- what the program does. Batches in a fixed order have no amplification by sampling: every record is in exactly E
  batches, and whoever knows the order knows in which. For records that are blanked out (zero-out adjacency) the worst
  case is the Gaussian mechanism composed E times, that of a sensitivity of √E · C. A new order in each epoch can only
  reveal less, so that it is an upper bound there;
- microbatches whose noise is that for a sensitivity of C, where one record may move the sum by 2C.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from dpmix.errors import ParamsError, suggestion
from dpmix.privacy.accountants import quiet
from dpmix.privacy.accounting import epsilon, replacement_epsilon

RateOf = Literal["sizes", "loader"]
"""What the sampling rate is computed from.

- `sizes`: q = B / N and T = ⌊E / q⌋, as the released program calibrates its noise for linear heads.
- `loader`: q = 1 / ⌈N / B⌉ and T = E · ⌈N / B⌉, as Opacus does for a data loader, and the program from scratch with it.
"""

Batches = Literal["poisson", "fixed-order", "reshuffled"]
"""How batches are drawn: Poisson samples, the same batches in each epoch, or a new order in each epoch."""


@dataclass(frozen=True)
class Procedure:
    """A training run of the paper, as far as its ε depends on it.

    Attributes:
        population: N, training records.
        batch_size: B, records of a batch.
        epochs: E, passes over the records.
        epsilon: the nominal ε, for which Opacus calibrates the noise.
        delta: δ.
        rate: what the sampling rate is computed from.
        batches: how the program draws its batches.
        microbatches: whether this ε is also asked for with microbatches.

    Raises:
        ParamsError: for sizes below 1, a batch of more than N records, or an unknown `rate` or `batches`.

    >>> pets = Procedure(3680, 1000, 10, epsilon=1, delta=1e-5, batches="fixed-order")
    >>> pets.steps, pets.steps_taken
    (36, 40)
    """

    population: int
    batch_size: int
    epochs: int
    epsilon: float
    delta: float
    rate: RateOf = "sizes"
    batches: Batches = "poisson"
    microbatches: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.population or self.epochs < 1:
            raise ParamsError(
                f"{self.epochs} epochs of batches of {self.batch_size} out of {self.population} are no training; give "
                "whole numbers above 0, and no batch larger than the data"
            )
        for name, kind in (("rate", RateOf), ("batches", Batches)):
            if getattr(self, name) not in get_args(kind):
                raise ParamsError(
                    f"unknown {name} {getattr(self, name)!r}; {suggestion(getattr(self, name), get_args(kind))}"
                )

    @property
    def loader_length(self) -> int:
        """⌈N / B⌉, the batches of one epoch."""
        return -(-self.population // self.batch_size)

    @property
    def sampling_rate(self) -> float:
        """q, for which noise is calibrated."""
        return self.batch_size / self.population if self.rate == "sizes" else 1 / self.loader_length

    @property
    def steps(self) -> int:
        """T, for which noise is calibrated."""
        # Opacus divides floats: where E / q is a whole number, the quotient may be just below it.
        return int(self.epochs / self.sampling_rate) if self.rate == "sizes" else self.steps_taken

    @property
    def steps_taken(self) -> int:
        """E · ⌈N / B⌉, the steps of the training loop."""
        return self.epochs * self.loader_length

    @property
    def divisor(self) -> int:
        """By how many records Opacus divides a noisy sum: ⌊N / ⌈N / B⌉⌋, whatever the batch has."""
        return self.population // self.loader_length

    def noise_multiplier(self) -> float:
        """σ by Opacus's calibration, within its tolerance of 0.01 in ε."""
        with quiet():
            from opacus.accountants.utils import get_noise_multiplier

            return float(
                get_noise_multiplier(
                    target_epsilon=self.epsilon,
                    target_delta=self.delta,
                    sample_rate=self.sampling_rate,
                    steps=self.steps,
                    accountant="rdp",
                )
            )

    def epsilons(self, noise_multiplier: float) -> dict[str, float]:
        """ε by what is counted.

        Args:
            noise_multiplier: σ, the noise's standard deviation in units of C.

        Returns:
            `rdp`, `prv` and `pld`: the calibrated mechanism. `taken`: the steps of the loop, by RDP. `printed`: as the
            program prints it. `executed`: what the program does, by PLD. With `microbatches` also `undoubled` and
            `undoubled_exact`: microbatches with this noise, accounted by RDP at a sensitivity of 2C, and by their exact
            worst case.

        Raises:
            ParamsError, PrivacyError: as `dpmix.privacy.accounting.epsilon`.
        """
        mechanism: dict[str, Any] = {
            "sampling_rate": self.sampling_rate,
            "steps": self.steps,
            "delta": self.delta,
        }
        taken = {**mechanism, "steps": self.steps_taken}
        executed = taken if self.batches == "poisson" else {**taken, "sampling_rate": 1.0, "steps": self.epochs}
        spent = {
            **{name: epsilon(name, noise_multiplier=noise_multiplier, **mechanism) for name in ("rdp", "prv", "pld")},
            "taken": epsilon("rdp", noise_multiplier=noise_multiplier, **taken),
            "printed": epsilon(
                "rdp", noise_multiplier=noise_multiplier, **{**taken, "sampling_rate": 1 / self.loader_length}
            ),
            "executed": epsilon("pld", noise_multiplier=noise_multiplier, **executed),
        }
        if self.microbatches:
            half = noise_multiplier / 2
            spent["undoubled"] = epsilon("rdp", noise_multiplier=half, **mechanism)
            spent["undoubled_exact"] = replacement_epsilon(noise_multiplier=half, **mechanism)
        return spent
