"""Settings that a table or figure gives and none of its runs has any use for."""

from collections.abc import Iterable
from typing import Any

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError
from dpmix.params.specs import Settings

# The settings that may not matter to a run, and why they then do not.
_WHY = {
    "mixup_alpha": "nothing is mixed there",
    "mixing": "nothing is mixed there",
    "mixup_pairs": "k_self is 0 there",
    "transforms": "no view is transformed there",
    "padding": "nothing is cropped there",
    "augment_synthetic": "no synthetic image is transformed there",
    "mix_with": "k_diff is 0 there",
    "clipping": "a linear head is one layer",
}


def refuse_unused(where: str, given: Iterable[tuple[Settings, Experiment]]) -> None:
    """Refuse a setting that changes none of the runs that it is given for.

    One that matters to some of them stays: a table may lay `mixup_alpha` over methods of which one mixes. So do the
    defaults of a scale, a data set or a method, which nobody gives for a run in particular.

    Args:
        where: the table or figure, for the message.
        given: for each run what the table or figure says of it, and the run itself in canonical form, where whatever
            does not matter is at its default.

    Raises:
        ParamsError: one line that names the setting and says why it changes nothing.
    """
    matters: dict[tuple[str, Any], bool] = {}
    for settings, run in given:
        for name in _WHY.keys() & settings.model_fields_set:
            value = getattr(settings, name)
            if value is not None:
                matters[name, value] = matters.get((name, value), False) or _matters(name, value, run)
    for (name, value), one_is_changed in sorted(matters.items(), key=str):
        if not one_is_changed:
            shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)
            raise ParamsError(f"params.yaml: {where}: {name}: {shown} changes no run, since {_WHY[name]}; remove it")


def _matters(name: str, value: Any, run: Experiment) -> bool:
    """Whether a run has use for a value that it was given; a default changes nothing, and is no mistake."""
    kept = getattr(run, name)
    # Of transforms, the canonical form changes the order.
    return bool(kept) or not value if name == "transforms" else bool(kept == value)
