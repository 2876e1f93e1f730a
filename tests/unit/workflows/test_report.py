import json

from spine_monai.workflows.report import CaseReport, RunReport
from spine_monai.writers.run_report import REPORT_FILE, read_run_report

CASES = [
    CaseReport("one", "done", "why", [{"code": "c", "message": 'quoted "m"\nand broken'}], 1.25),
    CaseReport("two", "failed", "why not"),
]


def test_the_file_is_what_json_makes_of_it_as_a_whole(tmp_path):
    run = RunReport.start({"name": "b"}, ("json",))
    for cases in (CASES, CASES[:1], []):
        run.cases = cases
        run.write(tmp_path)
        text = (tmp_path / REPORT_FILE).read_text()
        assert text == json.dumps(json.loads(text), indent=1) + "\n"
        assert read_run_report(tmp_path / REPORT_FILE)["cases"] == [c.content for c in cases]


def test_cases_may_come_one_by_one(tmp_path):
    run = RunReport.start({}, ())
    run.write(tmp_path, (case for case in CASES))
    names = [case["case"] for case in read_run_report(tmp_path / REPORT_FILE)["cases"]]
    assert names == ["one", "two"]


def test_counting_keeps_only_what_failed():
    run = RunReport.start({}, ())
    for case in [*CASES, CaseReport("three", "skipped", "before"), CASES[0]]:
        run.count(case)
    assert run.cases == run.failed == [CASES[1]]
    assert run.counts == {"done": 2, "failed": 1, "skipped": 1}


def test_cases_that_are_kept_are_counted_too():
    assert RunReport({}, (), 0.0, list(CASES)).counts == {"done": 1, "failed": 1}
