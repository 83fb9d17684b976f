"""Follows a training run: records its steps before they are executed, and shows step, ε, speed and time left.

Of a run for release nothing else is shown: what is on the screen is read by people who decide what to do next, so it
must not depend on private images more than the model does. ε is of the executed steps, by the plan's own accountant.
How long steps take depends on who was sampled, so speed and time left are of all steps so far and are rounded to one
digit; that is less than a clock beside the machine shows, and ε covers neither. The speed counts the images of an
expected batch, not of those that were sampled.
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dpmix.errors import PrivacyError
from dpmix.own.training.spent import Record
from dpmix.own.training.tracking import Tracker
from dpmix.privacy.accounting import Steps, rounded_up
from dpmix.privacy.plan import Plan
from dpmix.progress import say

if TYPE_CHECKING:
    from dpmix.own.training.spent import Run

_EVERY_SECONDS = 30.0  # between two lines in a log file
_SHARE = 0.02  # of the time that computing ε may take on a terminal
_CHUNKS = 50  # in how many parts the steps of a run are recorded
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


def one_digit(value: float) -> float:
    """A number of at least 1 rounded to its first digit, and a smaller one to 0 or 1.

    >>> one_digit(1349.0), one_digit(7.5), one_digit(0.2)
    (1000.0, 8.0, 0.0)
    """
    return float(f"{value:.0e}") if value >= 1 else float(round(value))


class Following:
    """A `dpmix.execution.Watcher`.

    Args:
        plan: of the run.
        images: B · K, images through the encoder in an expected step.
        record: of what was spent on the images.
        run: the run in the record; its steps are those of earlier attempts, before a kill.
        trackers: get ε and speed, and of research each epoch's accuracy, too.
    """

    def __init__(self, plan: Plan, images: float, record: Record, run: "Run", trackers: Sequence[Tracker] = ()) -> None:
        self._plan, self._images, self._record, self._run = plan, images, record, run
        self._trackers, self._at = trackers, 0
        self._lost: int | None = None  # steps of earlier attempts that are not in the checkpoint
        self._counted = run.steps
        self._kept = 0  # steps of the checkpoint that this attempt goes on from
        self._first = 0
        self._began = self._shown = self._computed = 0.0
        self._cost, self._epsilon = 0.0, "0"
        self._bar: Any = None

    def step(self, step: int, steps: int) -> None:
        """See `dpmix.execution.Watcher`."""
        if self._lost is None:
            self._lost = max(0, self._run.steps - step)
            self._first, self._began = step, time.monotonic()
            self._shown = self._began
        if self._lost + step >= self._counted:
            self._counted = self._lost + min(steps, step + max(1, steps // _CHUNKS))
            self._record.count(self._run.key, self._counted, self._run.state, self._lost, kept=self._kept)
            self._track(step)
        self._at = step
        self._show(step, steps)

    def restored(self, step: int) -> None:
        """Refuse a checkpoint of other steps than are on record; see `dpmix.execution.Watcher`.

        Raises:
            PrivacyError: if it says fewer steps than were kept last, so that the model would have spent more than it
                says, or more than were entered.
        """
        if not self._run.kept <= step <= self._run.steps:
            raise PrivacyError(
                f"it says {step} steps, and of this run {self._record.path} has {self._run.kept} that were kept last, "
                f"of {self._run.steps} that were begun"
            )
        self._kept = step

    def saved(self, step: int) -> None:
        """Enter the steps of the checkpoint, which may then say no fewer; see `dpmix.execution.Watcher`."""
        self._kept = step
        self._record.count(self._run.key, self._counted, self._run.state, self._lost or 0, kept=step)

    def epoch(self, epoch: int, accuracies: Sequence[float]) -> None:
        """See `dpmix.execution.Watcher`; of research alone."""
        self._line(f"epoch {epoch}: accuracy {accuracies[0]:.2f} % of the test images")
        for tracker in self._trackers:
            tracker.log({"test accuracy": accuracies[0]}, self._at + 1)

    def done(self, executed: int) -> None:
        """Record that the run is finished, with the steps that it executed, and close the bar."""
        self._track(executed)
        self.close()
        state = "finished" if self._run.state == "running" else self._run.state
        self._record.count(self._run.key, (self._lost or 0) + executed, state)

    def withdraw(self) -> bool:
        """Take the run out of the record if no step of it was begun, in this attempt or before; whether that was so."""
        if self._run.steps or self._lost is not None:
            return False
        self._record.withdraw(self._run.key)
        return True

    def close(self) -> None:
        """Remove the bar from the screen, and close the trackers."""
        for tracker in self._trackers:
            tracker.close()
        self._trackers = ()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, step: int, steps: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=steps, initial=step, desc="training", leave=False, bar_format=_BAR)
            self._bar.update(step - self._bar.n)
            if now - self._shown >= 1.0:
                self._shown = now
                self._bar.set_postfix_str(self._state(step, steps, now, self._cost / _SHARE))
        elif now - self._shown >= _EVERY_SECONDS and step > self._first:
            self._shown = now
            self._line(f"step {step} of {steps}, {self._state(step, steps, now)}")

    def _state(self, step: int, steps: int, now: float, seldom: float = 0.0) -> str:
        """ε, speed and time left in words; ε is computed anew if that is `seldom` seconds ago."""
        if now - self._computed >= seldom:
            self._epsilon = self._spent(step)
            self._computed = time.monotonic()
            self._cost = self._computed - now
        speed = self._speed(step, now)
        left = (steps - step) * self._images / speed if speed else 0.0
        if self._run.state != "research":
            left = one_digit(left)
        of = f"ε = {self._epsilon} of {self._plan.target_epsilon:g}"
        return f"{of}, about {speed:,.0f} images/s, about {left:.0f} s left"

    def _speed(self, step: int, now: float) -> float:
        """Images/s of all steps so far, of a release in one digit."""
        speed = (step - self._first) * self._images / max(now - self._began, 1e-9)
        return speed if self._run.state == "research" else one_digit(speed)

    def _spent(self, step: int) -> str:
        executed = [Steps(self._plan.noise_multiplier, self._plan.step_rate, step)]
        return rounded_up(self._plan.stated(executed)[1], 2)

    def _track(self, step: int) -> None:
        if self._trackers and step > self._first:
            values = {"epsilon": float(self._spent(step)), "images per second": self._speed(step, time.monotonic())}
            for tracker in self._trackers:
                tracker.log(values, step)

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            say(text)
