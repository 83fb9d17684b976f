"""Reads and validates `params.yaml`.

An unknown key, name or value is one `ParamsError` of one line, before anything runs.
"""

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dpmix.errors import ParamsError, known, naming
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


def _mapping(raw: Any) -> dict[str, Any]:
    if raw is None:
        raise ParamsError("params.yaml: the file is empty; get the project's parameters back and change those")
    if not isinstance(raw, dict):
        raise ParamsError(
            "params.yaml: the file is no mapping; write keys at its top level: scale, datasets, models and so on"
        )
    return raw


def parse(raw: Any) -> Params:
    """Validate a mapping as read from YAML.

    Raises:
        ParamsError: with one line that names the place of the first mistake and a remedy.
    """
    raw = with_text_keys(_mapping(raw))
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


def load_yaml(path: Path | str, option: str = "--params") -> Any:
    """The content of a YAML file, as `dpmix.params.strict` reads it.

    Args:
        path: of the file.
        option: by which another can be named, for messages.

    Raises:
        ParamsError: if it is missing, cannot be read or is not YAML.
    """
    from dpmix.params.strict import NotYaml, load

    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; run from the repository's root or pass {option}") from error
    except OSError as error:
        raise ParamsError(f"{path} cannot be read ({error.strerror}); pass a YAML file by {option}") from error
    try:
        return load(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise ParamsError(
            f"{path} is not UTF-8 but {'UTF-16' if utf_16 else f'something else in line {line}'}; save it as UTF-8"
        ) from error
    except NotYaml as error:
        raise ParamsError(f"{path} is not valid YAML: {error}; correct it there") from error


def load_configuration(paths: Sequence[Path | str], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a call of Snakemake asks for: the params file with what the command line says laid over it.

    Snakemake reads both by rules of its own, which are not those of `load_yaml`: this takes the place of its `config`.

    Args:
        paths: the files of `--configfile`, or the one that is read without it.
        given: the entries of `--config`, of which Snakemake reads a mapping's values as texts.

    Raises:
        ParamsError: if there are several files, or a pipe, or as for `load_yaml` and `parse`.
    """
    if len(paths) > 1:
        raise ParamsError(
            f"--configfile names several files, {', '.join(map(str, paths))}; name one, which has all, and targets "
            "before it or after --"
        )
    if Path(paths[0]).is_fifo():
        raise ParamsError(f"{paths[0]} is a pipe, which is read once, and each job reads the params; give a file")
    with naming(paths[0]):
        return _over(_mapping(load_yaml(paths[0], "--configfile")), given)


def _over(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    from dpmix.params.strict import scalar

    found = dict(base)
    for key, value in given.items():
        below = found.get(str(key))
        if isinstance(value, Mapping):
            value = _over(below if isinstance(below, dict) else {}, value)
        elif isinstance(value, list):
            value = [scalar(one) if isinstance(one, str) else one for one in value]
        found[str(key)] = scalar(value) if isinstance(value, str) else value
    return found
