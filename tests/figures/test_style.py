import hashlib
import subprocess
import sys
from pathlib import Path

from dpmix.figures.figure1 import figure1
from dpmix.figures.figure2 import figure2
from tests.figures import made_up
from tests.figures.made_up import example, panels

DRAW = """
import runpy, sys
from pathlib import Path
from dpmix.figures.figure1 import figure1
from dpmix.figures.figure2 import figure2
made_up = runpy.run_path(sys.argv[1])
figure1(made_up["example"](), Path(sys.argv[2], "figure1"))
figure2(made_up["panels"](), Path(sys.argv[2], "figure2"))
"""


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}

    figure1(example(), tmp_path / "here" / "figure1")
    figure2(panels(), tmp_path / "here" / "figure2")
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run([sys.executable, "-c", DRAW, made_up.__file__, str(there)], check=True)
    assert len(digests(there)) == 5
    assert digests(there) == digests(tmp_path / "here")
