"""Takes the README's picture: the first screen of the report of `results/reference/demo`, as a browser shows it.

`make picture` runs it. The picture has the digest of what it shows in its own file, which a test compares with what is
there now.
"""

import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "report.png"
RESULTS = ROOT / "results" / "reference" / "demo"
SIZE = {"width": 1280, "height": 1130}
DIGEST = "inputs"


def digest() -> str:
    """The SHA-256 of all that the picture shows, as the page has it: looks, contents, first screen, and what draws.

    Its pictures are those that stand in where scripts are off, so that a change of the code of charts is seen too.
    """
    from dpmix.report.data import collect
    from dpmix.report.page.build import page

    text = page(collect(RESULTS), RESULTS, ROOT / "index.html")
    parts = re.findall(r'<style>.*?</style>|<nav .*?</nav>|<header class="first">.*?</header>', text, flags=re.DOTALL)
    assert len(parts) == 3
    drawing = (ROOT / "dpmix" / "report" / "page" / "page.js").read_text(encoding="utf-8")
    return hashlib.sha256("".join([*parts, drawing]).encode()).hexdigest()


def digest_in(picture: Path) -> str | None:
    """The digest of what a picture shows; None if it has none."""
    with Image.open(picture) as image:
        return image.info.get(DIGEST)


def take(picture: Path) -> None:
    """Write the page, open it in Chromium, and keep what is in its window."""
    from playwright.sync_api import sync_playwright

    from dpmix.report.page.build import build

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("error: there is no chromium; install it (Debian: chromium) and run make picture again")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = build(RESULTS, Path(folder) / "index.html")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        window = browser.new_page(viewport=SIZE, color_scheme="light")
        window.goto(page.as_uri())
        for name in ("claims", "table3"):
            window.locator(f"header figure[data-chart={name}] svg.live").wait_for(timeout=120_000)
        window.screenshot(path=Path(folder) / "taken.png", timeout=120_000)
        browser.close()
        said = PngImagePlugin.PngInfo()
        said.add_text(DIGEST, digest())
        with Image.open(Path(folder) / "taken.png") as image:
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, pnginfo=said, optimize=True)


if __name__ == "__main__":
    take(PICTURE)
    print(PICTURE.relative_to(ROOT))
