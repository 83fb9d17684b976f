"""What a run with `engine: jax` may not ask for, because the JAX engine does not compute it."""

from dpmix.params.models import ModelSpec
from dpmix.params.settings import RunSettings


def objection(model: ModelSpec, settings: RunSettings) -> str | None:
    """Why a run cannot be computed by JAX, with a remedy, as the end of a message that begins `engine: jax`; else None.

    Args:
        model: what is trained.
        settings: of the run.
    """
    if model.frozen:
        return "is for networks from scratch, and a head on an encoder has clipped sums in closed form; remove it"
    if getattr(model, "jax_logits", None) is None:
        return f"has no network of kind {model.kind}; set engine: torch, or write its logits (docs/add-a-method.md)"
    if settings.microbatch_size > 1:
        return "clips examples and not microbatches; set microbatch_size: 1, or engine: torch"
    if settings.clipping != "flat":
        return f"clips to C and knows no clipping: {settings.clipping}; set clipping: flat, or engine: torch"
    if settings.precision != "float32":
        return f"computes in float32 and not in {settings.precision}; set precision: float32, or engine: torch"
    return None
