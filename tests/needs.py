"""What some tests need and a machine may lack, in one vocabulary, and the line that closes a run by counting it."""

from collections import Counter
from collections.abc import Generator, Iterable
from types import ModuleType
from typing import NoReturn

import pytest

ADMINISTRATOR = "the right to mount a disk (root)"
C_COMPILER = "a C compiler (Debian: gcc)"
CHECKOUT = "a git checkout"
CHROMIUM = "chromium (Debian: chromium)"
CLUSTER_GENERIC = "snakemake-executor-plugin-cluster-generic (pip install)"
DOCS = "mkdocs (the extra docs)"
FLOCK = "locks on files"
GIT = "git (Debian: git)"
GLIBC = "the GNU C library"
GPU = "an NVIDIA GPU"
IMAGES = "real images (a folder that DPMIX_SHARED_DATA names)"
JAX_GPU = "JAX that computes on a GPU"
JAX_PRIVACY = "jax-privacy (the extra jax)"
LATEX = "pdflatex (Debian: texlive-latex-recommended)"
LINUX = "Linux"
MAKE = "make (Debian: make)"
ONNX = "ONNX's packages (the extra export)"
OPAKE = "Opake (the extra bench)"
PAPER = "the paper's text (a folder that DPMIX_SHARED_PAPER names)"
PYARROW = "pyarrow (the extra export)"
SLURM = "Slurm (Debian: slurm-wlm, munge)"
TENSORBOARD = "TensorBoard (the extra tracking)"
X86 = "an x86-64 processor"

_NEEDS = "needs "


def needs(what: str, there: bool) -> pytest.MarkDecorator:
    """Skip the test unless what it needs is there."""
    return pytest.mark.skipif(not there, reason=_NEEDS + what)


def lacks(what: str) -> NoReturn:
    """Skip the running test: what it needs is not there."""
    pytest.skip(_NEEDS + what)


def module(name: str, what: str) -> ModuleType:
    """The module `name`; without it the running test is skipped."""
    return pytest.importorskip(name, reason=_NEEDS + what)


def closing_line(reasons: Iterable[str]) -> str:
    """How many tests were skipped, and what for: `3 tests were skipped: 2 need an NVIDIA GPU, 1 needs Linux.`"""
    counts = Counter(reasons)
    total = sum(counts.values())
    parts = []
    # Ties in alphabetical order: several processes report in any order.
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        what = reason.removeprefix(_NEEDS)
        parts.append(f"{count} {'needs' if count == 1 else 'need'} {what}" if what != reason else f"{count}: {reason}")
    return f"{total} {'test was' if total == 1 else 'tests were'} skipped: {', '.join(parts)}."


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """End with the closing line, under all that pytest itself has to say; xdist's workers have no terminal."""
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    # A report's longrepr is (file, line, "Skipped: reason").
    skipped = [report.longrepr[2].removeprefix("Skipped: ") for report in terminal.stats.get("skipped", [])
               if isinstance(report.longrepr, tuple)]  # fmt: skip
    if skipped:
        terminal.write_line(closing_line(skipped))
