"""Every data set from its archive to its store over a real connection, and every fault of the server on the way."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmix import downloads
from dpmix.data.archives import fetch, place_of, source_of
from dpmix.data.images import load
from dpmix.data.sources import prepare
from dpmix.errors import DataError, ParamsError
from rehearsal import archives
from rehearsal.archives import DATA_SETS, Made
from rehearsal.faults import (
    Busy,
    Changed,
    Circular,
    Compressed,
    Drip,
    Dropped,
    Fault,
    Nowhere,
    Overstated,
    Page,
    Truncated,
)
from rehearsal.server import Content, Request, Server
from tests.rehearsal.conftest import served


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_comes_from_its_archive(
    name: str, server: Server, made: dict[str, Made], tmp_path: Path
) -> None:
    spec = served(server, name, made[name])
    prepare(spec, 32, tmp_path / "raw", tmp_path / "out")
    for split, size in (("train", made[name].train), ("test", made[name].test)):
        images = load(tmp_path / "out", split)
        assert images.images.shape == (size, 3, 32, 32)
        # A picture has the colour of its class, which tells that labels and images belong together.
        for label, image in zip(images.labels, images.images, strict=True):
            colour = archives._pixels(int(label), 0, 32, 32).mean(axis=(0, 1))
            grey = np.ptp(np.asarray(image, dtype=float).mean(axis=(1, 2))) < 3  # what was stored without colours
            assert grey or np.abs(np.asarray(image).mean(axis=(1, 2)) - colour).max() < 15
    # A second store, at another resolution, needs no network.
    asked = len(server.asked)
    prepare(spec, 16, tmp_path / "raw", tmp_path / "small")
    assert len(server.asked) == asked == len(made[name].files)


def unpacked(name: str, server: Server, made: Made, raw: Path) -> Path:
    spec = served(server, name, made)
    fetch(name, raw, spec.mirrors, spec.checksums)
    return place_of(name, raw, spec.checksums)


@pytest.mark.parametrize("name", ["eurosat", "caltech256", "sun397", "oxford-pet"])
def test_torchvision_reads_the_same_formats(name: str, server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    """So the archives have the members, the names and the lists that a reader of the real ones expects."""
    from torchvision import datasets

    root = unpacked(name, server, made[name], tmp_path)
    sets = {
        "eurosat": [datasets.EuroSAT],
        "caltech256": [datasets.Caltech256],
        "sun397": [datasets.SUN397],
        "oxford-pet": [lambda root, split=part: datasets.OxfordIIITPet(root, split) for part in ("trainval", "test")],
    }
    read = [one(root) for one in sets[name]]  # fmt: skip
    assert sum(map(len, read)) == made[name].train + made[name].test
    found = fetch(name, tmp_path, *(getattr(served(server, name, made[name]), key) for key in ("mirrors", "checksums")))
    assert len(found.classes) == len(getattr(read[0], "classes", None) or read[0].categories) == made[name].classes
    if name != "caltech256":
        assert read[0][0][0].size > (15, 15)
        return
    # torchvision names a file by its class's place, which is its number only where no class is left out.
    for place, index in zip(read[0].y, read[0].index, strict=True):
        kind = read[0].categories[place]
        file = Path("caltech256", "256_ObjectCategories", kind, f"{kind[:3]}_{index:04d}.jpg")
        with Image.open(root / file) as image:
            assert image.size > (15, 15)


@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
def test_pickles_are_opened_only_if_they_are_those_of_the_archive(
    name: str, server: Server, made: dict[str, Made], tmp_path: Path
) -> None:
    root = unpacked(name, server, made[name], tmp_path)
    (victim,) = root.rglob("test_batch" if name == "cifar-10" else "test")
    (tmp_path / "ran").unlink(missing_ok=True)
    victim.write_bytes(b"cposix\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "ran").encode())
    spec = served(server, name, made[name])
    with pytest.raises(DataError, match=r"is incomplete or damaged .*; delete it and run again"):
        fetch(name, tmp_path, spec.mirrors, spec.checksums)
    assert not (tmp_path / "ran").exists()
    (root / source_of(name).archives[0].path).unlink()
    with pytest.raises(DataError, match=r"is gone, without which no pickled file can be trusted; delete"):
        fetch(name, tmp_path, spec.mirrors, spec.checksums)


PASSING: dict[str, tuple[Fault, int]] = {
    "a connection that drops once": (Dropped(1), 2),
    "a connection that drops three times": (Dropped(3), 4),
    "a server that is busy": (Busy(2), 3),
    "a server that is busy and says how long": (Busy(1, 429, "1"), 2),
    "more announced than there is": (Overstated(), 2),
    "a slow server": (Drip(1, piece=700, pause_s=0.01), 1),
    "a redirect to nowhere that is mended": (Nowhere(1), 2),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_ends_in_a_store(fault: str, server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    spec = served(server, "eurosat", made["eurosat"])
    trouble, asked = PASSING[fault]
    trouble.struck = 0
    server.faults["/eurosat/EuroSAT.zip"] = trouble
    prepare(spec, 32, tmp_path / "raw", tmp_path / "out")
    assert server.requests("/eurosat/EuroSAT.zip") == asked
    assert len(load(tmp_path / "out", "test").images) == made["eurosat"].test


def test_a_dropped_download_goes_on_where_it_stopped(server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    spec = served(server, "eurosat", made["eurosat"])
    server.faults["/eurosat/EuroSAT.zip"] = Dropped(2)
    fetch("eurosat", tmp_path, spec.mirrors, spec.checksums)
    size = len(made["eurosat"].files["EuroSAT.zip"])
    ranges = [asked for _, _, asked in server.asked]
    assert ranges == ["", f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]


LASTING: dict[str, tuple[Fault, str]] = {
    "dropped again and again": (Dropped(share=0.0), r"the connection ended after 0 of \d+ bytes"),
    "busy for good": (Busy(), "HTTP Error 503"),
    "busy for longer than anybody waits": (Busy(status=429, retry_after="86400"), "HTTP Error 429"),
    "not there": (Busy(status=404), "HTTP Error 404"),
    "another checksum": (Changed(), r"sends \d+ bytes whose MD5 is not [0-9a-f]{32}"),
    "truncated": (Truncated(), r"sends \d+ bytes whose MD5 is not [0-9a-f]{32}"),
    "nothing, said to be all": (Truncated(share=0.0), r"sends 0 bytes whose MD5 is not [0-9a-f]{32}"),
    "compressed on the way": (Compressed(), r"sends \d+ bytes whose MD5 is not [0-9a-f]{32}"),
    "no such part": (Busy(status=416), "HTTP Error 416"),
    "a redirect to nowhere": (Nowhere(), "Connection refused"),
    "a redirect to itself": (Circular(), "HTTP Error 302: .* infinite loop"),
    "a drip": (Drip(piece=1, pause_s=0.05), "bytes arrived in"),
    "a proxy's page": (Page(), "answers with a web page instead of a file, as a proxy or a login may"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.3)


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.usefixtures("impatient")
def test_what_lasts_is_one_line_and_leaves_nothing_that_counts(
    fault: str, server: Server, made: dict[str, Made], tmp_path: Path
) -> None:
    spec = served(server, "eurosat", made["eurosat"])
    trouble, words = LASTING[fault]
    server.faults["/eurosat/EuroSAT.zip"] = trouble
    with pytest.raises(
        DataError, match=rf"^eurosat cannot be downloaded \(.*{words}.*\); fetch EuroSAT\.zip from"
    ) as said:
        prepare(spec, 32, tmp_path / "raw", tmp_path / "out")
    assert "\n" not in str(said.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".part", ".lock")]
    # The remedies work: the server is mended, or a person puts the archive there.
    by_hand = place_of("eurosat", tmp_path / "raw", spec.checksums) / "eurosat" / "EuroSAT.zip"
    assert str(by_hand) in str(said.value)
    if fault.startswith("d"):
        by_hand.write_bytes(made["eurosat"].files["EuroSAT.zip"])
    else:
        server.faults.clear()
    prepare(spec, 32, tmp_path / "raw", tmp_path / "out")
    assert len(load(tmp_path / "out").images) == made["eurosat"].train


@pytest.mark.usefixtures("impatient")
def test_a_part_of_another_file_is_not_continued_into_a_damaged_one(
    server: Server, made: dict[str, Made], tmp_path: Path
) -> None:
    spec = served(server, "eurosat", made["eurosat"])
    part = place_of("eurosat", tmp_path, spec.checksums) / "eurosat" / "EuroSAT.zip.part"
    part.parent.mkdir(parents=True)
    for left in (b"another file", bytes(10**6)):
        part.write_bytes(left)
        fetch("eurosat", tmp_path, spec.mirrors, spec.checksums)
        (part.parent / "EuroSAT.zip").unlink()
        (part.parent / "2750").rename(tmp_path / f"{len(left)}")
    assert len(list(tmp_path.rglob("*.jpg"))) == 2 * (made["eurosat"].train + made["eurosat"].test)


def test_a_damaged_archive_is_fetched_again_and_named_if_it_cannot_be(
    server: Server, made: dict[str, Made], tmp_path: Path
) -> None:
    spec = served(server, "caltech256", made["caltech256"])
    place = place_of("caltech256", tmp_path, spec.checksums) / "caltech256"
    place.mkdir(parents=True)
    archive = place / "256_ObjectCategories.tar"
    archive.write_bytes(b"half")
    server.faults["/caltech256/256_ObjectCategories.tar"] = Busy()
    with pytest.raises(DataError, match=r"is damaged .* and cannot be fetched again .*503.*; delete it and fetch"):
        fetch("caltech256", tmp_path, spec.mirrors, spec.checksums)
    assert archive.read_bytes() == b"half"
    server.faults.clear()
    fetch("caltech256", tmp_path, spec.mirrors, spec.checksums)
    assert archive.read_bytes() == made["caltech256"].files[archive.name]


@pytest.mark.parametrize("filters", [True, False])
def test_an_archive_that_holds_something_else_or_leaves_its_folder_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: bool
) -> None:
    """Also by a Python whose tarfile has no filters, as Debian 12's."""
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    for members, words in (
        ([("elsewhere/file", b"")], "holds no folder SUN397"),
        ([("SUN397/ClassName.txt", b""), ("../../escaped", b"")], "cannot unpack"),
    ):
        made = Made({"SUN397.tar.gz": archives._tar(members, compressed=True)}, 1, 1, 1)
        spec = served(server, "sun397", made)
        with pytest.raises(DataError, match=words) as said:
            fetch("sun397", tmp_path / "raw", spec.mirrors, spec.checksums)
        assert "\n" not in str(said.value)
    assert not list(tmp_path.rglob("escaped")) + list(tmp_path.rglob("SUN397"))


def test_a_killed_unpacking_is_no_data_set(server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    """What a killed process leaves has another name, and goes."""
    spec = served(server, "sun397", made["sun397"])
    left = place_of("sun397", tmp_path, spec.checksums) / ".SUN397-left" / "SUN397"
    left.mkdir(parents=True)
    fetch("sun397", tmp_path, spec.mirrors, spec.checksums)
    assert not left.parent.exists()


def test_other_archives_lie_apart_and_have_other_paths(server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    from dpmix.artefacts.data import ImageStore

    spec = served(server, "eurosat", made["eurosat"])
    published = spec.model_copy(update={"mirrors": None, "checksums": None})
    mirrored = published.model_copy(update={"mirrors": spec.mirrors})
    hashes = [ImageStore(dataset=one, resolution=32).hash for one in (spec, published, mirrored)]
    assert hashes[0] != hashes[1] == hashes[2]
    assert place_of("eurosat", tmp_path, spec.checksums) != place_of("eurosat", tmp_path) == tmp_path


def test_a_mirror_of_no_archive_is_a_mistake_in_the_params(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"datasets\.eurosat\.mirrors: .*'Eurosat.zip'; did you mean 'EuroSAT.zip'\?"):
        fetch("eurosat", tmp_path, {"Eurosat.zip": "http://127.0.0.1/"})


def test_a_file_without_a_length_is_received_whole(server: Server, made: dict[str, Made], tmp_path: Path) -> None:
    """As from servers that compute what they send; a connection that drops then is told by the checksum alone."""
    content = made["eurosat"].files["EuroSAT.zip"]
    spec = served(server, "eurosat", made["eurosat"])
    server.files["/eurosat/EuroSAT.zip"] = Content(content)
    server.faults["/eurosat/EuroSAT.zip"] = Unannounced(1)
    fetch("eurosat", tmp_path, spec.mirrors, spec.checksums)
    assert [asked for _, _, asked in server.asked] == [""]


class Unannounced(Fault):
    def answer(self, request: Request, content: Content) -> None:
        request.start(200, {}, None)
        request.wfile.write(content.read())
