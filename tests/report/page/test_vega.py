"""`report/page/vega.js` is what the installed library bundles, whole and unchanged."""

from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_bundle_is_the_installed_librarys(repository: Path) -> None:
    import vl_convert

    bundled = (repository / "dpmix" / "report" / "page" / "vega.js").read_text(encoding="utf-8")
    assert "</script" not in bundled
    assert bundled == vl_convert.javascript_bundle()
