"""Images as people have them: every layout gives the same listing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmix.data.listing import Listing, read_listing
from dpmix.errors import DataError
from tests.data.conftest import archive, folder_of, lay

# Split, class, person and file of seven images.
IMAGES = (
    ("train", "cat", "p1", "1.png"),
    ("train", "cat", "p1", "2.png"),
    ("train", "cat", "p2", "3.png"),
    ("train", "dog", "p2", "1.png"),
    ("train", "dog", "p3", "2.png"),
    ("test", "cat", "p4", "1.png"),
    ("test", "dog", "p5", "1.png"),
)

CSV = "file_name,label,split,person\n"


def folders(root: Path) -> Path:
    return lay(root, *(f"{split}/{name}/{file}" for split, name, _, file in IMAGES))


def folders_of_persons(root: Path) -> Path:
    return lay(root, *("/".join(image) for image in IMAGES))


def table(root: Path) -> Path:
    lay(root, *(f"{'-'.join(image)}" for image in IMAGES))
    lines = [f"{'-'.join(image)},{image[1]},{image[0]},{image[2]}\n" for image in IMAGES]
    (root / "labels.csv").write_text(CSV + "".join(lines), encoding="utf-8")
    return root


def table_by_path(root: Path) -> Path:
    return table(root) / "labels.csv"


def image_folder(root: Path, ending: str = "csv") -> Path:
    """As Hugging Face has it: a table in each split's folder."""
    lay(root, *(f"{image[0]}/{'-'.join(image[1:])}" for image in IMAGES))
    for split in ("train", "test"):
        of_split = [image for image in IMAGES if image[0] == split]
        if ending == "csv":
            lines = ["file_name,label,person\n", *(f"{'-'.join(one[1:])},{one[1]},{one[2]}\n" for one in of_split)]
        else:
            row = '{{"file_name": "{}", "label": "{}", "person": "{}"}}\n'
            lines = [row.format("-".join(one[1:]), one[1], one[2]) for one in of_split]
        (root / split / f"metadata.{ending}").write_text("".join(lines), encoding="utf-8")
    return root


def image_folder_json(root: Path) -> Path:
    return image_folder(root, "jsonl")


def zipped(root: Path) -> Path:
    return archive(root.with_suffix(".ZIP"), {f"mine/{'/'.join(image)}": b"" for image in IMAGES})


def zips_of_splits(root: Path) -> Path:
    for split in ("train", "test"):
        archive(root / f"{split}.zip", {"/".join(image[1:]): b"" for image in IMAGES if image[0] == split})
    return root


def said(listing: Listing) -> list[tuple[str, str, str | None]]:
    return [(image.split, listing.classes[image.label], image.person) for image in listing.images]


LAYOUTS = [folders_of_persons, table, table_by_path, image_folder, image_folder_json, zipped, zips_of_splits]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    listing = read_listing(layout(tmp_path / "mine"), persons=True)
    assert listing.classes == ("cat", "dog")
    assert sorted(said(listing)) == sorted(image[:3] for image in IMAGES)
    assert [image.label for image in listing.images] == [0, 0, 0, 0, 1, 1, 1]
    assert (listing.split, listing.skipped) == ("given", ())
    assert listing.persons("train") == ("p1", "p2", "p3")
    assert listing.persons("test") == ("p4", "p5")
    assert all(listing.files[image.place].read() == b"" for image in listing.images)


@pytest.mark.parametrize("layout", [folders, folders_of_persons, zipped])
def test_folders_below_a_class_are_no_persons_unless_asked_for(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    listing = read_listing(layout(tmp_path / "mine"))
    assert {person for _, _, person in said(listing)} == {None}
    assert [image[:2] for image in sorted(said(listing))] == sorted(image[:2] for image in IMAGES)


def test_a_table_names_persons_though_folders_name_classes(tmp_path: Path) -> None:
    root = folders(tmp_path / "mine")
    lines = [f"{split}/{name}/{file},{person}\n" for split, name, person, file in IMAGES]
    (root / "persons.csv").write_text("file_name,person\n" + "".join(lines), encoding="utf-8")
    assert sorted(said(read_listing(root))) == sorted(image[:3] for image in IMAGES)


def test_splits_of_a_table(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", "1.png", "2.png", "3.png")
    text = "file_name,label,split\n1.png,a,Training\n2.png,a,val\n3.png,b,{}\n"
    (root / "labels.csv").write_text(text.format("test"), encoding="utf-8")
    listing = read_listing(root)
    assert [(image.place, image.split) for image in listing.images] == [("1.png", "train"), ("3.png", "test")]
    assert [one.place for one in listing.skipped] == ["2.png"]
    (root / "labels.csv").write_text(text.format("train"), encoding="utf-8")
    assert [image.split for image in read_listing(root).images] == ["train", "test", "train"]
    assert "is the test set" in read_listing(root).notes[0]
    (root / "labels.csv").write_text(text.format("fold 3"), encoding="utf-8")
    with pytest.raises(DataError, match="line 4 of its table has the split 'fold 3'; write train or test"):
        read_listing(root)


# What is refused, and what is skipped
@pytest.mark.parametrize(
    ("places", "options", "words"),
    [
        (("1.png", "2.png"), {}, r"holds no image in a class folder; 1\.png is in no class folder"),
        ((), {}, "holds no image in a class folder"),
        (("a/notes.txt",), {}, r"a/notes\.txt is not an image that Pillow reads"),
        (("a/1.png", "b/p1/1.png"), {"persons": True}, r"a/1\.png is in no person's folder; lay images as class/pers"),
        (("a/1.png",), {"test_share": 1.0}, "share of test images is 1; give one above 0 and below 1"),
        (("a/1.png",), {"test_share": 0.0}, "share of test images is 0"),
    ],
)
def test_what_is_refused_is_one_line(
    places: tuple[str, ...], options: dict[str, bool], words: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=words) as caught:
        read_listing(lay(tmp_path / "mine", *places), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_persons_of_some_images_are_refused(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", "a/1.png", "a/2.png")
    (root / "who.csv").write_text("file_name,person\na/1.png,x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"nothing says whose image a/2\.png is"):
        read_listing(root)
    with pytest.raises(DataError, match=r"a/2\.png is in no table with a column person"):
        read_listing(root, persons=True)


def test_images_in_no_split_are_refused(tmp_path: Path) -> None:
    root = lay(tmp_path / "mine", "a/1.png", "b/2.png")
    (root / "a" / "labels.csv").write_text("file_name,label,split\n1.png,a,train\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"b/2\.png is in no split, but others are"):
        read_listing(root)


def test_a_class_with_one_image_and_three_hundred_classes(tmp_path: Path) -> None:
    root = lay(
        tmp_path / "mine", *(f"{split}/c{number:03d}/1.png" for split in ("train", "test") for number in range(300))
    )
    shutil.rmtree(root / "test" / "c007")
    listing = read_listing(root)
    assert len(listing.classes) == 300
    assert [len(listing.of(split)) for split in ("train", "test")] == [300, 299]


def test_damaged_images_are_left_out_if_asked_to(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "mine", {"a": 3, "b": 3})
    (root / "a" / "001.png").write_bytes((root / "a" / "001.png").read_bytes()[:100])
    (root / "b" / "text.png").write_text("no image")
    assert len(read_listing(root).images) == 7
    listing = read_listing(root, skip_damaged=True)
    assert len(listing.images) == 5
    assert [one.place for one in listing.skipped] == ["a/001.png", "b/text.png"]
    assert all("cannot be read as an image" in one.why for one in listing.skipped)


# Letters that join others, as in emoji, are the only ones unseen that names may have.
LETTERS = st.characters(
    exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"), exclude_characters="/", include_characters="\u200c\u200d"
)
NAMES = st.text(LETTERS, min_size=1, max_size=12).map(str.strip)


@given(st.lists(NAMES.filter(lambda name: name and name[0] != "."), min_size=1, max_size=4, unique=True))
@settings(max_examples=40, deadline=None)
def test_any_name_that_can_be_printed_is_a_class_and_a_file(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("names")
    lay(root, *(f"class {name}/{name}.png" for name in names))
    listing = read_listing(root)
    assert sorted(image.place for image in listing.images) == sorted(f"class {name}/{name}.png" for name in names)
    assert all(listing.files[image.place].path.is_file() for image in listing.images)
