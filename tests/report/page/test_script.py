"""The page's script on tables, labels and addresses that are unlike the demo's."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dpmix.report.page.build import build
from dpmix.tables.captions import ACCURACY, EPSILON, MINUTES
from dpmix.tables.cells import Cell, Table
from dpmix.tables.render import write
from tests.needs import CHROMIUM, needs
from tests.report.made_runs import lay
from tests.report.made_up import payload_of
from tests.report.page.window import Opened

pytestmark = [pytest.mark.slow, needs(CHROMIUM, shutil.which("chromium") is not None)]

LONG = "a data set whose name is longer than any column of a telephone has room for, and longer still"
ODD = "b/c?d=e&f#g \"h\" 'i' <i>j</i> %25"


def odd_tables() -> list[Table]:
    """Labels with separators and markup, numbers among words, a table of one row, cells that are not there."""
    pairs = [("a", ODD), (f"a/{ODD}", "x"), ("my_own_data", "x"), (LONG, "x")]
    odd = tuple(
        Cell((dataset, model), (f"ε = {epsilon}",), (50.0 + place, 52.0 + place))
        for place, (dataset, model) in enumerate(pairs)
        for epsilon in ("0.5", "10")
    )
    mixed = tuple(
        Cell((label,), ("left",), values) for label, values in
        (("10", (3.0,)), ("∞", (-2.5,)), ("0.5", ()), ("0.25", (20.0,)), ("words", (3e-7,)), ("", (99.0,)))
    )  # fmt: skip
    mixed += (Cell(("10",), ("right",), (1.0,)),)
    single = tuple(Cell((), (method,), (60.0, 61.0)) for method in ("DP-Mix_Self", "Self_Made"))
    times = tuple(Cell((method,), (), (0.021, 0.025)) for method in ("DP-Mix_Self", "Self-Aug"))
    spent = tuple(Cell((method,), (), (0.990001, 0.980001)) for method in ("one", "two"))
    return [
        Table("odd", "Title: <x> & y", "", ACCURACY, ("Dataset", "Model"), ("ε",), odd, "demo"),
        Table("mixed", "Mixed", "", ACCURACY, ("Label",), ("Side",), mixed, "demo"),
        Table("single", "One row", "", ACCURACY, (), ("Method",), single, "demo"),
        Table("times", "Times", "", MINUTES, ("Method",), (), times, "demo"),
        Table("spent", "Spent", "", EPSILON, ("Method",), (), spent, "demo", decimals=4),
    ]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of `odd_tables`, of which no params are known."""
    folder = tmp_path_factory.mktemp("odd")
    for table in odd_tables():
        write(table, folder / "tables")
    return build(folder, folder / "index.html").as_uri()


def test_a_number_among_the_words_of_a_command_is_no_run(
    browser: Any, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = build(Path("results/demo"), tmp_path / "index.html", lay(tmp_path, repository, "12"), "2").as_uri()
    with Opened(browser, path) as opened:
        opened.page.locator("#table12 button.open").first.click()
        typed = opened.page.locator("dialog .command code").inner_text()
        assert " --configfile 2 -- results/demo/runs/" in typed
        assert (
            "2" in payload_of(Path("index.html").read_text(encoding="utf-8"))["tables"]["table12"]["cells"][0]["again"]
        )


def shown(opened: Opened, table: str) -> list[str]:
    """The labels of the rows in which a cell is to be seen."""
    found: list[str] = opened.page.evaluate(
        """id => [...document.querySelectorAll(`#${id} tbody tr:not([hidden])`)]
          .filter(row => row.querySelector("td[data-cell]:not(.off)")).map(row => row.cells[0].textContent)""",
        table,
    )
    return found


def test_labels_with_separators_and_markup_are_filtered_apart_and_survive_a_reload(browser: Any, odd: str) -> None:
    with Opened(browser, odd) as opened:
        opened.scrolled()
        picture = opened.page.locator("#table_odd figure.chart .drawn")
        opened.page.locator("select[name=dataset]").select_option("a")
        opened.page.locator("select[name=model]").select_option(ODD)
        assert shown(opened, "table_odd") == ["a"]
        opened.page.wait_for_function(
            "!document.querySelector('#table_odd figure.chart').textContent.includes('my_own_data')"
        )
        opened.page.reload()
        assert shown(opened, "table_odd") == ["a"]
        assert opened.page.locator("select[name=model]").input_value() == ODD
        # The other way in which the same characters make two labels.
        opened.page.evaluate("document.forms[0].reset()")
        opened.page.locator("select[name=dataset]").select_option(f"a/{ODD}")
        opened.page.locator("select[name=model]").select_option("x")
        assert shown(opened, "table_odd") == [f"a/{ODD}"]
        picture.scroll_into_view_if_needed()
        picture.locator("svg.live").wait_for()
        assert opened.page.locator("#table_odd i").count() == 0
        assert opened.said == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_label_of_any_length_leaves_its_picture_and_its_table_within_the_page(
    browser: Any, odd: str, width: int
) -> None:
    with Opened(browser, odd, width) as opened:
        opened.scrolled()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = opened.page.locator("#table_odd figure.chart")
        natural = int(drawn.locator("svg.live").get_attribute("width"))
        assert natural <= drawn.bounding_box()["width"]
        assert natural > 0.6 * drawn.bounding_box()["width"]


def test_a_label_keeps_its_underscores_but_for_what_is_lowered(browser: Any, odd: str) -> None:
    with Opened(browser, odd) as opened:
        said = opened.page.locator("select option").all_inner_texts()
        assert {"my_own_data", "DP-Mix Self", "Self_Made"} <= set(said)
        opened.page.locator("#table_odd tbody tr", has_text="my_own_data").locator("button.open").first.click()
        assert "my_own_data, x, ε = 0.5" in opened.page.locator("#cell-title").inner_text()


def test_numbers_sort_as_numbers_then_words_and_what_is_missing_stays_last(browser: Any, odd: str) -> None:
    with Opened(browser, odd) as opened:
        names = """() => [...document.querySelector("#table_mixed tbody").rows].map(row => row.cells[0].textContent)"""
        label, left, right = opened.page.locator("#table_mixed th button").all()
        label.click()
        assert opened.page.evaluate(names) == ["0.25", "0.5", "10", "∞", "", "words"]
        label.click()
        assert opened.page.evaluate(names) == ["∞", "10", "0.5", "0.25", "words", ""]
        left.click()
        assert opened.page.evaluate(names) == ["∞", "words", "10", "0.25", "", "0.5"]
        left.click()
        assert opened.page.evaluate(names) == ["", "0.25", "10", "words", "∞", "0.5"]
        right.click()
        assert opened.page.evaluate(names)[0] == "10"
        assert opened.page.locator("#table_single th button").count() == 0  # one row has no order


def test_a_table_of_one_row_is_filtered_opened_and_copied(browser: Any, odd: str) -> None:
    with Opened(browser, odd, permissions=["clipboard-read", "clipboard-write"]) as opened:
        opened.page.locator("select[name=method]").select_option("Self_Made")
        assert opened.page.locator("#table_single td:not(.off)").count() == 1
        opened.page.locator("#table_single td:not(.off) button.open").click()
        assert "60.5" in opened.page.locator("dialog .big").inner_text()
        opened.page.keyboard.press("Escape")
        opened.page.get_by_role("button", name="Copy Table single as CSV").click()
        opened.page.get_by_text("Copied").first.wait_for()
        assert "Self_Made,60.5" in opened.page.evaluate("navigator.clipboard.readText()")


def test_copying_twice_leaves_the_button_its_name_and_says_so_aloud(browser: Any, odd: str) -> None:
    with Opened(browser, odd, permissions=["clipboard-read", "clipboard-write"]) as opened:
        button = opened.page.get_by_role("button", name="Copy Table odd as Markdown")
        button.click()
        button.get_by_text("Copied").wait_for()
        assert opened.page.locator("body > [role=status]").inner_text() == "Copied"
        button.click()
        button.get_by_text("Copy Markdown").wait_for()
        opened.page.wait_for_timeout(2000)
        assert button.inner_text() == "Copy Markdown"
        assert opened.page.locator("body > [role=status]").inner_text() == ""


@pytest.mark.parametrize(
    "address", ["#?cell=constructor/0", "#?cell=table_odd/999", "#?cell=table_odd", "#table_odd?dataset=none&model=%ZZ",
                "#%E0%A4%A?epsilon=%E0%A4%A", "#x?y?z=1#2"],
)  # fmt: skip
def test_an_address_of_what_is_not_there_is_no_error_and_shows_all(browser: Any, odd: str, address: str) -> None:
    with Opened(browser, odd + address) as opened:
        assert opened.page.locator("dialog[open]").count() == 0
        assert shown(opened, "table_single") == [ACCURACY.capitalize()]
        opened.page.locator("#table_odd button.open").first.click()
        opened.page.keyboard.press("Escape")
        opened.page.wait_for_url(lambda url: "cell=" not in url)
        assert opened.said == []


def test_an_address_that_no_longer_names_a_cell_closes_it(browser: Any, odd: str) -> None:
    with Opened(browser, f"{odd}#?cell=table_odd/0") as opened:
        assert opened.page.locator("dialog[open]").count() == 1
        opened.page.evaluate("location.hash = '#table_odd?dataset=a'")
        opened.page.locator("dialog[open]").wait_for(state="hidden")
        assert shown(opened, "table_odd") == ["a"]
        opened.page.evaluate("location.hash = '#table_odd?cell=table_odd/1'")
        opened.page.locator("dialog[open]").wait_for()
        assert opened.said == []


def test_a_cell_that_a_picture_opened_leaves_the_page_where_it_was(browser: Any, url: str) -> None:
    with Opened(browser, url) as opened:
        picture = opened.page.locator("header figure[data-chart=table3]")
        picture.locator("svg.live").wait_for()
        before = opened.page.evaluate("scrollY")
        point = picture.locator("g.mark-symbol.role-mark path").first.bounding_box()
        opened.page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
        opened.page.locator("dialog[open]").wait_for()
        opened.page.keyboard.press("Escape")
        assert opened.page.locator("dialog[open]").count() == 0
        assert opened.page.evaluate("scrollY") == before


def test_a_press_that_began_inside_does_not_close_a_cell(browser: Any, odd: str) -> None:
    with Opened(browser, odd) as opened:
        opened.page.locator("#table_odd button.open").first.click()
        words = opened.page.locator("dialog .big").bounding_box()
        opened.page.mouse.move(words["x"] + 5, words["y"] + 5)
        opened.page.mouse.down()
        opened.page.mouse.move(5, 5)
        opened.page.mouse.up()
        assert opened.page.locator("dialog[open]").count() == 1
        opened.page.mouse.click(5, 5)
        assert opened.page.locator("dialog[open]").count() == 0


def test_a_search_leaves_the_claims_that_have_the_words_and_finds_names_as_they_are_read(
    browser: Any, url: str
) -> None:
    with Opened(browser, url) as opened:
        everything = opened.page.locator(".claim:visible").count()
        opened.page.locator("input[name=q]").fill("microbatch")
        assert 0 < opened.page.locator(".claim:visible").count() < everything
        opened.page.locator("input[name=q]").fill("running time")
        assert opened.page.locator("#claims").is_hidden()
        assert opened.page.locator("nav a[href='#claims']").is_hidden()
        assert opened.page.locator("#figure1").is_hidden()
        for words in ("DP-Mix Self", "dp-mix_self"):
            opened.page.locator("input[name=q]").fill(words)
            assert opened.page.locator("#table3 tbody tr:visible").count() > 0
            assert opened.page.locator("#table3 tbody tr:visible", has_text="Self-Aug").count() == 0


def test_a_filter_that_has_no_two_answers_is_not_shown(browser: Any, tmp_path: Path) -> None:
    write(odd_tables()[2], tmp_path / "tables")
    with Opened(browser, build(tmp_path, tmp_path / "index.html").as_uri()) as opened:
        seen = [one.get_attribute("name") for one in opened.page.locator("select:visible").all()]
        assert seen == ["method"]


def test_the_claims_picture_stays_whatever_is_filtered(browser: Any, url: str) -> None:
    with Opened(browser, url) as opened:
        picture = opened.page.locator("header figure[data-chart=claims]")
        picture.locator("svg.live").wait_for()
        opened.page.locator("select[name=model]").select_option("Tiny ViT")
        opened.page.wait_for_function(
            "!document.querySelector('header figure[data-chart=table3]').textContent.includes('ConvNeXt')"
        )
        assert picture.locator("svg.live").count() == 1


def test_a_cell_tells_times_in_seconds_and_no_smaller_epsilon_than_was_spent(browser: Any, odd: str) -> None:
    with Opened(browser, odd) as opened:
        opened.page.locator("#table_times button.open").first.click()
        said = opened.page.locator("dialog").inner_text()
        assert "running time, mean of 2 seeds" in said
        assert (
            opened.page.locator("dialog .strip")
            .get_attribute("aria-label")
            .startswith("Seeds 1.3 s, 1.5 s; mean 1.4 s")
        )
        opened.page.keyboard.press("Escape")
        opened.page.locator("#table_spent button.open").first.click()
        label = opened.page.locator("dialog .strip").get_attribute("aria-label")
        assert label.startswith("Seeds 0.9901, 0.9801; mean 0.9851;")
