"""The page without a mouse: the whole of it is walked by Tab, and each kind of control is worked by its keys."""

import shutil
from typing import Any

import pytest

from tests.needs import CHROMIUM, needs
from tests.report.page.window import Opened

pytestmark = [pytest.mark.slow, needs(CHROMIUM, shutil.which("chromium") is not None)]

# What can be worked: `controls` keeps them, so that a step of the walk can say which of them it has reached.
CONTROLS = """within => {
  const all = [...document.querySelector(within).querySelectorAll(
    "a[href], button, select, input, summary, [tabindex='0']")];
  window.controls = all.filter(one => one.checkVisibility({visibilityProperty: true}));
  return window.controls.length;
}"""

# Where the focus is, and what is wrong with how it is shown.
FOCUS = """() => {
  const one = document.activeElement, at = window.controls.indexOf(one);
  if (at < 0) return [at, one === document.body ? "" : `not a control: ${one.outerHTML.slice(0, 120)}`];
  const {outlineStyle, outlineWidth} = getComputedStyle(one), wrong = [];
  if (outlineStyle === "none" || parseFloat(outlineWidth) < 1) wrong.push("no outline");
  const box = one.getClientRects()[0], x = Math.min(box.x + box.width / 2, innerWidth - 2);
  const top = Math.max(box.top, 0), bottom = Math.min(box.bottom, innerHeight);
  const seen = top < bottom && document.elementFromPoint(Math.max(x, 1), (top + bottom) / 2);
  if (!seen || !(one.contains(seen) || seen.contains(one))) wrong.push(`covered by ${seen?.outerHTML?.slice(0, 60)}`);
  return [at, wrong.length ? `${wrong.join(", ")}: ${one.outerHTML.slice(0, 120)}` : ""];
}"""


def walk(opened: Opened, within: str = "body", key: str = "Tab") -> list[int]:
    """Press the key until the focus has left, or come round; what is reached, by its place among the controls."""
    count = opened.page.evaluate(CONTROLS, within)
    assert count > 3
    reached: list[int] = []
    wrong: list[str] = []
    for _ in range(count + 5):
        opened.page.keyboard.press(key)
        at, said = opened.page.evaluate(FOCUS)
        wrong += [said] if said else []
        if at < 0 or (reached and at == reached[0]):
            break
        reached.append(at)
    assert wrong == []
    return reached


@pytest.mark.parametrize("width", [360, 1280])
def test_tab_reaches_every_control_in_order_shows_where_it_is_and_comes_out_at_the_end(
    browser: Any, url: str, width: int
) -> None:
    with Opened(browser, url, width, reduced_motion="reduce") as opened:
        opened.scrolled()
        opened.page.evaluate("scrollTo(0, 0)")
        reached = walk(opened)
        assert reached == list(range(opened.page.evaluate("controls.length")))
        assert len(reached) > 100
        assert opened.said == []


def test_tab_reaches_every_control_of_a_cell_and_escape_gives_the_focus_back(browser: Any, url: str) -> None:
    with Opened(browser, url) as opened:
        button = opened.page.locator("#table3 button.open").nth(3)
        button.focus()
        opened.page.keyboard.press("Space")
        dialog = opened.page.locator("dialog[open]")
        assert dialog.evaluate("one => one.contains(document.activeElement)")
        assert dialog.get_by_role("button", name="Close").evaluate("one => one === document.activeElement")
        reached = walk(opened, "dialog")
        assert reached[: opened.page.evaluate("controls.length") - 1] == list(
            range(1, opened.page.evaluate("controls.length"))
        )
        summary = dialog.locator("summary").first
        summary.focus()
        opened.page.keyboard.press("Enter")
        assert dialog.locator("details").first.get_attribute("open") is not None
        opened.page.keyboard.press("Escape")
        assert dialog.count() == 0
        assert button.evaluate("one => one === document.activeElement")
        opened.page.keyboard.press("Enter")
        close = opened.page.locator("dialog[open]").get_by_role("button", name="Close")
        close.focus()
        opened.page.keyboard.press("Space")
        assert button.evaluate("one => one === document.activeElement")
        opened.page.keyboard.press("Shift+Tab")  # and no trap on the way back
        assert not button.evaluate("one => one === document.activeElement")


def test_the_focus_of_a_cell_that_filters_have_hidden_goes_to_its_table(browser: Any, url: str) -> None:
    with Opened(browser, f"{url}#?method=DP-Mix_Diff&cell=table3/1") as opened:
        cell = opened.page.locator("#table3 td[data-cell='1']")
        assert cell.evaluate("one => one.classList.contains('off')")
        opened.page.keyboard.press("Escape")
        assert opened.page.locator("dialog[open]").count() == 0
        assert opened.page.evaluate("document.activeElement.closest('section')?.id") == "table3"


def test_each_kind_of_control_is_worked_by_its_keys(browser: Any, url: str) -> None:
    with Opened(browser, url, permissions=["clipboard-read", "clipboard-write"]) as opened:
        press, page = opened.page.keyboard.press, opened.page
        press("Tab")
        press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        everything = opened.visible()
        page.locator("select[name=method]").focus()
        press("ArrowDown")
        assert 0 < opened.visible() < everything
        page.locator(".filters button[type=reset]").focus()
        press("Space")
        page.wait_for_function("document.querySelector('select[name=method]').value === ''")
        assert opened.visible() == everything
        page.locator("input[name=q]").focus()
        page.keyboard.type("Table 12")
        assert 0 < opened.visible() < everything
        press("Escape")
        page.wait_for_function("document.querySelector('input[name=q]').value === ''")
        assert opened.visible() == everything
        head = page.locator("#table3 th button").first
        for key, order in (("Enter", "ascending"), ("Space", "descending"), ("Enter", None)):
            head.focus()
            press(key)
            assert page.locator("#table3 th").first.get_attribute("aria-sort") == order
        copy = page.get_by_role("button", name="Copy Table 3 as CSV")
        copy.focus()
        press("Enter")
        copy.get_by_text("Copied").wait_for()
        assert copy.evaluate("one => one === document.activeElement")
        part = page.locator(".claim summary").first
        part.focus()
        press("Space")
        assert page.locator(".claim details").first.get_attribute("open") is not None
        link = page.locator("nav a[href='#table10']")
        link.focus()
        press("Enter")
        page.wait_for_function("location.hash.startsWith('#table10')")


def test_a_table_that_is_wider_than_the_window_is_scrolled_by_arrows(browser: Any, url: str) -> None:
    with Opened(browser, url, 360, reduced_motion="reduce") as opened:
        box = opened.page.locator("#table3 .box")
        assert box.evaluate("one => one.scrollWidth > one.clientWidth")
        box.focus()
        for _ in range(3):
            opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_function("document.querySelector('#table3 .box').scrollLeft > 0")
