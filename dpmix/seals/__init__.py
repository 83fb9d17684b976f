"""Digests that are written with what is made, and checked when it is opened: damage and changes do not pass silently.

- `records`: JSON objects that carry their own digest.
- `files`: digests of files, and folders with a record of those of their files.
- `tensors`: safetensors files that carry their own digest.

A file is read at the speed of the disk or of all cores, and once in a process. Files of versions that wrote no digests
are read as they are; of the first, a line says so.
"""

from dpmix.seals.files import (
    DIGESTS,
    FILES,
    SOURCE,
    check_files,
    check_folder,
    check_made,
    digests_of,
    file_digest,
    seal_folder,
    seal_of,
    sealed_directory,
)
from dpmix.seals.records import AGAIN, SEAL, Record, read_record, record_digest, records_read_once, write_record
from dpmix.seals.tensors import check_tensors, save_tensors, tensors_digest

__all__ = [
    "AGAIN",
    "DIGESTS",
    "FILES",
    "SEAL",
    "SOURCE",
    "Record",
    "check_files",
    "check_folder",
    "check_made",
    "check_tensors",
    "digests_of",
    "file_digest",
    "read_record",
    "record_digest",
    "records_read_once",
    "save_tensors",
    "seal_folder",
    "seal_of",
    "sealed_directory",
    "tensors_digest",
    "write_record",
]
