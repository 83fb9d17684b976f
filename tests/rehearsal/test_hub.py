"""The hub's protocol and its client: files, faults and refusals, on repositories of small files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpmix.errors import DataError
from rehearsal.faults import (
    Busy,
    Changed,
    Circular,
    Compressed,
    Drip,
    Dropped,
    Fault,
    Nowhere,
    Overstated,
    Page,
    Truncated,
)
from rehearsal.hub import EXPIRED_TOKEN, VALID_TOKEN, Hub, Repository, hub_serving

NAME, FILE = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip_model.safetensors"
BODY = bytes(range(256)) * 4000

# The client reads HF_ENDPOINT when it is imported, so each call has a process of its own.
CALL = f"""
import sys, time
time.sleep = lambda seconds: print("pause", seconds) if seconds > 30 else None
from dpmix import network
network.PAUSES = (0.0, 0.0, 0.0)
from dpmix.errors import DataError
from dpmix.hub import hub_file, refusal
try:
    print(hub_file({NAME!r}, sys.argv[1:]))
except DataError as error:
    sys.exit(f"error: {{error}}")
except Exception as error:
    sys.exit("error: " + "; ".join(refusal(error, {NAME!r})))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_serving() as running:
        files = {FILE: BODY, "config.json": b'{"a": 1}', "open_clip_pytorch_model.bin": b"a pickle"}
        running.repositories[NAME] = Repository(files, "a" * 40)
        yield running


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("HF_") and not name.lower().endswith("_proxy")}  # fmt: skip
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **more}


def ask(hub: Hub, home: Path, *names: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CALL, *(names or (FILE,))], env=environment(hub, home, **more),
                          capture_output=True, text=True)  # fmt: skip


def got(done: subprocess.CompletedProcess[str]) -> bytes:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1]).read_bytes()


def refused(done: subprocess.CompletedProcess[str], home: Path) -> str:
    """The one line of an error; nothing is kept that could be taken for the file."""
    assert done.returncode == 1, done.stdout
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert "Traceback" not in done.stderr
    assert [path for path in home.rglob("blobs/*") if path.is_file() and path.read_bytes() == BODY] == []
    assert [path for path in home.rglob("snapshots/*/*") if path.is_file()] == []
    return line


def test_a_file_comes_from_the_store_without_the_token_and_once(hub: Hub, tmp_path: Path) -> None:
    for _ in range(2):
        assert got(ask(hub, tmp_path, HF_TOKEN=VALID_TOKEN)) == BODY
    assert hub.objects.requests(hub.place(NAME, FILE)) == 1
    assert hub.objects.tokens == {""}
    assert got(ask(hub, tmp_path, "config.json")) == b'{"a": 1}'


def test_the_pickle_is_asked_for_only_where_there_are_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    names = [FILE, "open_clip_pytorch_model.bin"]
    assert got(ask(hub, tmp_path, *names)) == BODY
    hub.objects.faults[hub.place(NAME, FILE)] = Busy()
    assert "503" in refused(ask(hub, tmp_path / "other", *names), tmp_path / "other")
    assert hub.objects.requests(hub.place(NAME, names[1])) == 0
    del hub.repositories[NAME].files[FILE]  # type: ignore[attr-defined]
    assert got(ask(hub, tmp_path / "old", *names)) == b"a pickle"


PASSING: dict[str, Fault] = {
    "dropped": Dropped(2),
    "busy": Busy(2, status=503),
    "too many requests": Busy(1, status=429, retry_after="1"),
    "changed on the way": Changed(1),
    "slow": Drip(1, piece=40_000, pause_s=0.02),
    "more announced than there is": Overstated(1),
    "compressed": Compressed(1),
    "a redirect to nowhere": Nowhere(1),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_ends_in_the_file(fault: str, hub: Hub, tmp_path: Path) -> None:
    PASSING[fault].struck = 0
    hub.objects.faults[hub.place(NAME, FILE)] = PASSING[fault]
    assert got(ask(hub, tmp_path)) == BODY
    assert PASSING[fault].struck == PASSING[fault].times


LASTING: dict[str, tuple[Fault, str]] = {
    "changed": (Changed(), "arrives with another checksum than the hub says; something changes it on the way"),
    "truncated": (Truncated(), "Consistency check failed"),
    "busy": (Busy(), "503"),
    "nothing, said to be all": (Truncated(share=0.0), "Consistency check failed"),
    "more announced than there is": (Overstated(), "without sending complete message body"),
    "no such part": (Busy(status=416), "416"),
    "a redirect to nowhere": (Nowhere(), "Connection refused"),
    "a redirect to itself": (Circular(), "maximum allowed redirects"),
    "a proxy's page": (Page(), "Consistency check failed"),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_is_one_line(fault: str, hub: Hub, tmp_path: Path) -> None:
    trouble, words = LASTING[fault]
    hub.objects.faults[hub.place(NAME, FILE)] = trouble
    assert words in refused(ask(hub, tmp_path), tmp_path)
    hub.objects.faults.clear()
    assert got(ask(hub, tmp_path)) == BODY


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("large", [True, False])
def test_a_hub_that_asks_for_a_day_is_not_waited_for(status: int, large: bool, hub: Hub, tmp_path: Path) -> None:
    """Nor by its client, which would by itself; where it is for less than ten minutes it is, and said so."""
    faults, place = hub.faults, f"/{NAME}/resolve/main/{FILE}"
    if large:
        faults, place = hub.objects.faults, hub.place(NAME, FILE)
    busy = faults[place] = Busy(status=status, retry_after="86400")
    done = ask(hub, tmp_path)
    assert str(status) in refused(done, tmp_path)
    assert "pause" not in done.stdout
    assert busy.struck == 1
    faults[place] = Busy(1, status=status, retry_after="100")
    done = ask(hub, tmp_path)
    assert got(done) == BODY
    assert "pause 100.0" in done.stdout
    assert "trying again in 100 s" in done.stderr


def test_a_proxy_in_front_of_the_hub_is_told_from_it(hub: Hub, tmp_path: Path) -> None:
    hub.faults[f"/{NAME}/resolve/main/{FILE}"] = Page()
    line = refused(ask(hub, tmp_path), tmp_path)
    assert f"{hub.url} does not answer as the hub does, perhaps because a proxy or a login is between" in line


def test_refusals_say_what_to_do(hub: Hub, tmp_path: Path) -> None:
    line = refused(ask(hub, tmp_path, HF_TOKEN=EXPIRED_TOKEN), tmp_path)
    assert "the token, which is wrong or has expired; get a new one by `hf auth login`, or unset HF_TOKEN" in line
    hub.repositories[NAME].gated = True
    for token in ({}, {"HF_TOKEN": VALID_TOKEN}):
        line = refused(ask(hub, tmp_path, **token), tmp_path)
        assert f"the repository is gated; accept its terms at {hub.url}/{NAME} and log in by `hf auth login`" in line
    # The remedy works.
    hub.repositories[NAME].accepted = (VALID_TOKEN,)
    assert got(ask(hub, tmp_path, HF_TOKEN=VALID_TOKEN)) == BODY
    del hub.repositories[NAME]
    line = refused(ask(hub, tmp_path / "none"), tmp_path / "none")
    assert "no such repository, or it is private; correct its name, or log in" in line


def test_no_names_are_no_file() -> None:
    from dpmix.hub import hub_file

    with pytest.raises(ValueError, match="no names"):
        hub_file(NAME, [])
    assert DataError
