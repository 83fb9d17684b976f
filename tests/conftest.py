"""What every test shares: one thread, reproducible examples, and the folder of real images."""

import os
from pathlib import Path

# Before torch or numpy is imported. Workers share the machine's cores, and sums depend on the number of threads;
# `make test-portable` asks for more of them to see that nothing else does.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = os.environ.get("DPMIX_TEST_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest

from tests.needs import IMAGES, lacks, pytest_sessionfinish  # noqa: F401 (a hook)

# The same examples on every machine: a failure in continuous integration is a failure here.
hypothesis.settings.register_profile("dpmix", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("dpmix")

ROOT = Path(__file__).resolve().parents[1]
# Tests whose bounds must hold whatever the instruction set and the number of threads: the marker `numeric`.
NUMERIC = (
    "adapters",
    "demo",
    "evaluation",
    "figures/test_draw.py",
    "models",
    "privacy",
    "release",
    "synthesis",
    "test_benchmarks.py",
    "test_random.py",
    "training",
    "views/test_augmentation.py",
    "views/test_cutmix.py",
    "views/test_draws.py",
    "views/test_microbatch_views.py",
    "views/test_mixing.py",
    "views/test_transforms.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-portable` runs."""
    for item in items:
        if any(item.path.is_relative_to(ROOT / "tests" / name) for name in NUMERIC):
            item.add_marker("numeric")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads that fail are tried again at once."""
    monkeypatch.setattr("dpmix.network.PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real images kept outside the repository (DPMIX_SHARED_DATA); tests that need it skip without it."""
    folder = Path(os.environ.get("DPMIX_SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        lacks(IMAGES)
    return folder
