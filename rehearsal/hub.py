"""The Hugging Face hub's protocol on the loopback, as `HF_ENDPOINT` makes its client speak it.

Model info and file trees, `resolve` with commits, entity tags and redirects: small files to a cache, large ones (LFS)
to a store of objects elsewhere, which takes ranges and no token; the hub's codes for what is missing, gated or refused.
Its Xet protocol is not spoken: no header offers it, so that its client takes the plain way.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.server import Content, Request, Server, serving, sha256

# As the hub's `.gitattributes` have it.
_LARGE = (".safetensors", ".bin", ".ckpt", ".pth", ".jpg")

VALID_TOKEN, EXPIRED_TOKEN = "hf_rehearsalvalid", "hf_rehearsalexpired"


@dataclass
class Repository:
    """A model repository.

    Attributes:
        files: the content of each file by its path, or the file that holds it.
        commit: the only revision there is beside `main`.
        gated: whether only those who accepted its terms may read it.
        accepted: tokens of those who did.
    """

    files: Mapping[str, bytes | Path]
    commit: str
    gated: bool = False
    accepted: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)

    def is_large(self, path: str) -> bool:
        """Whether a file lies in the store of objects."""
        return path.endswith(_LARGE)

    def tag(self, path: str) -> str:
        """The entity tag of a file: its SHA-256 if it is large, else Git's hash of it."""
        if path not in self.tags:
            content = self.files[path]
            if self.is_large(path):
                self.tags[path] = sha256(content)
            else:
                body = content if isinstance(content, bytes) else content.read_bytes()
                self.tags[path] = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        return self.tags[path]


class Objects(Server):
    """The store of large files, on a host of its own.

    Attributes:
        repositories: those of the hub.
        tokens: the `Authorization` of every request so far; the store is to be given none.
    """

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        super().__init__()
        self.repositories = repositories
        self.tokens: set[str] = set()

    def content(self, request: Request) -> Content:
        """The object that a path names by its SHA-256."""
        self.tokens.add(request.headers.get("Authorization") or "")
        for repository in self.repositories.values():
            for path, content in repository.files.items():
                if repository.is_large(path) and request.place == f"/objects/{repository.tag(path)}":
                    return Content(content, {"ETag": f'"{repository.tag(path)}"'})
        return super().content(request)


class Hub(Server):
    """A hub with some repositories; files of `Server.files` are served beside them.

    Attributes:
        repositories: by name, `<owner>/<name>`.
        objects: where its large files are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repositories: dict[str, Repository] = {}
        self.objects = Objects(self.repositories)

    def source(self, name: str, path: str) -> tuple[Server, str]:
        """The server and the place from which the bytes of a file come in the end, for faults and counts."""
        return (self.objects if self.repositories[name].is_large(path) else self), self.place(name, path)

    def place(self, name: str, path: str) -> str:
        """The path of the bytes of a file, on the hub or among the objects."""
        repository = self.repositories[name]
        if repository.is_large(path):
            return f"/objects/{repository.tag(path)}"
        return f"/api/resolve-cache/models/{name}/{repository.commit}/{path}"

    def content(self, request: Request) -> Content:
        """What lies at a path, with the hub's own errors."""
        said = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)", self._cached),
            (r"/(?!api/)([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if asked := re.fullmatch(pattern, request.place):
                name, revision, *path = asked.groups()
                return self._refusal(name, revision, said) or answer(name, *path)
        return super().content(request)

    def _refusal(self, name: str, revision: str | None, token: str) -> Content | None:
        if token and token != VALID_TOKEN:
            return _error(401, "", "Invalid credentials in Authorization header")
        repository = self.repositories.get(name)
        if repository is None:
            # Whoever is not logged in does not hear whether a private repository exists.
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        if revision not in (None, "main", repository.commit):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if repository.gated and token not in repository.accepted:
            if token:
                said = f"Access to model {name} is restricted and you are not in the authorized list."
                return _error(403, "GatedRepo", said)
            said = (
                f"Access to model {name} is restricted. You must have access to it and be authenticated to access it."
            )
            return _error(401, "GatedRepo", said)
        return None

    def _info(self, name: str) -> Content:
        repository = self.repositories[name]
        siblings = [{"rfilename": path} for path in repository.files]
        info = {
            "_id": "0" * 24,
            "id": name,
            "modelId": name,
            "author": name.partition("/")[0],
            "sha": repository.commit,
            "private": False,
            "gated": "auto" if repository.gated else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
        return _json(info)

    def _tree(self, name: str) -> Content:
        repository = self.repositories[name]
        entries = []
        for path, content in repository.files.items():
            entry = {"type": "file", "path": path, "size": Content(content).size, "oid": repository.tag(path)[:40]}
            if repository.is_large(path):
                entry["lfs"] = {"oid": repository.tag(path), "size": entry["size"], "pointerSize": 134}
            entries.append(entry)
        return _json(entries)

    def _resolve(self, name: str, path: str) -> Content:
        repository = self.repositories[name]
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if path not in repository.files:
            missing = _error(404, "EntryNotFound", "Entry not found")
            return Content(missing.body, {**missing.headers, **headers}, 404)
        tag = repository.tag(path)
        size = str(Content(repository.files[path]).size)
        linked = {
            "X-Linked-Size": size,
            "X-Linked-Etag": f'"{tag}"',
            "Location": f"{self.objects.url}{self.place(name, path)}",
        }
        if repository.is_large(path):
            return Content(b"Found. Redirecting to a store of objects\n", {**headers, **linked}, 302)
        # Relative, on the same host: its client follows these itself.
        return Content(b"Temporary Redirect\n", {**headers, **linked, "Location": self.place(name, path)}, 307)

    def _cached(self, name: str, path: str) -> Content:
        repository = self.repositories[name]
        if path not in repository.files:
            return _error(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{repository.tag(path)}"'}
        return Content(repository.files[path], headers)


def _json(value: object) -> Content:
    return Content(json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})


def _error(status: int, code: str, message: str) -> Content:
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message}
    return Content(
        json.dumps({"error": message}).encode(), {**headers, **({"X-Error-Code": code} if code else {})}, status
    )


@contextlib.contextmanager
def hub_serving() -> Iterator[Hub]:
    """A hub and its store of objects, until the context ends."""
    hub = Hub()
    with serving(hub.objects), serving(hub):
        yield hub
