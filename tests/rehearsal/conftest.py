"""A server on the loopback, and the archives of every data set on it."""

from collections.abc import Iterator

import pytest

from dpmix.params.specs import DatasetSpec
from rehearsal.archives import DATA_SETS, Made
from rehearsal.server import Content, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def made() -> dict[str, Made]:
    return {name: make() for name, make in DATA_SETS.items()}


def served(server: Server, name: str, made: Made) -> DatasetSpec:
    """The data set in the params, its archives on the server."""
    for file, content in made.files.items():
        server.files[f"/{name}/{file}"] = Content(content)
    return DatasetSpec(
        name=name, label=name, source="torchvision", classes=made.classes, train=made.train, test=made.test,
        mirrors={file: f"{server.url}/{name}/{file}" for file in made.files}, checksums=made.checksums(),
    )  # fmt: skip
