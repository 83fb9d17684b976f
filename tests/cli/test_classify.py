"""`dpmix classify` with something else where the model belongs: one line that says which argument is wrong."""

from pathlib import Path

import pytest

from dpmix.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("gone.safetensors gone.png", "MODEL gone.safetensors does not exist; a run with release: true leaves"),
        ("images picture.png", "MODEL images is a folder; write the model first"),
        ("images model.safetensors", "MODEL images is a folder; write the model first"),
        ("picture.png model.safetensors", "MODEL picture.png is no released model; write the model first"),
        ("model.safetensors gone.png", "model.safetensors is not a whole released model; copy or make it again"),
        ("picture.png images", "picture.png is not a whole released model; copy or make it again"),
    ],
)
def test_the_model_is_looked_at_before_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for name in ("picture.png", "model.safetensors"):
        Path(name).write_bytes(b"neither a picture nor a model")
    monkeypatch.setattr("sys.argv", ["dpmix", "classify", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    line = str(caught.value.code)
    assert line.startswith(f"error: {words}")
    assert "\n" not in line
