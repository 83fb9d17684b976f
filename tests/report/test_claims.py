import re
from pathlib import Path
from typing import Any

import pytest

from dpmix.claims.judge import Finding, PairResult, PartResult
from dpmix.claims.render import HOW, Judged, to_json
from dpmix.errors import DataError
from dpmix.files import write_json, write_text
from dpmix.report.claims import read_claims, section
from dpmix.report.page.build import build
from dpmix.tables.captions import ACCURACY
from dpmix.tables.statistics import Interval
from tests.claims.made_up import claim
from tests.report.made_up import Page, results


def part(label: str, low: float, estimate: float, high: float, verdict: Any) -> PartResult:
    pair = PairResult("CIFAR-10 <x>", estimate, against=verdict == "contradicted")
    return PartResult(label, verdict, estimate, Interval(estimate, low, high), 0.7, 3, "", (pair,))


PAPER = Finding("supported", (part("x", 1.0, 2.0, 3.0, "supported"),))
JUDGED = [
    Judged(claim(says="DP-Mix_Self <wins>."), ACCURACY,
           Finding("undecided", (part("x", -1, 2, 5, "undecided"),), 7), PAPER),
    Judged(claim(id="second"), ACCURACY, Finding("contradicted", (part("x", -3, -2, -1, "contradicted"),)), PAPER),
    Judged(claim(id="third"), ACCURACY, Finding(None, why="this scale has none of its cells"), PAPER),
    Judged(claim(id="fourth", expects="equal", margin=0.5, why="so"), ACCURACY,
           Finding("supported", (part("x", -0.2, 0.0, 0.2, "supported"),)), Finding(None, why="it prints none")),
    Judged(claim(id="fifth", compare="ratio"), "running time (min)",
           Finding("supported", (part("x", 0.1, 0.5, 0.9, "supported"),)), PAPER),
    Judged(claim(id="sixth", expects="same-epsilon"), ACCURACY,
           Finding("supported", (PartResult("x", "supported", 0.0, None, None, 3, "", (PairResult("a", 0.0),)),)),
           Finding("undecided", why="it prints no ε")),
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = results(tmp_path)
    write_json(folder / "claims.json", to_json(JUDGED, "demo"))
    write_text(folder / "claims.md", "# Claims\n")
    return folder


def test_without_the_file_there_is_no_section(tmp_path: Path) -> None:
    assert read_claims(tmp_path / "claims.json") == []
    assert section([]) is None
    folder = results(tmp_path)
    assert 'id="claims"' not in build(folder, folder / "index.html").read_text(encoding="utf-8")


def test_each_claim_is_a_card_with_its_facts(root: Path) -> None:
    found = section(read_claims(root / "claims.json"))
    assert found.counts == "1 contradicted, 1 not asked, 3 supported, 1 undecided"
    first, second, third, *_ = found.cards
    assert first.says == "DP-Mix<sub>Self</sub> &lt;wins&gt;."
    assert first.facts == (("here", "+2.0 (−1.0 to +5.0); 3 seeds"), ("to decide", "about 7 seeds"),
                           ("in the paper", "+2.0 (+1.0 to +3.0)"), ("the paper’s numbers", "supported"))  # fmt: skip
    assert second.facts[-1] == ("against it here", "CIFAR-10 &lt;x&gt;")
    assert (third.verdict, third.facts[0]) == ("not asked", ("here", "this scale has none of its cells"))
    assert len(found.how) == len(HOW)


def marks(picture: str, tag: str, kind: str) -> list[dict[str, str]]:
    found = re.findall(rf'<{tag} class="{kind}" ([^>]*)/>', picture)
    return [dict(re.findall(r'(\w+)="([^"]*)"', one)) for one in found]


def test_the_picture_is_to_scale(root: Path) -> None:
    first, _, third, fourth, fifth, sixth = section(read_claims(root / "claims.json")).cards
    (limit,), (here,), (paper,) = (marks(first.picture, "line", kind) for kind in ("limit", "runs", "paper"))
    (dot,) = marks(first.picture, "circle", "runs")
    # From -1 to 5, with 0 as the limit: a sixth of the way.
    low, high = float(here["x1"]), float(here["x2"])
    at = {name: (float(value) - low) / (high - low) for name, value in
          (("limit", limit["x1"]), ("mean", dot["cx"]), ("from", paper["x1"]), ("to", paper["x2"]))}  # fmt: skip
    assert at == pytest.approx({"limit": 1 / 6, "mean": 1 / 2, "from": 2 / 6, "to": 4 / 6}, abs=0.001)
    (claimed,) = marks(first.picture, "rect", "claimed")
    assert claimed["x"] == limit["x1"]
    assert marks(third.picture, "line", "runs") == []
    assert len(marks(fourth.picture, "line", "limit")) == 2
    assert ">−0.5</text>" in fourth.picture
    assert ">1</text>" in fifth.picture
    assert sixth.picture == ""
    assert 'aria-label="Expected above 0; here +2.0 (−1.0 to +5.0); the paper +2.0 (+1.0 to +3.0)"' in first.picture


def test_the_page_shows_them_first_and_links_their_files(root: Path) -> None:
    out = build(root, root / "report" / "index.html")
    text = out.read_text(encoding="utf-8")
    parsed = Page(text)
    assert [one["id"] for one in parsed.all("section") if "id" in one][:2] == ["claims", "table2"]
    assert [one["id"] for one in parsed.all("li") if "id" in one] == [
        "claim-mine", "claim-second", "claim-third", "claim-fourth", "claim-fifth", "claim-sixth"
    ]  # fmt: skip
    assert "Of 6 claims: 1 contradicted, 1 not asked, 3 supported, 1 undecided." in text
    links = [one["href"] or "" for one in parsed.all("a")]
    assert {"#claims", "../claims.md", "../claims.json"} <= set(links)
    assert "<code>snakemake --cores all claims</code>" in text
    cards = [one for one in parsed.all("svg") if one.get("viewbox") == "0 0 320 50"]
    charts = [one for one in parsed.all("div") if one.get("class") == "drawn"]
    assert len(cards) == 5
    assert len(parsed.all("svg")) == len([*cards, *charts])
    assert all(one["role"] == "img" and one["aria-label"] for one in [*cards, *charts])


@pytest.mark.parametrize("content", ["[]", "{}", '{"claims": [{"id": "x"}]}'])
def test_a_file_that_holds_no_claims_is_named(root: Path, content: str) -> None:
    (root / "claims.json").write_text(content)
    with pytest.raises(DataError, match=r"claims\.json does not hold claims .*delete it and make it again"):
        build(root, root / "index.html")
