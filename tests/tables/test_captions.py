"""Every table and figure of the paper has a title, a caption and names for its labels."""

from dpmix.tables.captions import FIGURES, TABLES
from dpmix.tables.published import PAPERS


def test_every_table_of_the_paper_has_a_layout() -> None:
    assert sorted(TABLES, key=int) == list(PAPERS)
    for layout in TABLES.values():
        assert layout.row_names + layout.column_names
        assert all(text == " ".join(text.split()) for text in (layout.title, layout.caption, *layout.notes))
        assert not layout.title.endswith(".")
        assert layout.caption.endswith(".")


def test_each_figure_has_a_title_and_a_caption() -> None:
    assert sorted(FIGURES) == [1, 2]
    assert all(figure for figure in FIGURES.values())
