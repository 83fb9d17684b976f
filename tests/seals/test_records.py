"""Records: what was changed is noticed, whatever was changed; what is only laid out otherwise is not."""

import hashlib
import json
from pathlib import Path

import pytest

from dpmix.errors import DataError
from dpmix.files import write_json
from dpmix.seals import SEAL, read_record, record_digest, records, records_read_once, seal_of, write_record

VALUES = {"b": [1, 2.5, None], "ε": {"d": float("inf"), "c": "–"}, "a": (1, 2)}


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


def test_within_records_read_once_a_file_is_opened_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    write_record(path, {"accuracy": 80})
    with records_read_once():
        first = read_record(path)
        with records_read_once():
            assert read_record(path) is first
        write_record(path, {"accuracy": 80.25})
        assert read_record(path) == {"accuracy": 80.25}
        write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "accuracy": 80.5})
        for _ in range(2):
            with pytest.raises(DataError, match="was damaged or changed"):
                read_record(path)
        path.unlink()
        with pytest.raises(DataError, match=r"made\.json"):
            read_record(path)
    write_record(path, {"accuracy": 81})
    assert read_record(path) is not read_record(path)


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
    monkeypatch.setattr(records, "_UNSEALED", [])
    path = tmp_path / "made.json"
    write_json(path, {"a": 1, "by": "0" * 64})
    assert read_record(path) == {"a": 1, "by": "0" * 64}
    assert capsys.readouterr().err.startswith(f"{path} has no digest, ")
    with pytest.raises(DataError, match=r"made\.json has no 'b', so it is not whole; delete it and run the same"):
        read_record(path)["b"]
    assert read_record(path).get("b") is None
    assert capsys.readouterr().err == ""
