"""The main job, as a user meets it: the demo, `localize` and `evaluate` on the real demo study."""

import csv
import json
import resource
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from matplotlib.image import imread

from spine_monai.landmarks import LUMBAR11


def children_seconds():
    """Processor time of the processes that have ended; other work on the machine is not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo as a process of its own, as a user starts it."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "spine_monai.cli", "demo", "--out", str(out)]
    before = children_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return out, done, children_seconds() - before


def read_record(out, case="sub-034"):
    return json.loads((out / case / "landmarks.json").read_text())


def test_the_demo_writes_all_its_files(demo):
    out, done, _ = demo
    assert done.returncode == 0, done.stderr
    for name in ("landmarks.json", "landmarks.mrk.json", "overlay.png"):
        assert (out / "sub-034" / name).stat().st_size > 0
    assert {path.name for path in out.iterdir()} == {"sub-034", "landmarks.csv", "report.json"}


def test_the_demo_takes_seconds(demo):
    assert demo[2] < 20


def test_the_demo_shows_every_landmark_with_its_error(demo):
    lines = demo[1].stdout.splitlines()
    shown = {line.split()[0]: float(line.split()[-2]) for line in lines if line.endswith(" mm")}
    assert set(shown) == set(LUMBAR11.names)
    assert max(shown.values()) <= 8.0
    assert "research only" in demo[1].stdout


def test_the_demo_lies_where_the_reference_says(demo, bundle):
    """Independent of the package's own metrics: plain distances in the sagittal plane."""
    reference = json.loads((bundle / "sample" / "datalist.json").read_text())["testing"][0]
    for landmark in read_record(demo[0])["landmarks"]:
        truth = np.array(reference["points_lps"][landmark["name"]])
        assert np.linalg.norm((np.array(landmark["position_lps_mm"]) - truth)[1:]) <= 8.0


def test_pixels_and_patient_points_agree_with_the_dicom_header(demo, demo_series):
    """PS3.3 C.7.6.2.1.1, computed here from pydicom's values."""
    record = read_record(demo[0])
    files = [pydicom.dcmread(path) for path in demo_series.iterdir()]
    (header,) = [f for f in files if f.SOPInstanceUID == record["source"]["SOPInstanceUID"]]
    along_row, along_column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = map(float, header.PixelSpacing)
    for landmark in record["landmarks"]:
        pixel = landmark["position_px"]
        point = np.array(header.ImagePositionPatient, dtype=float)
        point = point + along_row * between_columns * pixel["column"]
        point = point + along_column * between_rows * pixel["row"]
        assert np.allclose(point, landmark["position_lps_mm"], atol=1e-6)


def test_the_table_the_markups_and_the_record_say_the_same(demo):
    out = demo[0]
    record = read_record(out)["landmarks"]
    markups = json.loads((out / "sub-034" / "landmarks.mrk.json").read_text())["markups"][0]
    with (out / "landmarks.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [point["label"] for point in markups["controlPoints"]] == list(LUMBAR11.names)
    for entry, point, row in zip(record, markups["controlPoints"], table, strict=True):
        assert entry["position_lps_mm"] == point["position"]
        assert entry["position_lps_mm"] == [float(row[f"{axis}_lps_mm"]) for axis in "xyz"]


def test_the_overlay_is_true_to_scale(demo):
    height, width = imread(demo[0] / "sub-034" / "overlay.png").shape[:2]
    assert height > 800
    assert width / height == pytest.approx(512 / (640 * 1.05), rel=0.01)


def test_the_report_tells_what_ran(demo):
    report = json.loads((demo[0] / "report.json").read_text())
    (case,) = report["cases"]
    assert case["status"] == "done"
    assert "sagittal T2" in case["reason"]
    assert set(report["bundle"]["weights_sha256"]) == {
        "model.pt",
        "model_coordinates.pt",
        "fusion.pt",
    }
    assert report["software"]["monai"]


def test_a_finished_case_is_skipped_and_a_changed_one_done_again(run, demo_series, tmp_path):
    study = ["localize", demo_series, "--out", tmp_path]
    assert run(*study)[0] == 0
    code, said = run(*study)
    assert (code, "1 skipped" in said) == (0, True)
    code, said = run(*study, "--formats", "json,overlay")
    assert "overlay.png is missing" in said
    assert "1 done" in said
    assert "1 done" in run(*study, "--overwrite")[1]


def test_a_case_of_other_weights_is_done_again(run, demo_series, bundle_copy, tmp_path):
    import torch

    study = ["localize", demo_series, "--out", tmp_path / "out"]
    assert run(*study)[0] == 0
    fusion = torch.load(bundle_copy / "models" / "fusion.pt", weights_only=True)
    fusion["fusion.temperature"] = fusion["fusion.temperature"] * 2
    torch.save(fusion, bundle_copy / "models" / "fusion.pt")
    code, said = run(*study, "--bundle", bundle_copy)
    assert code == 0
    assert "done with another bundle" in said


def test_a_case_of_another_arithmetic_is_done_again(run, demo_series, bundle_copy, tmp_path):
    file = bundle_copy / "configs" / "inference.yaml"
    asked = "inference_precision: {}  #"
    file.write_text(file.read_text().replace(asked.format("auto"), asked.format("float32")))
    study = ["localize", demo_series, "--out", tmp_path / "out", "--bundle", bundle_copy]
    assert run(*study)[0] == 0
    file.write_text(file.read_text().replace(asked.format("float32"), asked.format("bfloat16")))
    code, said = run(*study)
    assert code == 0
    assert "done with another bundle and options" in said
    (result,) = (tmp_path / "out").glob("*/landmarks.json")
    assert json.loads(result.read_text())["options"]["precision"] == "bfloat16"


def test_evaluate_writes_metrics_and_plots(demo, run, bundle, tmp_path):
    code, said = run(
        "evaluate", demo[0], "--reference", bundle / "sample" / "datalist.json", "--out", tmp_path
    )
    assert code == 0
    assert "sdr_8" in said
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["overall"]["n"] == 11
    assert metrics["overall"]["sdr"]["8"] == 1.0
    assert metrics["overall"]["level_shifts"] == 0
    assert (tmp_path / "errors.csv").read_text().count("\n") == 12
    for name in ("errors.png", "cumulative_error.png"):
        assert imread(tmp_path / name).shape[0] > 300


def test_evaluate_names_cases_without_a_counterpart(demo, run, bundle, tmp_path):
    reference = json.loads((bundle / "sample" / "datalist.json").read_text())
    reference["testing"].append(reference["testing"][0] | {"id": "sub-999"})
    (tmp_path / "datalist.json").write_text(json.dumps(reference))
    code, said = run(
        "evaluate", demo[0], "--reference", tmp_path / "datalist.json", "--out", tmp_path
    )
    assert code == 1
    assert "no result for: sub-999" in said


def test_evaluate_takes_results_of_a_landmark_set_of_ones_own(demo, run, bundle, tmp_path):
    (tmp_path / "results").mkdir()
    record = read_record(demo[0]) | {"landmark_set": "of my own"}
    record["landmarks"] = record["landmarks"][:4]
    folder = tmp_path / "results" / "sub-034"
    folder.mkdir()
    (folder / "landmarks.json").write_text(json.dumps(record))
    reference = bundle / "sample" / "datalist.json"
    code, said = run("evaluate", folder.parent, "--reference", reference, "--out", tmp_path / "out")
    assert (code, "1 cases, 4 landmarks, 0 missed" in said) == (0, True)


def test_evaluate_refuses_references_of_other_landmarks(demo, run, bundle, tmp_path):
    content = json.loads((bundle / "sample" / "datalist.json").read_text())
    points = content["testing"][0]["points_lps"]
    content["testing"][0]["points_lps"] = {f"canal {name}": p for name, p in points.items()}
    content["testing"][0]["image"] = str(bundle / "sample" / content["testing"][0]["image"])
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    code, said = run(
        "evaluate", demo[0], "--reference", tmp_path / "datalist.json", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "must have points of lumbar11 in its cases: got none" in said
    assert not (tmp_path / "out").exists()


def test_evaluate_takes_a_folder_of_markups(demo, run, tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    markups = (demo[0] / "sub-034" / "landmarks.mrk.json").read_text()
    (folder / "sub-034.mrk.json").write_text(markups)
    assert run("evaluate", demo[0], "--reference", folder, "--out", tmp_path / "out")[0] == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["overall"]["mre_mm"] == pytest.approx(0, abs=1e-9)


def test_help_is_quick_and_does_not_import_torch():
    before = children_seconds()
    command = [sys.executable, "-X", "importtime", "-m", "spine_monai.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert children_seconds() - before < 0.5
    assert "torch" not in done.stderr
    assert "research only" in " ".join(done.stdout.split())
