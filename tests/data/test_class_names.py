"""Class names as people say them."""

import pytest

from dpmix.data.class_names import prompt_name

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("airplane", "airplane"),
        ("maple_tree", "maple tree"),
        ("AnnualCrop", "annual crop"),
        ("025.cactus", "cactus"),
        ("251.airplanes-101", "airplanes"),
        ("apartment_building/outdoor", "apartment building outdoor"),
        ("7", "7"),
    ],
)
def test_class_names_are_spoken_plainly(name: str, caption: str) -> None:
    assert prompt_name(name) == caption
