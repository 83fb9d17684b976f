"""Whether a table on disk shows the runs on disk, by these params."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dpmix.catalogue import stamps
from dpmix.catalogue.catalogue import Catalogue
from dpmix.params.read import parse


@pytest.fixture
def params(repository: Path) -> dict[str, object]:
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def catalogue(params: dict[str, object]) -> Catalogue:
    return Catalogue(parse(params))


@pytest.fixture
def made(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """Everything on disk, each file with its own path for content, and stamped."""
    monkeypatch.chdir(tmp_path)
    targets = [*catalogue.targets, "report"]
    for target in targets:
        for path in (*stamps.sources_of(catalogue, target), *stamps.files_of(catalogue, target)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(path)
    for target in targets:
        stamps.write(catalogue, target)
    return catalogue


TABLE = Path("results/demo/tables/table12.csv")


def a_run(catalogue: Catalogue) -> Path:
    (path, *_) = stamps.sources_of(catalogue, "table12")
    return Path(path)


CHANGES: dict[str, Callable[[Catalogue], None]] = {
    "an edited table": lambda _: TABLE.write_text("94.4\n"),  # type: ignore[dict-item, return-value]
    "a table that is gone": lambda _: TABLE.unlink(),
    "another run at its path": lambda made: a_run(made).write_text("{}"),  # type: ignore[dict-item, return-value]
    "a run that is gone": lambda made: a_run(made).unlink(),
    "no stamp": lambda made: Path(stamps.stamp_of(made, "table12")).unlink(),
    "an empty stamp": lambda made: Path(stamps.stamp_of(made, "table12")).write_text(""),  # type: ignore[dict-item, return-value]
}


def test_what_was_made_of_what_is_there_fits(made: Catalogue) -> None:
    assert all(stamps.fits(made, target) for target in [*made.targets, "report"])
    assert stamps.outdated(made, []) == []
    # A copy of it all, with other times, is as good.
    shutil.copytree("results", "elsewhere/results", copy_function=shutil.copyfile)
    assert stamps.fits(made, "table12", Path("elsewhere"))


@pytest.mark.parametrize("change", CHANGES)
def test_what_shows_something_else_does_not(made: Catalogue, change: str) -> None:
    CHANGES[change](made)
    assert not stamps.fits(made, "table12")
    run = str(a_run(made))
    others = {one for one in made.targets if run in stamps.sources_of(made, one)} if "run" in change else {"table12"}
    assert set(stamps.outdated(made, [])) == others | {"report"}
    for words in (["table12"], [str(TABLE)], ["results/demo/tables/table12.json", "figure1"]):
        assert set(stamps.outdated(made, words)) == {"table12"}
    assert stamps.outdated(made, ["figure1"]) == []
    assert set(stamps.outdated(made, ["report"])) == others | {"report"}


def test_what_is_not_there_at_all_is_not_outdated(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stamps.outdated(catalogue, []) == []
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("from elsewhere\n")
    assert stamps.outdated(catalogue, [str(TABLE)]) == ["table12"]


def test_other_params_need_another_stamp(made: Catalogue, params: dict[str, object]) -> None:
    changed = Catalogue(parse(json.loads(json.dumps(params).replace('"Self-Aug"', '"Self-Augmentation"'))))
    assert stamps.stamp_of(changed, "table12") != stamps.stamp_of(made, "table12")
    assert not stamps.fits(changed, "table12")


def test_a_table_clears_its_own_stamps_only(made: Catalogue) -> None:
    """Also those of earlier params, and where one name begins with the other."""
    folder = Path("results/demo/stamps")
    earlier = [folder / f"{name}-0123456789" for name in ("table1", "table12", "table1-2")]
    for path in earlier:
        path.touch()
    stamps.remove(made, "table1")
    assert [path.exists() for path in earlier] == [False, True, True]
    assert not Path(stamps.stamp_of(made, "table1")).exists()
    assert stamps.fits(made, "table12")
