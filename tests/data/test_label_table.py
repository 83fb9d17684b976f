"""Tables of labels: which are read, and what is wrong with the others."""

import pytest

from dpmix.data.label_table import LabelTable, Row, read_table
from dpmix.errors import DataError


def table(text: str, where: str = "labels.csv", encoding: str = "utf-8") -> LabelTable | None:
    return read_table(where, text.encode(encoding))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("file_name,label,person\n1.png,cat,7\na b.png,dog,8\n", "labels.csv"),
        ("file_name;label;person\r\n1.png;cat;7\r\na b.png;dog;8\r\n", "labels.csv"),
        ("file_name\tlabel\tperson\n1.png\tcat\t7\n\na b.png\tdog\t8\n", "labels.tsv"),
        ("\n\nfile_name,label,person\n\n1.png,cat,7\n , ,\na b.png,dog,8\n\n", "labels.csv"),
        ("sep=;\nfile_name;label;person\n1.png;cat;7\na b.png;dog;8\n", "labels.csv"),
        ('file_name,label,person,"x;y;z;v"\n1.png,cat,7,\na b.png,dog,8,\n', "labels.csv"),
        ('\ufefffile_name, "label", person\n1.png, "cat", 7\n"a b.png", dog, 8\n', "labels.csv"),
        ("Person,Filename,more,LABEL\n7, 1.png ,,cat\n8,a b.png,x,dog\n", "labels.csv"),
        (
            '{"file_name": "1.png", "label": "cat", "person": 7}\n'
            '{"person": 8, "file_name": "a b.png", "more": [1], "label": "dog"}\n',
            "metadata.jsonl",
        ),
    ],
    ids=[
        "commas",
        "semicolons",
        "tabs",
        "empty lines",
        "Excel's first line",
        "semicolons in a name",
        "spaces",
        "other columns",
        "json",
    ],
)
def test_each_way_to_write_one(text: str, where: str) -> None:
    found = table(text, where)
    assert found is not None
    assert [row[1:] for row in found.rows] == [("1.png", "cat", None, "7"), ("a b.png", "dog", None, "8")]
    assert found.columns == {"file_name", "label", "person"}


def test_quotes_a_byte_order_mark_and_columns_that_are_not_there() -> None:
    found = table('file_name,label,note\n"a, b.png","the ""cat""","two\nlines"\n', encoding="utf-8-sig")
    assert found is not None
    assert found.rows == (Row(3, "a, b.png", 'the "cat"', None, None),)


@pytest.mark.parametrize(
    "content",
    [b"", b'# {"root": "."}\nfile_name,label\n', b"year,yield\n2020,3\n", "Größe\n".encode("latin-1"), b"\xff\xfe\0\0"],
)
def test_another_table_is_none_of_ours(content: bytes) -> None:
    assert read_table("other.csv", content) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_name,label\n1.png,\n", "line 2: label is empty"),
        ("file_name,label\n1.png,cat\n1.png,dog\n", "lines 2 and 3 are about the same file 1.png"),
        ("file_name,label\n1.png,cat,dog\n", "line 2 has 3 cells, not 2"),
        ('file_name,label\n"1.png"x,cat\n', "is damaged"),
        ("file_name,label,label\n1.png,cat,dog\n", "has 2 columns for label: 'label', 'label'; keep one of them"),
        ("filename,label,file_name\n1.png,cat,2.png\n", "has 2 columns for file_name: 'filename', 'file_name'; "),
        ("file_name,person,Person \n1.png,7,8\n", "has 2 columns for person: 'person', 'Person '; "),
        ("file_name,label\n1.png,c\x1b[1mat\n", r"line 2: label c\\x1b\[1mat has letters that cannot be printed"),
        ("file_name,label\n1.png,cat\u200b\n", r"line 2: label cat\\u200b has letters that cannot be printed"),
        ('file_name,label\n"1\n.png",cat\n', r"line 3: file_name 1\\n.png has letters that cannot be printed"),
    ],
)
def test_mistakes_are_one_line(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        table(text)
    assert "\n" not in str(caught.value)


def test_json_and_encodings_that_are_wrong_are_one_line() -> None:
    with pytest.raises(DataError, match=r"metadata\.jsonl is damaged"):
        table('{"file_name": "1.png"\n', "metadata.jsonl")
    with pytest.raises(DataError, match=r"metadata\.jsonl is damaged"):
        table('["file_name"]\n', "metadata.jsonl")
    with pytest.raises(DataError, match=r"line 1 is no object such as \{"):
        table('["file_name"]\n', "metadata.jsonl")
    with pytest.raises(DataError, match="line 1 has a key twice"):
        table('{"file_name": "1.png", "label": "a", "label": "b"}\n', "metadata.jsonl")
    with pytest.raises(DataError, match="has 2 columns for file_name"):
        table('{"file_name": "1.png"}\n{"filename": "2.png"}\n', "metadata.jsonl")
    with pytest.raises(DataError, match="more than one value"):
        table('{"file_name": "1.png", "label": [1, 2]}\n', "metadata.jsonl")
    with pytest.raises(DataError, match="is not UTF-8"):
        table("file_name,label\n1.png,Käse\n", encoding="latin-1")


def test_json_is_cut_at_ends_of_lines_only() -> None:
    found = table('{"file_name": "1.png", "label": "a", "note": "one\u2028two\x85three"}\n', "metadata.jsonl")
    assert found is not None
    assert found.rows == (Row(1, "1.png", "a", None, None),)
