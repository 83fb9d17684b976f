import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from dpmix.errors import ParamsError
from dpmix.tables import published as module
from dpmix.tables.captions import FIGURES, TABLES
from dpmix.tables.published import PAPERS, published, published_gradient_sd
from tests.needs import PAPER, lacks

COUNTS = dict(zip(PAPERS, (6, 24, 192, 18, 10, 4, 32, 16, 27, 36, 4, 4, 3), strict=True))
DATASETS = ["CIFAR-10", "CIFAR-100", "EuroSAT", "Caltech256", "SUN397", "Oxford Pet"]
METHODS = ["DP-SGD", "Mixed Ghost", "Self-Aug", "DP-Mix_Self", "DP-Mix_Diff", "Pure-DP-Mix_Diff"]

# Where each table's body begins and ends in the text of the paper.
SPANS = {
    "1": ("Method Microbatch Size = 1", "could be that empirically"),
    "2": ("Dataset Method ε = 1 ε = 2 ε = 4 ε = 8\n\nCIFAR-10 Self-Aug", "5.2 Finetuning"),
    "3": ("Dataset Method Vit-B-16 ConvNext", "can inhibit performance"),
    "4": ("Dataset Self-Aug +Jitter", "self-augmentations hurts"),
    "5": ("Training method Total # of Aug", "6.3 Pretraining"),
    "6": ("Pretrained on D Vit-B-16", "6.4 Effect"),
    "7": ("Table 7: FID", "Table 8: FID"),
    "8": ("Table 8: FID", "pretraining on the diffusion samples result"),
    "9": ("Table 9: Influence", "7 Conclusions"),
    "10": ("Dataset A B C", "B.2 Reproducing"),
    "11": ("Table 11: Performance", "B.3 Pure"),
    "12": ("Table 12: Test accuracy", "B.4 Running"),
    "13": ("Table 13: Running time", "B.5 Effect"),
}
MEAN_SD = re.compile(r"(?<![\d.])(\d+\.\d+) (\(\.\d\))|\b(N/A)\b")
MEAN = re.compile(r"(?<![\d.])(\d+\.\d+)(?![\d.])")


@pytest.fixture(scope="module")
def paper() -> str:
    folder = os.environ.get("DPMIX_SHARED_PAPER", Path(__file__).resolve().parents[2] / ".." / "shared" / "paper")
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.txt"))]
    whole = [text for text in texts if "Table 13: Running time" in text]
    if not whole:
        lacks(PAPER)
    return whole[0]


def body(paper: str, number: str) -> str:
    begin, end = SPANS[number]
    start = paper.index(begin)
    return paper[start : paper.index(end, start)]


def printed(number: str) -> list[str]:
    return [value.text for value in published(number).values.values()]


@pytest.mark.parametrize("number", ["1", "2", "3", "4", "5", "6", "10", "11", "12"])
def test_accuracies_and_deviations_are_those_of_the_page_in_its_order(paper: str, number: str) -> None:
    found = [" ".join(filter(None, match.groups())) for match in MEAN_SD.finditer(body(paper, number))]
    assert printed(number) == found


@pytest.mark.parametrize("number", ["7", "8", "9"])
def test_numbers_without_deviation_are_those_of_the_page_in_its_order(paper: str, number: str) -> None:
    assert printed(number) == MEAN.findall(body(paper, number))


def test_numbers_of_views_stand_over_the_accuracies_of_table_9(paper: str) -> None:
    lines = body(paper, "9").splitlines()
    views = [
        [count for line in lines if re.fullmatch(rf"{name}( \d+)+", line) for count in line.split()[1:]]
        for name in ("KBASE", "KSELF", "KDIFF")
    ]
    assert list(published("9").columns) == list(zip(*views, strict=True))


def test_running_times_are_those_of_the_page(paper: str) -> None:
    assert printed("13") == re.findall(r"\d+h \d+ ?min", body(paper, "13"))


def test_gradient_deviations_are_those_of_the_page(paper: str) -> None:
    start = paper.index("Standard deviations for CIFAR-10 with")
    found = re.findall(r"(\d\.\d+) · 10−(\d)", paper[start : paper.index("This is consistent", start)])
    assert list(published_gradient_sd().values()) == [float(f"{mantissa}e-{exponent}") for mantissa, exponent in found]


@pytest.mark.parametrize("number", ["2", "3", "12"])
def test_each_line_of_numbers_belongs_to_its_method(paper: str, number: str) -> None:
    names = {"DP-MIXSELF": "DP-Mix_Self", "DP-MIXDIFF": "DP-Mix_Diff", "Pure-DP-MIXDIFF": "Pure-DP-Mix_Diff"}
    label = re.compile(r"(Mixed Ghost|Self-Aug|(?:Pure-)?DP-MIX(?:SELF|DIFF)) \d")
    methods = [names.get(name, name) for name in label.findall(body(paper, number))]
    assert [row[-1] for row in published(number).rows] == methods


@pytest.mark.parametrize("number", ["2", "3", "4", "7", "8", "10"])
def test_data_sets_come_in_the_order_of_the_page(paper: str, number: str) -> None:
    # Table 3's "Oxford Pet" is broken over two lines, and Table 10 writes "Caltech 256".
    found = re.findall(r"^(CIFAR-100?|EuroSAT|Caltech ?256|SUN397|Oxford)\b", body(paper, number), re.MULTILINE)
    expected = list(dict.fromkeys(row[0] for row in published(number).rows))
    assert [name.replace(" ", "").replace("Oxford", "Oxford Pet") for name in found] == expected


@pytest.mark.parametrize("number", COUNTS)
def test_every_table_is_complete(number: str) -> None:
    table = published(number)
    assert len(table.values) == COUNTS[number] == len(table.rows) * len(table.columns)
    layout = TABLES[number]
    assert (table.row_names, table.column_names) == (layout.row_names, layout.column_names)
    with (Path(module.__file__).parent / "paper" / f"table{number}.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == COUNTS[number] + 1, "two lines with one key"


def test_there_are_376_entries_and_one_is_empty() -> None:
    values = [value for number in TABLES for value in published(number).values.values()]
    assert len(values) == 376
    assert [value.text for value in values if value.mean is None] == ["N/A"]
    assert sorted(FIGURES) == [1, 2]


@pytest.mark.parametrize("number", ["2", "3", "4", "7", "8", "10", "11", "12", "13"])
def test_labels_are_the_projects_own(number: str) -> None:
    table = published(number)
    assert len(table.values) >= 3
    for key in table.values:
        labels = dict(zip(table.row_names + table.column_names, key[0] + key[1], strict=True))
        assert labels.get("Dataset", "CIFAR-10") in DATASETS
        assert number in ("7", "10") or labels.get("Method", "DP-SGD") in METHODS


def test_values_are_plausible() -> None:
    for number in ("1", "2", "3", "4", "5", "6", "9", "10", "11", "12"):
        assert len(published(number).values) >= 4
        for value in published(number).values.values():
            assert value.mean is None or 5 < value.mean < 100
            assert value.sd is None or 0 <= value.sd < 1


def test_table_9_is_the_whole_cube_of_views() -> None:
    cube = {(str(a), str(b), str(c)) for a in (8, 16, 24) for b in (8, 16, 24) for c in (0, 2, 4)}
    assert Counter(published("9").columns) == Counter(cube)


def test_what_the_paper_prints_twice_agrees() -> None:
    fine_tuned = published("3")
    for dataset in ("CIFAR-10", "CIFAR-100"):
        for method in ("Self-Aug", "DP-Mix_Self"):
            once = fine_tuned.get((dataset, method), ("Vit-B-16", "ε = 1"))
            assert once == published("4").get((dataset,), (method,)) is not None
    for method in ("Self-Aug", "DP-Mix_Self", "DP-Mix_Diff"):
        once = fine_tuned.get(("CIFAR-100", method), ("Vit-B-16", "ε = 1"))
        assert once == published("12").get((method,), ()) is not None
    for views, method in (("16", "Self-Aug"), ("32", "DP-Mix_Self")):
        once = fine_tuned.get(("CIFAR-10", method), ("Vit-B-16", "ε = 8"))
        assert once == published("5").get((method, views), ("Vit-B-16 (pretrained)",)) is not None
    scratch = published("2")
    assert scratch.get(("CIFAR-10", "DP-Mix_Self"), ("ε = 8",)) == published("5").get(
        ("DP-Mix_Self", "32"), ("WRN-16-4",)
    )
    assert scratch.get(("CIFAR-10", "Self-Aug"), ("ε = 8",)) == published("1").get(
        ("DP-SGD w/ Self-Aug",), ("Microbatch Size = 1",)
    )
    for model in ("Vit-B-16", "ConvNext"):
        once = fine_tuned.get(("Caltech256", "DP-Mix_Diff"), (model, "ε = 2"))
        assert once == published("6").get(("No (Ours)",), (model,)) is not None


def test_lookups() -> None:
    value = published("2").get(("CIFAR-10", "DP-Mix_Self"), ("ε = 4",))
    assert value is not None
    assert (value.mean, value.sd, value.text) == (70.47, 0.4, "70.47 (.4)")
    time = published("13").get((), ("DP-Mix_Self",))
    assert time is not None
    assert (time.mean, time.sd, time.text) == (453.0, None, "7h 33min")
    assert published("1").get(("DP-SGD w/ Mixup",), ("Microbatch Size = 1",)).text == "N/A"  # type: ignore[union-attr]
    assert published("2").get(("CIFAR-10", "DP-SGD"), ("ε = 4",)) is None
    plain, ours = (published("7").get(("EuroSAT",), ("Test", f"DP-Mix_Diff{more}")) for more in ("", ", K_DIFF = 2"))
    assert plain is ours is not None
    assert published("7").get(("EuroSAT",), ("Test", "DP-Mix_Diff K_DIFF = 2")) is None
    assert published_gradient_sd()["Caltech256", "DP-Mix_Diff"] == 9.32e-4


def test_what_docs_choices_says_of_table_7s_k_diff(repository: Path) -> None:
    """A share p of D among the views moves their mean by p of the way, and the squared distance by p^2."""

    def value(table: str, row: str, *column: str) -> float:
        found = published(table).get((row,), column)
        assert found is not None
        assert found.mean is not None
        return found.mean

    def listed(numbers: list[float]) -> str:
        *most, last = (f"{number:.1f}" for number in numbers)
        return f"{', '.join(most)} and {last}"

    rows = ["CIFAR-10", "CIFAR-100", "EuroSAT", "Caltech256"]
    far = [value("8", row, "InceptionV3", "Train vs Diffusion") for row in rows]
    added = [value("7", row, "Train", "DP-Mix_Diff") - value("7", row, "Train", "DP-Mix_Self") for row in rows]
    few, many = 2 / (16 + 2), 24 / (16 + 24)
    text = " ".join((repository / "docs" / "choices.md").read_text(encoding="utf-8").split())
    assert f"makes up a share p = 24 / (16 + 24) = {many:.0%} of".replace("%", " %") in text
    assert f"up to p² · {far[-1]} = {many**2 * far[-1]:.1f} " in text
    assert f"on top of DP-Mix_Self's {value('7', 'Caltech256', 'Train', 'DP-Mix_Self')}; " in text
    assert f"the paper has {value('7', 'Caltech256', 'Train', 'DP-Mix_Diff')}." in text
    assert (
        f"p is 1 / {1 / few:.0f}, and p² times Table 8's distance of D is {listed([few**2 * one for one in far])}"
        in text
    )
    assert f"the paper's DP-Mix_Diff is {listed(added)} above its DP-Mix_Self" in text


def test_model_mix_prints_what_it_prints() -> None:
    """CIFAR-10 in Table 2 of its paper: ModelMix is above DP-SGD everywhere, and both rise with ε."""
    table = published("modelmix")
    assert (table.row_names, table.column_names) == (("Method",), ("ε",))
    assert table.rows == (("DP-SGD",), ("ModelMix (Theorem B)",))
    plain, mixed = ([table.values[row, column].mean for column in table.columns] for row in table.rows)
    assert plain == sorted(plain) == [47.3, 51.1, 53.2, 54.7, 56.1]  # type: ignore[type-var]
    assert mixed == sorted(mixed) == [59.8, 64.6, 67.5, 69.3, 70.4]  # type: ignore[type-var]


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(ParamsError, match="no table 14"):
        published("14")
