"""`report.provenance`: which code, which libraries."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from dpmix.report import provenance as module
from dpmix.report.provenance import citation, code_digest, provenance
from tests.needs import GIT, lacks


def test_provenance_names_code_and_libraries() -> None:
    found = dict(provenance())
    assert {"dpmix", "Python", "numpy", "torch", "opacus"} <= set(found)
    assert next(iter(found)) == "dpmix"


def test_provenance_names_the_commit_of_its_own_repository_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("git"):
        lacks(GIT)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "dpmix"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(module.dpmix, "__file__", str(package / "__init__.py"))
    git("init")
    git("commit", "--allow-empty", "-m", "somebody else's")
    assert "commit" not in dict(provenance())
    git("add", ".")
    git("commit", "-m", "ours")
    commit = git("rev-parse", "HEAD")
    assert dict(provenance())["commit"] == commit[:12]
    (package / "__init__.py").write_text("1\n")
    assert dict(provenance())["commit"] == f"{commit[:12]} with uncommitted changes"


def test_the_digest_of_the_code_changes_with_any_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "dpmix"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/one.py"):
        (package / name).write_text("")
    monkeypatch.setattr(module.dpmix, "__file__", str(package / "__init__.py"))
    seen = [code_digest()]
    (package / "inner" / "one.py").write_text("1\n")
    seen.append(code_digest())
    (package / "inner" / "one.py").rename(package / "inner" / "two.py")
    seen.append(code_digest())
    assert len(set(seen)) == 3


def test_the_lock_is_named_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "requirements.lock (SHA-256)" not in dict(provenance())
    (tmp_path / "requirements.lock").write_text("numpy==2.4.6\n")
    assert dict(provenance())["requirements.lock (SHA-256)"] == hashlib.sha256(b"numpy==2.4.6\n").hexdigest()


def test_the_citation_is_the_repositorys(repository: Path) -> None:
    assert citation() == (repository / "CITATION.cff").read_text(encoding="utf-8")
