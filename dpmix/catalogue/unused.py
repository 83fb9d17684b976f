"""Refuses settings of a table or figure that have no effect on any of its runs."""

from collections.abc import Iterable
from typing import Any

from dpmix.artefacts.experiment import Experiment
from dpmix.errors import ParamsError
from dpmix.params.declared import declared
from dpmix.params.settings import RunSettings, Settings

# The settings that can be without effect, and when they are, for the message.
_UNLESS = {name: why for name, field in RunSettings.model_fields.items() if (why := declared(field).unless)}


def refuse_unused(where: str, given: Iterable[tuple[Settings, Experiment]]) -> None:
    """Refuse a setting that changes none of the runs that it is given for.

    A setting that has an effect on one of the runs is accepted: a table may give `mixup_alpha` for several methods,
    only one of which mixes. Defaults of a scale, a data set or a method are not looked at.

    Args:
        where: the table or figure, for the message.
        given: for each run, the settings that the table or figure itself gives for it, and the run in canonical form
            (`Experiment.canonical`), in which a setting without effect has its default value.

    Raises:
        ParamsError: one line that names the setting and says why it changes nothing.
    """
    matters: dict[tuple[str, Any], bool] = {}
    for settings, run in given:
        for name in _UNLESS.keys() & settings.model_fields_set:
            value = getattr(settings, name)
            if value is not None:
                matters[name, value] = matters.get((name, value), False) or _matters(name, value, run)
    for (name, value), one_is_changed in sorted(matters.items(), key=str):
        if not one_is_changed:
            shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)
            raise ParamsError(
                f"params.yaml: {where}: {name}: {shown} changes no run, since {_UNLESS[name]} there; remove it"
            )


def _matters(name: str, value: Any, run: Experiment) -> bool:
    """Whether a run's canonical form keeps the value that it was given; a value equal to the default counts as kept."""
    kept = getattr(run, name)
    # The canonical form may reorder transforms or drop some, so they are only compared for being empty.
    return bool(kept) or not value if name == "transforms" else bool(kept == value)
