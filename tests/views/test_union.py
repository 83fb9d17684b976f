"""How many different views several methods have, by hand; `test_union_views.py` counts the pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from dpmix.views.settings import ViewSettings
from dpmix.views.union import ViewUnion, Wanted


def test_what_the_page_says_of_the_papers_tables(repository: Path) -> None:
    page = (repository / "docs" / "choices.md").read_text(encoding="utf-8")
    moves = {"transforms": ("crop", "flip"), "padding": 4}
    plain, self_aug = Wanted(ViewSettings(1)), Wanted(ViewSettings(16, **moves))
    a, b = Wanted(ViewSettings(16, 0, 16, **moves)), Wanted(ViewSettings(16, 2, 18, **moves), "D")
    c = replace(b, source="S2")
    tables = {
        "3": [plain, self_aug, a, b],
        "9": [
            Wanted(ViewSettings(k_base, k_diff, k_self, **moves), "D")
            for k_base in (8, 16, 24)
            for k_self in (8, 16, 24)
            for k_diff in (0, 2, 4)
        ],
        "10": [a, b, c],
    }
    counts = {name: (sum(one.settings.views for one in of), ViewUnion.of(of).views) for name, of in tables.items()}
    (before, after), (nine, nine_after), (ten, ten_after) = (counts[name] for name in ("3", "9", "10"))
    assert (
        f"Table 3 passed {before} views on CIFAR-10 and passes {after:.1f}, "
        f"Table 9 {nine} and {nine_after:.1f}, Table 10 {ten} and\n{ten_after:.1f}."
    ) in page
    both = (ViewUnion.of([b]).views + 2 + 18 - ViewUnion.of([b, c]).views) / 18
    assert f"methods B and C of Table 10 share {100 * both:.0f} % of them" in page
    assert f"{100 * (ViewUnion.of([a]).views + 20 - ViewUnion.of([a, b]).views) / 16:.0f} % for 16 and 18" in page


def test_the_columns_of_a_method_are_its_own() -> None:
    """Base views first, of which a method has the first ones; then images of D, its own where K_DIFF is another."""
    moves = {"transforms": ("crop",), "padding": 1}
    few, many = Wanted(ViewSettings(2, 2, 3, **moves), "D"), Wanted(ViewSettings(4, 2, **moves), "D")  # type: ignore[arg-type]
    others, raw = Wanted(ViewSettings(3, 3, **moves), "D"), Wanted(ViewSettings(1))  # type: ignore[arg-type]
    union = ViewUnion.of([few, many, others, raw])
    assert union.columns == 4 + 1 + 2 + 3
    assert union.members == ((0, 1, 5, 6), (0, 1, 2, 3, 5, 6), (0, 1, 2, 7, 8, 9), (4,))
    assert union.views == union.columns + 3
    by_person = ViewUnion.of([few, many, others, raw], by_person=True)
    assert by_person.columns == 2 + 4 + 3 + 1 + 2 + 3
    # Padding without a crop is no other view; nor is T of images of D that have none.
    assert ViewUnion.of([raw, Wanted(ViewSettings(1, padding=3))]).columns == 1


def test_microbatches_have_no_union() -> None:
    with pytest.raises(ValueError, match="of two examples; train each such method by itself"):
        ViewUnion.of([Wanted(ViewSettings(2, microbatch_size=2))])
