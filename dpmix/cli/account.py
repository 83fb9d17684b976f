"""`dpmix account`: the noise that a private run needs, or the ε of a given noise."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dpmix.errors import ParamsError, PrivacyError


def account(
    n: Annotated[int, typer.Option("--n", min=1, help="Published number of training examples.")],
    batch: Annotated[int, typer.Option(min=1, help="Expected (logical) batch size B.")],
    epochs: Annotated[float, typer.Option(help="Expected passes over the data; T = floor(epochs N / B) steps.")],
    delta: Annotated[float, typer.Option(help="δ, well below 1 / N.")] = 1e-5,
    epsilon: Annotated[float | None, typer.Option(help="Calibrate the noise to this ε.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Or: the ε of this noise multiplier σ.")] = None,
    accountant: Annotated[str, typer.Option(help="Which one calibrates: rdp, prv or pld.")] = "pld",
    clip_norm: Annotated[float, typer.Option(help="Bound C on the norm of one gradient.")] = 1.0,
    microbatch_size: Annotated[
        int, typer.Option(min=1, help="Examples clipped together; above 1 doubles the noise.")
    ] = 1,
) -> None:
    """Print σ, T, q and ε under each accountant, for a target ε or for a given noise."""
    from dpmix.privacy.accounting import ACCOUNTANTS, rounded_up
    from dpmix.privacy.plan import Plan

    if (epsilon is None) == (noise_multiplier is None):
        raise ParamsError(
            "it is not clear what to account for; give either --epsilon, to calibrate the noise, or --noise-multiplier"
        )
    given: dict[str, Any] = {
        "population": n,
        "batch_size": batch,
        "epochs": epochs,
        "clip_norm": clip_norm,
        "delta": delta,
        "accountant": accountant,
        "microbatch_size": microbatch_size,
    }
    if epsilon is not None:
        plan = Plan.calibrated(**given, epsilon=epsilon)
    else:
        assert noise_multiplier is not None
        plan = Plan.make(**given, noise_multiplier=noise_multiplier)
    spent = plan.epsilons()
    if not spent:
        raise PrivacyError(f"no accountant can bound noise multiplier {plan.noise_multiplier:g}; use more noise")
    # What was calibrated is rounded up: whoever copies it must not add less noise than was accounted for.
    shown = f"{plan.noise_multiplier:.6g}" if epsilon is None else rounded_up(plan.noise_multiplier, 6)
    std = f"{plan.noise_std:.6g}" if epsilon is None else rounded_up(plan.noise_std, 6)
    rows = [
        ("noise multiplier σ", shown),
        ("noise on the sum", f"{std} (sensitivity {plan.sensitivity:g})"),
        ("steps T", str(plan.steps)),
        ("sampling rate q", f"{plan.sampling_rate:.6g}"),
        ("delta", f"{plan.delta:g}"),
        ("calibrated by", _calibration(plan.accountant, plan.private, epsilon, ACCOUNTANTS)),
    ]
    for name in ACCOUNTANTS:
        value = spent.get(name)
        mark = " (calibrated)" if epsilon is not None and name == plan.accountant and plan.private else ""
        rows.append((f"epsilon, {name}", "cannot evaluate" if value is None else rounded_up(value, 4) + mark))
    width = max(len(label) for label, _ in rows)
    for label, value_text in rows:
        typer.echo(f"{label:<{width}}  {value_text}")
    if plan.delta * plan.population >= 1:
        typer.echo(
            f"note: delta is not below 1 / N = {1 / plan.population:.2g}, which protects nobody in particular", err=True
        )


def _calibration(chosen: str, private: bool, epsilon: float | None, accountants: Sequence[str]) -> str:
    """In words: which accountant calibrated the noise, and what the ε of the other accountants mean."""
    if epsilon is None:
        return "none, the noise was given; each accountant below bounds its ε"
    if not private:
        return "none, there is no noise"
    others = " and ".join(name for name in accountants if name != chosen)
    return f"{chosen}, to ε = {epsilon:g}; {others} bound the ε of the same noise, for comparison"
