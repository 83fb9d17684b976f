import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpmix.errors import DataError, DpmixError
from dpmix.own.training.work_folder import empty, entered, remove


def test_it_is_the_working_directory_and_nobody_elses(tmp_path: Path) -> None:
    before, work = Path.cwd(), tmp_path / "m.work"
    with entered(work):
        assert Path.cwd().samefile(work)
        assert work.stat().st_mode & 0o777 == 0o700
    assert Path.cwd() == before
    with pytest.raises(ZeroDivisionError), entered(work):
        _ = 1 / 0
    assert Path.cwd() == before
    remove(work)
    assert not work.exists()


def test_two_processes_are_not_in_it_at_once(tmp_path: Path, repository: Path) -> None:
    program = (
        "import sys, pathlib; from dpmix.own.training.work_folder import entered\n"
        "with entered(pathlib.Path(sys.argv[1])): pass"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with entered(tmp_path / "m.work"):
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "m.work")], env=environment, capture_output=True, text=True
        )
    assert "is training in" in other.stderr
    with entered(tmp_path / "m.work"):
        pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DpmixError, match=r"name another: `output='FOLDER'`$"), entered(tmp_path / "file" / "m.work"):
        pass


def test_a_folder_of_somebody_elses_is_neither_entered_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "m.work").mkdir()
    (tmp_path / "m.work" / "chapter.tex").write_text("precious", encoding="utf-8")
    with pytest.raises(DataError, match=r"is in the way, and no unfinished run"), entered(tmp_path / "m.work"):
        pass
    remove(tmp_path / "m.work")
    assert (tmp_path / "m.work" / "chapter.tex").read_text(encoding="utf-8") == "precious"


def test_what_an_earlier_run_left_is_emptied(tmp_path: Path) -> None:
    with entered(tmp_path / "m.work"):
        Path("data").mkdir()
        Path("data", "pixels").touch()
        Path("request.json").touch()
        empty()
        assert [path.name for path in Path().iterdir()] == [".dpmix-unfinished"]
