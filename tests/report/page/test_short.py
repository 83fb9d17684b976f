import re
from dataclasses import replace
from pathlib import Path

from dpmix.report.data import collect
from dpmix.report.page.short import in_short


def test_the_first_sentences_are_numbers_of_the_first_picture_and_of_the_main_claim(repository: Path) -> None:
    report = collect(repository / "results" / "reference" / "demo")
    accuracies, claim = (line.replace("\u00a0", " ") for line in in_short(report))
    (three,) = [data.table for data in report.tables if data.table.name == "3"]
    for method in ("Self-Aug", "DP-Mix_Self", "DP-Mix_Diff", "Zero-shot (ε = 0)", "Non-private (ε = ∞)"):
        center = three.grid[("digits", method), ("Tiny ViT", "ε = 1")].center
        assert f"{method} {center:.1f} %" in accuracies
    assert accuracies.startswith("Accuracy at ε = 1 on digits, Tiny ViT: ")
    assert accuracies.endswith("(Table 3).")
    (judged,) = [one for one in report.claims if one["id"] == "self-mixing"]
    assert judged["claim"].rstrip(".") in claim
    assert f": {judged['runs']['verdict']}, " in claim
    text = (repository / "results" / "reference" / "demo" / "claims.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {judged['claim']}"))
    effect, interval, part = re.fullmatch(r"(\S+) \((.+)\), (.+)", row.split(" | ")[2]).groups()  # type: ignore[union-attr]
    assert f"undecided, {effect} points (95 %: {interval}), {part}." in claim
    assert in_short(replace(report, claims=())) == in_short(report)[:1]
    assert in_short(replace(report, tables=())) == in_short(report)[1:]
