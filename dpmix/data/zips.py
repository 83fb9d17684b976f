"""Files inside zip archives, read in place: nothing is unpacked, and no name in an archive is a path."""

import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from dpmix.errors import DataError, one_line

# No picture is this large; a malicious archive may hold files that unpack to far more than memory.
LARGEST_IMAGE = 2**30  # bytes


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

    def _open(self) -> IO[bytes]:
        if self.archive is None or self.member is None:
            return self.path.open("rb")
        return self.archive.open(self.member)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DataError: if it cannot be read, or its checksum is not the archive's.
        """
        try:
            with self._open() as file:
                return file.read()
        except Exception as error:  # zipfile raises its own, zlib's, OSError and, for encrypted members, RuntimeError
            reason = one_line(error)
            raise DataError(f"{self.path} cannot be read ({reason}); replace the file") from error

    def begins(self, count: int) -> bytes:
        """Its first `count` bytes; none if it cannot be read."""
        try:
            with self._open() as file:
                return file.read(count)
        except Exception:  # as of `read`; whoever needs the file learns it there
            return b""


def members(path: Path) -> list[tuple[PurePosixPath, File]]:
    """All files in an archive, hidden ones included, in its order; a name that begins with `/` is taken without it.

    Bytes of a name that are not UTF-8, where the archive does not say what they are, become surrogates, as those of
    names on disk do.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a zip archive of class folders") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} is not a whole zip archive ({one_line(error, 200)}); fetch it again") from error
    named = [
        (PurePosixPath(_name(info).replace("\\", "/").lstrip("/")), info)
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


# Of a member's flags: that its name is in UTF-8. Without it the name is in the code page of whoever packed it.
_UTF8 = 0x800

# Kind of an extra field with a member's name in UTF-8, beside that in a code page.
_UNICODE_PATH = 0x7075


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name: of UTF-8 if its bytes are, whether the archive says so or not."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    raw, extra = info.orig_filename.encode("cp437"), info.extra  # as which zipfile read it
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and struct.unpack("<L", field[1:5])[0] == zlib.crc32(raw):
            raw = field[5:]
    return raw.decode("utf-8", errors="surrogateescape")
