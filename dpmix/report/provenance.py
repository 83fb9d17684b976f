"""Versions of the code and libraries that write the report, and digests of what the environment is pinned by."""

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import dpmix

_PACKAGES = ("numpy", "torch", "torchvision", "opacus", "dp-accounting", "open-clip-torch", "diffusers", "torchmetrics")


def _git(*arguments: str) -> str | None:
    """The output of git in the repository that contains this code; None if there is none, or no git."""
    command = ["git", "-C", str(Path(dpmix.__file__).parent), *arguments]
    try:
        # A copy installed inside another project's repository must not report that project's commit.
        tracked = subprocess.run([*command[:3], "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
        if tracked.returncode:
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> list[tuple[str, str]]:
    """(name, version) of this package, its commit and code, the lock, Python, and the libraries behind results."""
    found = [("dpmix", dpmix.__version__)]
    commit = _git("rev-parse", "HEAD")
    if commit:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        found.append(("commit", commit[:12] + (" with uncommitted changes" if changed else "")))
    found.append(("code (SHA-256)", code_digest()))
    lock = Path("requirements.lock")
    if lock.is_file():
        found.append(("requirements.lock (SHA-256)", hashlib.sha256(lock.read_bytes()).hexdigest()))
    found.append(("Python", platform.python_version()))
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return found


def code_digest() -> str:
    """The SHA-256 of this package's Python files, with their paths."""
    root = Path(dpmix.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def citation() -> str:
    """The text of `CITATION.cff`; empty where there is none, as in an installed package."""
    path = Path(dpmix.__file__).parents[1] / "CITATION.cff"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
