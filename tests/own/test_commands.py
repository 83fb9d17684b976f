from pathlib import Path

from dpmix.own.commands import command, resume_command
from dpmix.own.request import request


def test_the_commands_that_are_told(images: Path) -> None:
    assert resume_command("my images", None) == "dpmix train 'my images' --resume"
    assert resume_command("a", "b c", research=True) == "dpmix train a --output 'b c' --resume"
    assert resume_command("a", None, research=True) == "dpmix train a --research --resume"
    asked = request(images, "elsewhere/m", epsilon=4.0, synthetic="far/away/d", unit="image", k_base=3)
    assert command(asked) == "dpmix train my-images --epsilon 4 --k-base 3 --synthetic d"
