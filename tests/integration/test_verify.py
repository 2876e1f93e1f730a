"""`spine-monai verify`, as a user meets it, on the real demo study and on every format."""

import json
import shutil

import pytest
from tools.every_format import CASE_FILES, RUN_FILES, write_every_format

from spine_monai.workflows.outputs import FORMATS
from spine_monai.writers.dicom_sr import SR_FILE
from spine_monai.writers.read_back import Kind


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, result, located):
    return write_every_format(tmp_path_factory.mktemp("every") / "out", result, located)


@pytest.fixture
def out(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "out")


def change_record(out, change):
    path = out / "case-1" / "landmarks.json"
    record = json.loads(path.read_text())
    change(record["landmarks"])
    path.write_text(json.dumps(record))


def test_all_formats_of_a_case_agree(run, out):
    code, said = run("verify", out)
    assert code == 0
    assert "all files agree (1 cases)" in said
    rows = [line.split() for line in said.splitlines() if line.startswith("  ")]
    for name in (*CASE_FILES, *RUN_FILES):
        (row,) = [row for row in rows if row[0] == name]
        assert row[-1] == ("reference" if name == "landmarks.json" else "agrees")


def test_a_disagreement_is_named_by_file_and_landmark(run, out):
    change_record(out, lambda landmarks: landmarks[3]["position_lps_mm"].__setitem__(0, 500.0))
    code, said = run("verify", out / "case-1")
    assert code == 1
    assert f"{out / 'case-1' / SR_FILE}: L2 lies" in said
    assert f"{out / 'case-1' / 'landmarks.mrk.json'}: L2 lies" in said
    assert "DISAGREES" in said
    assert "1 of 1 cases disagree" in said


def test_a_file_that_cannot_be_read_does_not_end_the_others(run, out):
    path = out / "case-1" / SR_FILE
    path.write_bytes(path.read_bytes()[:3000])
    code, said = run("verify", out)
    assert code == 1
    assert f"{path}: cannot be read" in said
    assert "CANNOT BE READ" in said
    assert said.count("agrees") >= 5


def test_wrong_usage_ends_with_2(run, out, tmp_path):
    code, said = run("verify", out / "report.json")
    assert code == 2
    assert "expected landmarks.json, .mrk.json, landmarks.csv, report.html" in said
    code, said = run("verify", tmp_path / "nothing")
    assert code == 2
    code, said = run("verify", out / "landmarks.csv")
    assert code == 2
    assert "at least two of one case" in said


def test_nothing_that_is_said_names_the_patient(run, out):
    """The phantom's patient is Doe^Jane, and the DICOM results carry that name."""
    assert b"Doe" in (out / "case-1" / SR_FILE).read_bytes()
    for damage in (lambda path: None, lambda path: path.write_bytes(path.read_bytes()[:5000])):
        damage(out / "case-1" / SR_FILE)
        _, said = run("--verbose", "verify", out)
        assert "Doe" not in said
        assert "Jane" not in said


@pytest.mark.parametrize("slices", ["one", "all"])
def test_what_localize_writes_agrees(run, tmp_path, demo_series, slices):
    arguments = ["--formats", ",".join(FORMATS), "--slices", slices]
    code, said = run("localize", demo_series, "--out", tmp_path / "out", *arguments)
    assert code == 0, said
    code, said = run("verify", tmp_path / "out")
    assert code == 0, said
    assert "all files agree" in said
    for kind in Kind:
        assert f" {kind.value} " in said


def test_cases_of_a_table_that_are_not_asked_for_are_counted(run, out):
    lines = (out / "landmarks.csv").read_text().splitlines(keepends=True)
    others = [line.replace("case-1,", "case-2,") for line in lines[1:]]
    (out / "landmarks.csv").write_text("".join(lines + others))
    code, said = run("verify", out / "case-1", out / "landmarks.csv")
    assert code == 0
    assert "1 further cases have no other file and were left out" in said
