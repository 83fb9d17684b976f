"""Digests of tensors: of the file that holds them, and of them alone."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpmix.errors import DataError
from dpmix.seals import SEAL, check_tensors, file_digest, save_tensors, tensors_digest


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
