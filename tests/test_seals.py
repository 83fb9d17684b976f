"""Digests: what was changed is noticed, whatever was changed; what is only laid out otherwise is not."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpmix import seals
from dpmix.errors import DataError
from dpmix.files import write_json
from dpmix.seals import (
    DIGESTS,
    SEAL,
    check_files,
    check_folder,
    check_made,
    check_tensors,
    digests_of,
    file_digest,
    read_record,
    record_digest,
    save_tensors,
    seal_of,
    sealed_directory,
    tensors_digest,
    write_record,
)

VALUES = {"b": [1, 2.5, None], "ε": {"d": float("inf"), "c": "–"}, "a": (1, 2)}


# Records --------------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written_in_whatever_order_and_layout(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    write_record(path, VALUES)
    expected = {**VALUES, "a": [1, 2]}
    assert read_record(path) == expected
    held = json.loads(path.read_text(encoding="utf-8"))
    assert set(held) == {*VALUES, SEAL}
    path.write_text(json.dumps(dict(reversed(held.items()))), encoding="utf-8")
    assert read_record(path) == expected
    assert seal_of(path) == held[SEAL] == record_digest(expected)


def test_the_digest_of_a_record_is_the_sha256_of_its_canonical_json(tmp_path: Path) -> None:
    write_record(tmp_path / "made.json", {"b": 1.0, "a": "ä"})
    text = '{"a":"\\u00e4","b":1.0}'
    assert seal_of(tmp_path / "made.json") == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("change", [{"b": [1, 2.5, 0]}, {"b": [1.0, 2.5, None]}, {"more": 1}, {SEAL: "0" * 64}])
def test_a_changed_value_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "made.json"
    write_record(path, VALUES)
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **change})
    with pytest.raises(DataError) as caught:
        read_record(path)
    assert str(caught.value) == (
        f"{path} was damaged or changed after it was written (its digest is another); delete it and run the same "
        "command again"
    )


def test_two_runs_of_the_same_have_the_same_digest_and_their_times_are_checked_too(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_record(one, {"accuracy": 80, "times": {"seconds": 3.0}})
    write_record(other, {"accuracy": 80, "times": {"seconds": 4.0}})
    assert seal_of(one) == seal_of(other)
    assert read_record(one) == {"accuracy": 80, "times": {"seconds": 3.0}}
    one.write_text(one.read_text().replace("3.0", "2.0"))
    with pytest.raises(DataError, match=r"one\.json was damaged or changed"):
        read_record(one)


def test_every_byte_of_a_record_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever byte is flipped, what is read is what was written, or a line; the word `sha256` is no exception."""
    path = tmp_path / "made.json"
    write_record(path, {"steps": 10, "noise_multiplier": 1.5, "kind": "plan"})
    content, expected = path.read_bytes(), read_record(path)
    lines = []
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = read_record(path)
        except DataError as error:
            lines.append(str(error))
        else:
            assert found == expected
    assert len(lines) > len(content) / 2
    assert all(line.startswith(str(path)) and "\n" not in line for line in lines)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "kind"), [("[1]", "a list"), ("null", "nothing"), ("3", "a number"), ('"a"', "a text")]
)
def test_what_is_no_object_is_named(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "made.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"holds {kind} and no JSON object; make tea$"):
        read_record(path, "make tea")


def test_a_record_of_earlier_versions_is_read_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seals, "_UNSEALED", [])
    path = tmp_path / "made.json"
    write_json(path, {"a": 1, "by": "0" * 64})
    assert read_record(path) == {"a": 1, "by": "0" * 64}
    assert capsys.readouterr().err.startswith(f"{path} has no digest, ")
    with pytest.raises(DataError, match=r"made\.json has no 'b', so it is not whole; delete it and run the same"):
        read_record(path)["b"]
    assert read_record(path).get("b") is None
    assert capsys.readouterr().err == ""


# Files ----------------------------------------------------------------------------------------------------------------


def test_the_digest_of_a_file_is_its_sha256_and_of_a_large_one_that_of_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "_BLOCK", 1000)
    path = tmp_path / "file"
    for size in (0, 1, 999, 1000):
        content = os.urandom(size)
        path.write_bytes(content)
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
    for size in (1001, 2000, 4321):
        content = os.urandom(size)
        path.write_bytes(content)
        blocks = b"".join(hashlib.sha256(content[start : start + 1000]).digest() for start in range(0, size, 1000))
        assert file_digest(path) == hashlib.sha256(blocks).hexdigest()


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    reads: list[Path] = []
    real = seals._of_block
    monkeypatch.setattr(seals, "_of_block", lambda path, start: reads.append(path) or real(path, start))
    first = file_digest(path)
    assert (file_digest(path), len(reads)) == (first, 1)
    path.write_bytes(b"two")
    assert file_digest(path) != first
    assert len(reads) == 2


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cannot read \S+gone: No such file or directory; delete it and run the same"):
        file_digest(tmp_path / "gone")
    with pytest.raises(DataError, match=f"^cannot read {tmp_path}: "):
        file_digest(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with two files, one of them in a folder."""
    with sealed_directory(tmp_path / "made") as temporary:
        (temporary / "in").mkdir()
        (temporary / "in" / "weights").write_bytes(b"weights")
        (temporary / "config").write_text("config")
        (temporary / ".hidden").write_text("not counted")
    return tmp_path / "made"


def test_a_folder_is_sealed_when_all_is_written(folder: Path) -> None:
    assert set(digests_of(folder)) == {"config", "in/weights"}
    assert check_folder(folder) == {"files": digests_of(folder)}
    assert seal_of(folder / "config") == json.loads((folder / DIGESTS).read_text())[SEAL]
    (folder / ".hidden").unlink()
    (folder / "more").write_text("")
    check_made(folder / "config")


@pytest.mark.parametrize("name", ["in/weights", "config", DIGESTS])
def test_a_file_of_a_folder_that_was_changed_or_is_gone_is_one_line(folder: Path, name: str) -> None:
    remedy = f"delete {folder} and run the same command again"
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-3] + b"xyz")
    with pytest.raises(DataError) as caught:
        check_made(folder / "config")
    assert str(caught.value).startswith(f"{folder / name} ")
    assert str(caught.value).endswith(f"; {remedy}")
    if name != DIGESTS:
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"^{folder / name} is missing; {remedy}$"):
            check_made(folder / "config")


def test_only_the_first_process_of_a_machine_reads_all_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {"config": "0" * 64}
    with pytest.raises(DataError, match="was damaged or changed"):
        check_files(folder, digests)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(DataError, match="was damaged or changed"):
        check_files(folder, digests)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert check_files(folder, digests) is None


# Tensors --------------------------------------------------------------------------------------------------------------


def sealed(path: Path) -> None:
    save_tensors(path, {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.bfloat16)}, {"step": "12"})


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    """Of many texts the library writes another order nearly every time; what they say may hold quotes and umlauts."""
    metadata = {f"text {number}": 'a "quoted" \\ ä\n' * number for number in range(12)}
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path in paths:
        save_tensors(path, {"a": torch.ones(3), "b": torch.zeros(2, dtype=torch.int64)}, metadata)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], framework="pt") as file:
        assert {name: text for name, text in file.metadata().items() if name != "sha256"} == metadata
        assert file.get_tensor("a").tolist() == [1, 1, 1]


def test_every_byte_of_tensors_counts(tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    sealed(path)
    assert load_file(path)["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    content = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    assert said == {"step": "12", SEAL: said[SEAL]}
    assert hashlib.sha256(content.replace(said[SEAL].encode(), b"0" * 64)).hexdigest() == said[SEAL]
    check_tensors(path, said, "make tea")
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"made\.safetensors was damaged or changed .*; make tea$"):
            check_tensors(path, said, "make tea")


def test_the_digest_of_tensors_is_of_them_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    sealed(one)
    tensors = load_file(one)
    save_file(dict(reversed(tensors.items())), other, {"by": "another version"})
    assert one.read_bytes() != other.read_bytes()
    assert tensors_digest(one) == tensors_digest(other)
    for change in (
        {"b": tensors["b"] + 1},
        {"b": tensors["b"].reshape(3, 2)},
        {"a": tensors["a"].view(torch.int16)},
        {"more": tensors["a"].clone()},
    ):
        save_file({**tensors, **change}, other)
        assert tensors_digest(one) != tensors_digest(other)
    other.write_bytes(b"in another format")
    assert tensors_digest(other) == file_digest(other)
