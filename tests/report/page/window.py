"""A window of Chromium on a page, for the tests of pages."""

from typing import Any

WIDTHS, THEMES = (360, 768, 1280, 1920), ("light", "dark")
AA = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# Chromium asks its maker for updates, which no page of ours should wait for.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


class Opened:
    """A page in a window of its own, and whatever it complained of or asked the network for."""

    def __init__(self, browser: Any, url: str, width: int = 1280, theme: str = "light", **options: Any) -> None:
        self.window = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        self.page = self.window.new_page()
        self.page.set_default_timeout(240_000)  # other processes may run beside
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda asked: asked.url.startswith(("http", "ws")) and self.said.append(asked.url))
        self.page.goto(url)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.window.close()

    def scrolled(self) -> "Opened":
        """Every picture has been in sight, and is drawn."""
        for figure in self.page.locator("figure.chart").all():
            figure.scroll_into_view_if_needed()
            figure.locator("svg.live").wait_for()
        return self

    def visible(self) -> int:
        """How many cells show something."""
        return self.page.locator("section.table tbody tr:not([hidden]) td[data-cell]:not(.off) button.open").count()
