"""Files of the Hugging Face hub, fetched by its own client and compared with their checksums, and why they are refused.

The client keeps a file under its entity tag, which is its SHA-256, or Git's hash if it is small, but looks at its size
alone. So a file that was changed on the way would be read as the model.
"""

import contextlib
import hashlib
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dpmix.errors import DataError, one_line
from dpmix.network import causes, passing, retried


def hub_file(repository: str, names: Sequence[str]) -> Path:
    """The first of some files that a repository has, in the client's cache.

    Args:
        repository: `<owner>/<name>`.
        names: of the files, the preferred one first.

    Raises:
        DataError: if what arrives is, twice, not the file that the hub names.
        Exception: the client's, for everything else; `refusal` says what to do about it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for number, name in enumerate(names, 1):
        try:
            return whole(lambda name=name: hf_hub_download(repository, name), f"{repository}/{name}")  # type: ignore[misc]
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError) or number == len(names):
                raise
    raise ValueError(f"no names of files of {repository} were given; give one or more")


def whole(fetch: Callable[[], str], what: str) -> Path:
    """What the hub's client fetches, a file or a folder in its cache, once every file has its checksum.

    Args:
        fetch: calls the client, and is called again while the network or the hub fails; returns the path.
        what: its name, for messages.

    Raises:
        DataError: if a file is, twice, not the one that the hub names; it is then gone from the cache.
        Exception: the client's.
    """

    def attempt() -> Path:
        try:
            with quiet_client():
                return Path(fetch())
        except OSError as error:
            if "Consistency check failed" in str(error):
                raise ConnectionError(one_line(error, 160)) from error
            raise

    for _ in range(2):
        path = retried(attempt, what, worth=worth_another, why=lambda error: refusal(error, what)[0])
        damaged = [file for file in ([path] if path.is_file() else path.rglob("*")) if not _as_tagged(file)]
        for file in damaged:
            file.resolve().unlink()
            file.unlink(missing_ok=True)
        if not damaged:
            return path
    raise DataError(
        f"{damaged[0].name} of {what} arrives with another checksum than the hub says; "
        "something changes it on the way: use another network"
    )


def worth_another(error: BaseException) -> bool:
    """Whether to ask the hub again: not where its name is known to nobody, as without a network, or none is wanted."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return passing(error) and not any(isinstance(one, socket.gaierror | OfflineModeIsEnabled) for one in causes(error))


@contextlib.contextmanager
def quiet_client() -> Iterator[None]:
    """A context in which the hub's client logs none of its attempts, and leaves to `dpmix.network.retried` how to wait.

    By itself it would wait for as long as a busy server asks, be it a day, five times, without a word.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import logging

    before, client = logging.get_verbosity(), get_session()
    hooks = client.event_hooks
    logging.set_verbosity_error()
    client.event_hooks = {**hooks, "response": [*hooks["response"], _raise_if_asked_to_wait]}
    try:
        yield
    finally:
        client.event_hooks = hooks
        logging.set_verbosity(before)


def _raise_if_asked_to_wait(response: Any) -> None:
    """Raise for an answer of the hub's HTTP library that says when to come back."""
    if response.status_code in (429, 503) and "Retry-After" in response.headers:
        response.raise_for_status()


def _as_tagged(file: Path) -> bool:
    """Whether a file in the cache is what its entity tag says; true for what has no tag, such as a folder."""
    kept = file.resolve()
    if not file.is_symlink() or not kept.is_file() or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", kept.name):
        return True
    with kept.open("rb") as content:
        if len(kept.name) == 64:
            return hashlib.file_digest(content, "sha256").hexdigest() == kept.name
        git = hashlib.sha1(b"blob %d\0" % kept.stat().st_size, usedforsecurity=False)
        git.update(content.read())
        return git.hexdigest() == kept.name


def refusal(error: BaseException, repository: str) -> tuple[str, str]:
    """Why the hub gave no file, and what to do about it, as two parts of a line; the second is empty if none knows.

    Args:
        error: what a library raised when it asked the hub, or an error of its own that this caused.
        repository: `<owner>/<name>`.
    """
    from huggingface_hub import constants, errors

    for cause in causes(error):
        said = _said(cause)
        if "Invalid credentials" in said:
            return (
                "the hub refuses the token, which is wrong or has expired",
                "get a new one by `hf auth login`, or unset HF_TOKEN; public models need none",
            )
        if isinstance(cause, errors.GatedRepoError):
            page = f"{constants.ENDPOINT}/{repository}"
            return (
                "the repository is gated",
                f"accept its terms at {page} and log in by `hf auth login`, then run the same command again",
            )
        if isinstance(cause, errors.RepositoryNotFoundError):
            return "the hub has no such repository, or it is private", "correct its name, or log in by `hf auth login`"
        if isinstance(cause, errors.RevisionNotFoundError):
            return "the repository has no such revision", "correct the revision"
        if isinstance(cause, errors.FileMetadataError):
            return (
                f"{constants.ENDPOINT} does not answer as the hub does, perhaps because a proxy or a login is between",
                "log in to the network, or correct HF_ENDPOINT, and run the same command again",
            )
    deepest = [one_line(cause, 160) for cause in causes(error)]
    return deepest[-1] if "Hub" in deepest[0] or "hub" in deepest[0] else deepest[0], ""


def _said(error: BaseException) -> str:
    """What the hub says in an answer that refuses."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    return "" if headers is None else str(headers.get("X-Error-Message") or "")
