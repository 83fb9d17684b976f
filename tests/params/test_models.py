"""Models that cannot be built or had are one line."""

from typing import Any

import pytest

from tests.params.mistakes import Raw, message, put


@pytest.mark.parametrize("change", [{"weights": "public"}, {"images": "some.zip"}])
def test_public_weights_and_images_go_together(raw: Raw, change: dict[str, str]) -> None:
    raw["models"]["tiny-vit"] |= change
    assert "weights: public and images: <folder or zip archive of public images> go together" in message(raw)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("models/tiny-wrn/depth", 11, "models.tiny-wrn: depth 11 of a wide residual network is not 6 b + 4; choose 10"),
        ("models/tiny-wrn/groups", 3, "models.tiny-wrn: groups: 3 do not divide base_channels: 8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(raw: Raw, place: str, value: Any, words: str) -> None:
    assert words in message(put(raw, place, value))
