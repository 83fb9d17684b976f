"""What a rehearsal reads from what is on disk."""

from pathlib import Path

from rehearsal.results import times

LOG = """host: example
[Fri Nov 27 07:37:53 2026]
rule run-convnext-4f52fd30:
    input: data/encoders/convnext-216d513a6a/open_clip_config.json
    jobid: 9
    resources: mem_mb=32000
Job 9 has been submitted with SLURM jobid 31 (log: logs/slurm/31.log).
[Fri Nov 27 07:37:55 2026]
localrule table9:
    jobid: 12
[Fri Nov 27 07:38:05 2026]
Finished jobid: 12 (Rule: table9)
[Fri Nov 27 07:38:06 2026]
rule table_modelmix:
    jobid: 13
[Fri Nov 27 07:38:26 2026]
Finished jobid: 13 (Rule: table_modelmix)
34 of 53 steps (64%) done
[Fri Nov 27 07:40:53 2026]
Finished jobid: 9 (Rule: run-convnext-4f52fd30)
"""


def test_seconds_of_each_rule_are_those_between_its_start_and_its_end(tmp_path: Path) -> None:
    logs = tmp_path / ".snakemake/log"
    logs.mkdir(parents=True)
    (logs / "1.snakemake.log").write_text(LOG, encoding="utf-8")
    (logs / "2.snakemake.log").write_text("[Sat Nov 28 07:37:53 2026]\nrule table9:\n    jobid: 1\n", encoding="utf-8")
    assert times(tmp_path) == [("run-convnext", 1, 180.0, 180.0), ("table", 2, 30.0, 20.0)]


def test_a_folder_without_logs_has_no_times(tmp_path: Path) -> None:
    assert times(tmp_path) == []
