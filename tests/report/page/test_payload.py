import json
import math
from pathlib import Path

import pytest

from dpmix.report.charts.choose import pictures
from dpmix.report.data import collect
from dpmix.report.page.payload import payload, script
from dpmix.report.privacy_words import privacy_words
from dpmix.tables.latex import latex
from dpmix.tables.markdown import markdown
from dpmix.tables.render import tidy_csv
from tests.report.made_runs import lay


def test_a_cell_refers_to_its_runs_and_what_they_share_stands_once(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = collect(Path("results/demo"), lay(tmp_path, repository, "3"))
    values = payload(report, pictures(report))
    (data,) = [data for data in report.tables if data.table.name == "3"]
    table = values["tables"]["table3"]
    assert len(table["cells"]) == len(data.cells) > 50
    for cell, one in zip(table["cells"], data.cells, strict=True):
        assert [values["runs"][place]["path"] for place in cell["runs"]] == [run.path for run in one.runs]
        assert cell["values"] == list(one.cell.values)
        assert cell["at"] == [*one.cell.row, *one.cell.column]
        assert values["shared"]["privacy"][cell["privacy"]] == privacy_words(one)
    paths = [run["path"] for run in values["runs"]]
    assert len(paths) == len(set(paths)) == len(report.runs)
    assert values["shared"]["hardware"] == ["an abacus"]
    assert values["shared"]["inputs"] == [["data/images/x/meta.json", 64 * "a"]]
    assert table["copy"] == {
        "CSV": tidy_csv(data.table), "Markdown": markdown(data.table), "LaTeX": latex(data.table)
    }  # fmt: skip
    assert values["charts"]["table3"]["spec"]["data"]["values"]
    # An infinite number is a word, and nothing else is none of JSON's.
    assert "inf" in {cell.get("epsilon") for cell in table["cells"]}
    json.dumps(values, allow_nan=False)


def test_json_in_a_script_cannot_end_it_and_is_read_back() -> None:
    values = {"a": "</script><!-- \u2028 \u2029", "ε": [1.5, None]}
    text = script(values)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == values
    with pytest.raises(ValueError, match="not JSON compliant"):
        script(math.inf)
