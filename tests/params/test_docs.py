"""The reference of the params is fresh, complete, and says of a key what its declaration says."""

import re
from pathlib import Path

import pytest

from dpmix.params import docs
from dpmix.params.declared import Spec
from dpmix.params.scales import Params
from dpmix.params.settings import RunSettings, Settings
from dpmix.params.tables import table_kinds
from dpmix.views.transforms import TRANSFORMS

SPECS = docs.specs()


@pytest.fixture(scope="module")
def sections() -> dict[str, list[str]]:
    """The lines of the tables in each section of the page, by heading."""
    parts = re.split(r"^## (.*)\n", docs.text(), flags=re.M)[1:]
    lines = ([line for line in part.splitlines() if line.startswith("| `")] for part in parts[1::2])
    return dict(zip(parts[::2], lines, strict=True))


def test_the_page_is_what_is_declared(repository: Path) -> None:
    assert (repository / docs.PAGE).read_text(encoding="utf-8") == docs.text(), "run `python -m dpmix.params.docs`"


def test_every_part_of_the_file_is_among_them() -> None:
    assert {Params, Settings, *table_kinds().values()} <= set(SPECS.values())
    assert {"DatasetSpec", "WideResNetSpec", "EncoderSpec", "DiffusionSpec", "GivenImagesSpec", "Bundling"} <= set(
        SPECS
    )


@pytest.mark.parametrize("kind", [*SPECS.values(), RunSettings], ids=lambda kind: kind.__name__)
def test_every_key_says_what_it_is(kind: type[Spec]) -> None:
    assert (kind.__doc__ or "").strip()
    assert kind.model_fields
    for name, field in kind.model_fields.items():
        said = field.description or ""
        assert len(said) >= 7, f"{kind.__name__}.{name} has no description; give its Field one"
        assert not said.endswith("."), f"{kind.__name__}.{name}: a description is a phrase, without a full stop"


def test_every_key_has_a_line(sections: dict[str, list[str]]) -> None:
    assert len(sections) == len(SPECS)
    assert all(sections.values())
    keys = [re.findall(r"`(\w+)`", line)[0] for lines in sections.values() for line in lines]
    wanted = [
        name
        for kind in SPECS.values()
        for name in kind.model_fields
        if name != "name" and (kind is Settings or not issubclass(kind, Settings) or name not in Settings.model_fields)
    ]
    assert sorted(keys) == sorted(wanted)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("`datasets.<name>`", "| `channels` | `1` or `3` | `3` | channels | "),
        ("`datasets.<name>`", "| `label` | text | needed |  | What tables call it | no |"),
        ("`scales.<name>.tuning`", "| `holdout` | number in (0, 1) | `0.2` | share | "),
        ("`scales.<name>`", "| `seeds` | list of whole numbers in [0, 2³²), at least one | needed |  | "),
        ("`scales.<name>`", "| `synthetic_size` | mapping to whole numbers > 0 | none | images | \\|D\\| by data set"),
        ("`scales.<name>`", "| `scratch` | [settings](#settings-of-a-run) | needed |  | "),
        ("`scales.<name>.bundle`", "| `gpus` | whole number ≥ 0 | `0` | GPUs | "),
        ("Settings of a run", "| `epsilon` | number > 0 | must be given |  | "),
        ("Settings of a run", "| `learning_rate` | number > 0, `tuned` or mapping to numbers > 0 | must be given | "),
        ("Settings of a run", "| `mixup_alpha` | number in (0, 1] | `0.2` |  | "),
        ("Settings of a run", "| `transforms` | list of texts | `[]` |  | "),
        ("`scales.<name>.tables.<name>`, `kind: accuracy`", "| `rows` | list of [mappings](#"),
    ],
)
def test_a_line_says_what_may_be_written(sections: dict[str, list[str]], section: str, line: str) -> None:
    assert [one for one in sections[section] if one.startswith(line)]


@pytest.mark.parametrize(
    ("key", "determines"),
    [
        ("epochs", "yes"),
        ("padding", "yes, unless nothing is cropped"),
        ("mixup_pairs", "yes, unless k_self is 0 or its views are unmixed"),
    ],
)
def test_a_line_says_what_determines_the_result(sections: dict[str, list[str]], key: str, determines: str) -> None:
    (line,) = (one for one in sections["Settings of a run"] if one.startswith(f"| `{key}` |"))
    assert line.endswith(f" | {determines} |")


def test_the_transforms_are_where_the_page_says(repository: Path) -> None:
    (place,) = set(re.findall(r"dpmix/views/\w+\.py", RunSettings.model_fields["transforms"].description or ""))
    assert (repository / place).is_file()
    assert place.removesuffix(".py").replace("/", ".") == next(iter(TRANSFORMS.values())).__module__
