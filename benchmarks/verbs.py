"""`python -m benchmarks.verbs IMAGES …`: how long `dpmix train --epsilon 4` takes, from the command to the card.

Each folder of images is trained on once, by the command itself in a process of its own, with its defaults. Nothing is
left beside the images.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine, write_table
from dpmix.data.listing import read_listing


def seconds(images: Path) -> float:
    """Of one run, start of the process included."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--output", f"{folder}/model", "--ledger", f"{folder}/spent.json"]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dpmix", "train", str(images), "--epsilon", "4", *places], check=True)
        taken = time.perf_counter() - started
        assert Path(folder, "model", "README.md").is_file()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verbs", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="folders of images, as dpmix train takes them")
    rows = []
    for images in parser.parse_args().images:
        listing = read_listing(images)
        rows.append([len(listing.classes), len(listing.of("train")), f"{seconds(images):.1f}"])
    write_table(f"verbs-{machine()}", ["classes", "N", "seconds"], rows)


if __name__ == "__main__":
    main()
