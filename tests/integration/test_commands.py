"""Commands beside the main job: converting, reading ahead, interrupting, training on processes."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.localization import localize_dataset


@pytest.fixture
def annotated(run, demo_series, tmp_path):
    """Two case folders as a user makes them: the images, and the markups that Slicer saved."""
    assert run("localize", demo_series, "--out", tmp_path / "found")[0] == 0
    (markups,) = (tmp_path / "found").glob("*/landmarks.mrk.json")
    for case in ("sub-a", "sub-b"):
        shutil.copytree(demo_series, tmp_path / "data" / case)
        shutil.copy(markups, tmp_path / "data" / case / "points.mrk.json")
    return tmp_path / "data"


def test_markups_beside_dicom_become_a_datalist(run, annotated, tmp_path):
    out = tmp_path / "lists" / "datalist.json"
    code, said = run("convert", "markups", annotated, "--out", out)
    assert (code, "2 cases" in said) == (0, True)
    items = json.loads(out.read_text())["training"]
    assert [item["id"] for item in items] == ["sub-a", "sub-b"]
    assert items[0]["subject"] == items[1]["subject"]  # the same patient twice
    assert items[0]["fold"] == items[1]["fold"]
    assert items[0]["slice_index"] == 2
    assert (out.parent / items[0]["image"]).resolve() == (annotated / "sub-a").resolve()
    assert set(items[0]["points_lps"]) == set(LUMBAR11.names)


def test_folds_must_name_every_case(run, annotated, tmp_path):
    (tmp_path / "cases.csv").write_text("case,fold\nsub-a,0\n")
    arguments = ["--folds", tmp_path / "cases.csv", "--out", tmp_path / "datalist.json"]
    code, said = run("convert", "markups", annotated, *arguments)
    assert code == 2
    assert "must name a fold for each case: sub-b is missing" in said


def test_a_damaged_case_is_left_out_and_told_in_the_report(run, annotated, tmp_path):
    (annotated / "sub-a" / "points.mrk.json").write_text("{")
    out, report = tmp_path / "datalist.json", tmp_path / "report.json"
    code, said = run("convert", "markups", annotated, "--out", out, "--report", report)
    assert (code, "1 left out" in said) == (1, True)
    assert [item["id"] for item in json.loads(out.read_text())["training"]] == ["sub-b"]
    assert json.loads(report.read_text())["left_out"] == ["sub-a"]


def test_a_folder_without_markups_is_refused(run, tmp_path):
    code, said = run("convert", "markups", tmp_path, "--out", tmp_path / "datalist.json")
    assert code == 2
    assert "folders must hold *.mrk.json files: none in" in said


def phantoms(folder, count):
    folder.mkdir()
    names = [folder / f"case-{seed}.nii.gz" for seed in range(count)]
    return [make_study(seed=seed).write_nifti(path) for seed, path in enumerate(names)]


def test_reading_ahead_changes_nothing(run, tmp_path):
    studies = phantoms(tmp_path / "studies", 4)
    assert run("localize", *studies, "--out", tmp_path / "one", "--workers", 0)[0] == 0
    assert run("localize", *studies, "--out", tmp_path / "two", "--workers", 1)[0] == 0
    table = (tmp_path / "one" / "landmarks.csv").read_text()
    assert table == (tmp_path / "two" / "landmarks.csv").read_text()
    assert table.count("\n") == 45


def test_a_dataset_of_plain_paths_is_localized_too(bundle, tmp_path):
    """As another program may hand it to the loop: paths, not located studies."""
    (study,) = phantoms(tmp_path / "studies", 1)
    parser = parse_config(bundle, "inference.yaml", studies=[str(study)])
    dataset = parser.get_parsed_content("dataset")
    dataset.data = [{"id": "plain", "image": str(study)}]
    report = localize_dataset(
        parser.get_parsed_content("evaluator"), dataset, tmp_path / "out", bundle_root=bundle
    )
    assert [case.status for case in report.cases] == ["done"]
    assert (tmp_path / "out" / "plain" / "landmarks.json").is_file()


def test_a_reader_that_has_seen_enough_is_no_error(demo_series):
    command = [sys.executable, "-m", "spine_monai.cli", "series", str(demo_series), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_an_interrupted_run_goes_on_where_it_was(run, tmp_path):
    studies, out = phantoms(tmp_path / "studies", 30), tmp_path / "out"
    command = [sys.executable, "-m", "spine_monai.cli", "localize", *studies, "--out", out]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not list(out.glob("*/landmarks.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "run the same command again" in said
    done = len(list(out.glob("*/landmarks.json")))
    assert 0 < done < 30
    assert not list(out.rglob(".*"))
    code, said = run("localize", *studies, "--out", out)
    assert code == 0
    assert f"{30 - done} done, {done} skipped" in said
