"""Reads and validates `params.yaml`.

An unknown key, name or value is one `ParamsError` of one line, before anything runs.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dpmix.errors import ParamsError, known, one_line
from dpmix.params.keys import refuse_what_was_bent, with_text_keys
from dpmix.params.messages import explained
from dpmix.params.scales import Params


def _named(part: str, values: Any) -> Any:
    """The mapping, with each entry's key added to the entry as `name`.

    Raises:
        ParamsError: if an entry has another name.
    """
    if not isinstance(values, dict):
        return values
    for key, value in values.items():
        if isinstance(value, dict) and value.get("name", key) != key:
            raise ParamsError(f"params.yaml: {part}.{key}.name: the name of an entry is its key; remove this one")
    return {key: {**value, "name": key} if isinstance(value, dict) else value for key, value in values.items()}


def parse(raw: Any) -> Params:
    """Validate a mapping as read from YAML.

    Raises:
        ParamsError: with one line that names the place of the first mistake and a remedy.
    """
    if raw is None:
        raise ParamsError("params.yaml: the file is empty; get the project's parameters back and change those")
    if not isinstance(raw, dict):
        raise ParamsError(
            "params.yaml: the file is no mapping; write keys at its top level: scale, datasets, models and so on"
        )
    raw = with_text_keys(raw)
    for part in ("datasets", "models", "diffusion"):
        raw[part] = _named(part, raw.get(part))
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(explained(error, raw)) from error
    refuse_what_was_bent(raw, params)
    _check_names(params)
    return params


def _check_names(params: Params) -> None:
    """Refuse names of data sets, methods and the like that do not exist, also where no table uses them."""
    params.at()
    for name, dataset in params.datasets.items():
        if dataset.parent is not None:
            parent = params.datasets[known(dataset.parent, params.datasets, f"parent of {name}")]
            if parent.parent is not None:
                raise ParamsError(
                    f"params.yaml: datasets.{name}.parent: {dataset.parent} is itself a part of {parent.parent}; name "
                    "the data set that has synthetic images of its own"
                )
    for scale, spec in params.scales.items():
        known(spec.synthetic, params.diffusion, "diffusion model", f"scales.{scale}.synthetic")
        for part in ("synthetic_size", "datasets", "dataset_methods"):
            for name in getattr(spec, part):
                known(name, params.datasets, "dataset", f"scales.{scale}.{part}")
        for name, methods in spec.dataset_methods.items():
            for method in methods:
                known(method, params.methods, "method", f"scales.{scale}.dataset_methods.{name}")


def read(path: Path) -> Params:
    """Read and validate a params file.

    Raises:
        ParamsError: for a file that cannot be read, or its first mistake, in one line.
    """
    return parse(load_yaml(path))


def load_yaml(path: Path | str) -> Any:
    """The content of a YAML file.

    Raises:
        ParamsError: if it is missing, cannot be read or is not YAML.
    """
    import yaml

    from dpmix.params.strict import load

    try:
        with Path(path).open(encoding="utf-8") as file:
            return load(file)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; run from the repository's root or pass --params") from error
    except OSError as error:
        raise ParamsError(f"{path} cannot be read ({error.strerror}); pass a YAML file by --params") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {one_line(error)}; correct it there") from error
