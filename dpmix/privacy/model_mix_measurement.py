"""Tests of the mixing noise of ModelMix as it was really added: uniform, of the width that was said, fresh everywhere.

From the released weights before and after a step and the noisy sum between them, α can be computed again. It has to be
uniform on [0, 1]: α that is narrower, constant or used twice is found by the tests of Gaussian noise, which it becomes
through the normal distribution's quantiles. Something else that moves the weights, such as a momentum buffer, carries
it out of [0, 1].
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpmix.errors import PrivacyError
from dpmix.privacy.model_mix import MixRule, centres, signed_gaps
from dpmix.privacy.noise_measurement import CHANCE, MOST_STEPS, NoiseMeasurement

if TYPE_CHECKING:
    from torch import Tensor

_DISCARD = "; discard the model and mend the update"
# Around α = 1/2, where coordinates are that were not mixed; far wider than what float32 moves α by.
_MIDDLE = 2.0**-10
# How far float32 may move α before the tests could not tell that from a fault.
_COARSEST = 2.0**-8


@dataclass
class MixingMeasurement:
    """Measures α of all parameters and steps. It must not be written to disk or logged: α is secret.

    >>> import torch
    >>> from dpmix.privacy.model_mix import SeededMixing, mix
    >>> rule, zeros = MixRule(width=0.1, learning_rate=1.0, expected_units=10), torch.zeros(10_000)
    >>> alpha = SeededMixing(seed=0).draw((10_000,), step=0, name="weight")
    >>> honest, idle = MixingMeasurement(), MixingMeasurement()
    >>> honest.add("weight", zeros, zeros, zeros, mix(zeros, zeros, zeros, alpha, rule), rule)
    >>> honest.verify()
    >>> idle.add("weight", zeros, zeros, zeros, zeros, rule)
    >>> idle.verify()
    Traceback (most recent call last):
    dpmix.errors.PrivacyError: coordinates of weight were not mixed; discard the model and mend the update
    """

    _noise: NoiseMeasurement = field(default_factory=NoiseMeasurement)
    _flaw: str = ""

    def add(self, name: str, last: "Tensor", before: "Tensor", noisy: "Tensor", after: "Tensor", rule: MixRule) -> None:
        """Measure α of one parameter at one step.

        Args:
            name: the parameter's name.
            last: w_{k-1}, as released.
            before: w_{k-2}, as released.
            noisy: the noisy sum of this step.
            after: w_k, as released.
            rule: what the step says of itself.

        Raises:
            PrivacyError: if weights are not finite, or so large beside the width that float32 cannot hold α.
        """
        import torch
        from scipy.stats import binom

        last, before, noisy, after = (tensor.detach().cpu() for tensor in (last, before, noisy, after))
        if not after.numel():
            return
        largest = max(float(tensor.abs().amax()) for tensor in (last, before, after))
        if not math.isfinite(largest):
            raise PrivacyError(f"weights of {name} are no longer finite; discard the model and lower learning_rate")
        rounding = 2.0**-22 * max(largest / rule.width, 1)
        if rounding > _COARSEST:
            raise PrivacyError(
                f"float32 rounds mixing over a width of {rule.width:g} away in {name}, whose weights go up to "
                f"{largest:g}; discard the model and raise learning_rate or mix_width"
            )
        gaps = signed_gaps(last, before, rule.width)
        offset = (after.double() - centres(last, before, noisy, rule)) / gaps
        if not bool((offset.abs() <= 0.5 + rounding).all()):
            self._flaw = self._flaw or f"{name} was moved by something else than its mixing and its noisy sum"
        unmixed = int((offset.abs() < _MIDDLE).sum())
        if binom.sf(unmixed - 1, offset.numel(), 2 * (_MIDDLE + rounding)) < CHANCE / MOST_STEPS:
            self._flaw = self._flaw or f"coordinates of {name} were not mixed"
        # Where rounding takes α to an end, this is what the square of its quantile is in the mean.
        end = max(1e-12, rounding / 4 / math.e)
        drawn = torch.special.ndtri((offset + 0.5).clamp(end, 1 - end))
        self._noise.add(name, torch.zeros_like(drawn), drawn, 1.0)

    def close_step(self) -> None:
        """Call this once all parameters of a step have been measured."""
        self._noise.close_step()

    def verify(self) -> None:
        """Test all that was measured.

        Raises:
            PrivacyError: if some weights were moved by something else, some were not mixed, or α is narrower than
                [0, 1], repeats or cancels.
        """
        if self._flaw:
            raise PrivacyError(f"{self._flaw}{_DISCARD}")
        try:
            self._noise.verify()
        except PrivacyError as error:
            raise PrivacyError(f"mixing is not what was said: {str(error).partition(';')[0]}{_DISCARD}") from error
