"""Images in class folders inside zip archives, read in place: nothing is unpacked, and no name in an archive is a path.

    <any folders that all images share>/<class>/<anything>.<image format>

Several archives may hold one data set: their class folders are laid together. Or one archive holds both splits, as
`train/<class>/` and `test/<class>/`.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dpmix.errors import DataError, one_line

# No picture is this large; a malicious archive may hold files that unpack to far more than memory.
LARGEST_IMAGE = 2**28  # bytes


class File(NamedTuple):
    """One image file, on disk or in a zip archive.

    Attributes:
        path: of the file; for one in an archive, the archive's path followed by the member's name.
        archive: the opened archive, or None.
        member: its entry in the archive, or None.
    """

    path: Path
    archive: zipfile.ZipFile | None = None
    member: zipfile.ZipInfo | None = None

    @property
    def on_disk(self) -> Path:
        """The path of the file itself, or of the archive that contains it."""
        return self.path if self.archive is None else Path(str(self.archive.filename))

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DataError: if it cannot be read, or its checksum is not the archive's.
        """
        try:
            if self.archive is None or self.member is None:
                return self.path.read_bytes()
            return self.archive.read(self.member)
        except Exception as error:  # zipfile raises its own, zlib's, OSError and, for encrypted members, RuntimeError
            reason = one_line(error)
            raise DataError(f"{self.path} cannot be read ({reason}); replace the file") from error


def find(path: Path) -> dict[str, tuple[Path, ...]]:
    """The zip archives of a data set.

    Args:
        path: a zip archive, or a folder with archives `train*.zip` and `test*.zip`.

    Returns:
        The archive under "all"; or the folder's archives under "train" and "test"; or nothing, if there are none.

    Raises:
        DataError: for a folder with the archives of one split and not of the other.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip":
        return {"all": (path,)}
    found = {split: tuple(sorted(path.glob(f"{split}*.zip"))) for split in ("train", "test")}
    if not any(found.values()):
        return {}
    for split, archives in found.items():
        if not archives:
            raise DataError(f"{path} has no archive {split}*.zip beside the others; add it")
    return found


def listing(
    path: Path, suffixes: frozenset[str], litter: frozenset[str] = frozenset()
) -> dict[str, dict[str, list[File]]]:
    """The images of each split and class; classes and images are sorted by name, in whichever archive they are.

    Args:
        path: an archive, or a folder of archives, as `find` knows them.
        suffixes: of the formats that can be read, as ".png".
        litter: file names, in lower case, that are passed over; any other file that is no image is refused.

    Returns:
        "train" and "test", or "all" for an archive without these two folders; by split, by class, the files.

    Raises:
        DataError: for an archive that is damaged, encrypted or without class folders, a file that is no image, or one
            that is there twice.
    """
    splits: dict[str, dict[str, list[File]]] = {}
    for split, archives in find(path).items():
        listed = [member for one in archives for member in _seen(one) if member[0].name.lower() not in litter]
        if not listed:
            raise DataError(f"{' and '.join(map(str, archives))} holds no image; put each class's images into a folder")
        for _, file in listed:
            if file.path.suffix.lower() not in suffixes:
                raise DataError(f"{file.path} is not an image that Pillow reads; convert or remove it")
        parts = [(name.parts, file) for name, file in listed]
        while min(len(each) for each, _ in parts) > 2 and len({each[0] for each, _ in parts}) == 1:
            parts = [(each[1:], file) for each, file in parts]
        if split == "all" and {each[0] for each, _ in parts} == {"train", "test"}:
            for inner in ("train", "test"):
                splits[inner] = _by_class([(each[1:], file) for each, file in parts if each[0] == inner])
        else:
            splits[split] = _by_class(parts)
    return splits


def _by_class(parts: Sequence[tuple[tuple[str, ...], File]]) -> dict[str, list[File]]:
    classes: dict[str, dict[tuple[str, ...], File]] = {}
    for each, file in parts:
        if len(each) < 2:
            raise DataError(f"{file.path} lies in no class folder; put each class's images into a folder of its own")
        files = classes.setdefault(each[0], {})
        if each[1:] in files:
            raise DataError(f"{file.path} is there twice, also as {files[each[1:]].path}; keep one of them")
        files[each[1:]] = file
    return {name: [file for _, file in sorted(classes[name].items())] for name in sorted(classes)}


def members(path: Path) -> list[tuple[PurePosixPath, File]]:
    """All files in an archive, hidden ones included, in its order; a name that begins with `/` is taken without it.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a zip archive of class folders") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a whole zip archive ({error}); fetch it again") from error
    named = [
        (PurePosixPath(info.filename.replace("\\", "/").lstrip("/")), info)
        for info in archive.infolist()
        if not info.is_dir()
    ]
    return [(name, File(path / name, archive, info)) for name, info in named]


def refuse_unreadable(file: File) -> None:
    """Refuse a file in an archive that needs a password, or unpacks to more than an image can have.

    Raises:
        DataError: one line that names it.
    """
    if file.member is None:
        return
    if file.member.flag_bits & 0x1:
        raise DataError(f"{file.path} is encrypted; give an archive without a password")
    if file.member.file_size > LARGEST_IMAGE:
        raise DataError(f"{file.path} would take {file.member.file_size} bytes, too many for an image; remove it")


def _seen(path: Path) -> list[tuple[PurePosixPath, File]]:
    """The files in an archive but for hidden ones."""
    seen = [
        (name, file)
        for name, file in members(path)
        if not any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    ]
    for _, file in seen:
        refuse_unreadable(file)
    return seen
