"""Locks of calls that were killed, and of calls that run."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dpmix.workflow.owner import Caller, calling, locked


def ended() -> Caller:
    """A process that has ended."""
    program = "import json, dataclasses; from dpmix.workflow.owner import Caller; "
    program += "print(json.dumps(dataclasses.asdict(Caller.this())))"
    return Caller(**json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout))


def locked_by(records: Path, *callers: Caller | str) -> list[Path]:
    """Snakemake's locks in a folder, and the notes of these callers."""
    files = [records / "locks" / f"{number}.{kind}.lock" for number, kind in enumerate(("input", "output"))]
    notes = [records / "callers" / f"{number}.json" for number, _ in enumerate(callers)]
    for path in (*files, *notes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("results/demo/tables/table9.csv\n")
    for note, caller in zip(notes, callers, strict=True):
        note.write_text(caller if isinstance(caller, str) else json.dumps(asdict(caller)))
    return files


def test_who_lives_is_known_by_more_than_a_number() -> None:
    this, gone = Caller.this(), ended()
    assert not this.is_dead()
    assert gone.is_dead()
    # Another process has been given the number since.
    assert replace(this, birth=this.birth - 1).is_dead()
    # The machine was started anew.
    assert replace(this, boot="another").is_dead()
    # Of another machine or container nothing is certain.
    assert not replace(gone, host="elsewhere").is_dead()
    assert not replace(gone, space=gone.space + 1).is_dead()


def test_what_the_dead_have_locked_is_free_again(tmp_path: Path) -> None:
    files = locked_by(tmp_path, ended(), ended())
    with calling(tmp_path):
        assert not any(path.exists() for path in files)
        (note,) = (tmp_path / "callers").iterdir()
        assert Caller(**json.loads(note.read_text())).process == Caller.this().process
    assert not list((tmp_path / "callers").iterdir())


def test_a_note_that_was_being_written_when_its_call_was_killed_is_none(tmp_path: Path) -> None:
    files = locked_by(tmp_path, ended())
    torn = tmp_path / "callers" / ".machine-17-x1y2.json"
    torn.write_text("{")
    with calling(tmp_path):
        assert not any(path.exists() for path in (*files, torn))


@pytest.mark.parametrize("who", ["elsewhere", "here", "unreadable", "nobody"])
def test_what_may_be_in_use_stays_locked(tmp_path: Path, who: str) -> None:
    callers = {
        "elsewhere": [ended(), replace(ended(), host="elsewhere")],
        "here": [ended(), replace(Caller.this(), process=1, birth=0)],
        "unreadable": [ended(), "{"],
        "nobody": [],
    }[who]
    if who == "here":
        running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        birth = int(Path(f"/proc/{running.pid}/stat").read_text().split()[21])
        callers[1] = replace(Caller.this(), process=running.pid, birth=birth)
    files = locked_by(tmp_path, *callers)
    with calling(tmp_path):
        assert all(path.exists() for path in files)
        said = str(locked(tmp_path))
    assert "\n" not in said
    if who == "here":
        running.kill()
        running.wait()
        assert f"(process {running.pid} on {Caller.this().host}, since " in said
        assert "--unlock" not in said
        with calling(tmp_path):
            assert not any(path.exists() for path in files)
    else:
        assert ("on elsewhere, since" in said) == (who == "elsewhere")
        assert "snakemake --unlock" in said
