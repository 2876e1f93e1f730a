"""``report.json`` read back, as ``localize`` writes it."""

import pytest

from spine_monai.workflows import report
from spine_monai.workflows.report import CaseReport, RunReport
from spine_monai.writers.run_report import REPORT_FILE, read_run_report


def test_what_the_run_writes_is_read(tmp_path):
    run = RunReport.start({"name": "b"}, ("json",))
    warning = {"code": "c", "message": "m"}
    run.cases.append(CaseReport("one", "done", "why", [warning], 1.25))
    run.write(tmp_path)
    content = read_run_report(tmp_path / report.REPORT_FILE)
    assert content["cases"] == [
        {
            "case": "one",
            "status": "done",
            "reason": "why",
            "warnings": [warning],
            "duration_s": 1.25,
        }
    ]
    assert content["bundle"] == {"name": "b"}


def test_both_know_the_file_by_one_name():
    assert report.REPORT_FILE == REPORT_FILE


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / REPORT_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="must be the report of a run of spine_monai"):
        read_run_report(tmp_path / REPORT_FILE)
