"""Bad input through the command line: one clear line, the right exit code, nothing half-written."""

import os
import re
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from spine_monai.data.synthetic import make_study

NAME = "Doe^Jane"


@pytest.fixture(scope="module")
def good_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_study().write_dicom(folder, seed="good", PatientName=NAME)
    return folder


@pytest.fixture
def study(good_study, tmp_path):
    return shutil.copytree(good_study, tmp_path / "bad_study")


def each(folder, change):
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)


def without_dicom(folder):
    for path in folder.iterdir():
        path.write_text("no image")


def truncated(folder):
    path = sorted(folder.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-3000])


def one_slice(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def axial(folder):
    each(folder, lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0]))


def spacing_absent(folder):
    each(folder, lambda ds: ds.pop("PixelSpacing"))


def spacing_zero(folder):
    each(folder, lambda ds: setattr(ds, "PixelSpacing", [0, 0.7]))


def constant(folder):
    each(folder, lambda ds: setattr(ds, "PixelData", bytes(len(ds.PixelData))))


def slice_missing(folder):
    sorted(folder.iterdir())[2].unlink()


BAD_DICOM = {
    without_dicom: "must hold DICOM images: none of its 5 files is one",
    truncated: "0003.dcm must have readable PixelData",
    one_slice: "it has 1 slice where at least 2 are needed",
    axial: "it is not sagittal",
    spacing_absent: r"0001.dcm must have 2 finite values of PixelSpacing: got \[\]",
    spacing_zero: r"0001.dcm must have a positive PixelSpacing: got \[0.0, 0.7\] mm",
    constant: "all its pixels have the value 0",
    slice_missing: "must have evenly spaced slices",
}


def failed_line(said):
    (line,) = [line for line in said.splitlines() if "failed:" in line]
    return line


@pytest.mark.parametrize("spoil", BAD_DICOM, ids=lambda spoil: spoil.__name__)
def test_a_bad_dicom_study_fails_with_one_clear_line(run, study, tmp_path, spoil):
    spoil(study)
    out = tmp_path / "out"
    code, said = run("localize", study, "--out", out)
    assert code == 1
    assert re.search(BAD_DICOM[spoil], failed_line(said))
    assert NAME not in said
    assert {path.name for path in out.iterdir()} == {"report.json", "landmarks.csv"}


def test_nan_pixels_fail(run, tmp_path):
    array = np.random.default_rng(0).random((20, 30, 4)).astype(np.float32)
    array[3, 4, 1] = np.nan
    nib.save(nib.Nifti1Image(array, np.diag([4.0, 1.0, 1.0, 1.0])), tmp_path / "nan.nii.gz")
    code, said = run("localize", tmp_path / "nan.nii.gz", "--out", tmp_path / "out")
    assert code == 1
    assert "nan.nii.gz must hold finite pixels: got 1 that are NaN or infinite" in said


def test_one_bad_case_among_three_leaves_the_others_done(run, study, demo_series, tmp_path):
    truncated(study)
    nifti = make_study(seed=3).write_nifti(tmp_path / "phantom.nii.gz")
    out = tmp_path / "out"
    code, said = run("localize", study, nifti, demo_series, "--out", out)
    assert code == 1
    assert "2 done, 1 failed" in said
    assert len(list(out.glob("*/landmarks.json"))) == 2
    assert (out / "landmarks.csv").read_text().count("\n") == 23


def test_two_cases_with_one_id_are_refused_before_any_work(run, demo_series, tmp_path):
    copy = shutil.copytree(demo_series, tmp_path / "copy")
    code, said = run("localize", demo_series, copy, "--out", tmp_path / "out")
    assert code == 2
    assert "studies must have different case ids" in said
    assert not (tmp_path / "out").exists()


def test_files_that_share_a_stem_take_their_parents_name(run, tmp_path):
    studies = []
    for subject in ("sub-011", "sub-012"):
        (tmp_path / subject).mkdir()
        studies.append(make_study(seed=len(studies)).write_nifti(tmp_path / subject / "t2.nii.gz"))
    code, _ = run("localize", *studies, "--out", tmp_path / "out")
    assert code == 0
    assert sorted(p.parent.name for p in (tmp_path / "out").glob("*/landmarks.json")) == [
        "sub-011_t2",
        "sub-012_t2",
    ]


def test_an_unwritable_output_is_a_storage_error(run, demo_series, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, said = run("localize", demo_series, "--out", tmp_path / "file" / "out")
    assert code == 3
    assert "file" in said


def test_an_unknown_format_is_refused(run, demo_series, tmp_path):
    code, said = run("localize", demo_series, "--out", tmp_path, "--formats", "json,pdf")
    assert code == 2
    assert "formats must be among json, csv, markups, overlay, report, sr, sc, gsps: got" in said
    assert ": got pdf." in said


def test_a_missing_study_is_a_failed_case(run, tmp_path):
    code, said = run("localize", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert code == 1
    assert "nowhere does not" in said


def test_the_wrong_number_of_weights_is_refused(run, demo_series, bundle_copy, tmp_path):
    model = bundle_copy / "models" / "model.pt"
    state = torch.load(model, weights_only=True)
    state.pop(next(iter(state)))
    torch.save(state, model)
    code, said = run("localize", demo_series, "--out", tmp_path / "out", "--bundle", bundle_copy)
    assert code == 2
    assert "model.pt must hold the" in said
    assert "Traceback" not in said


class Trap:
    """Pickles to a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_with_code_is_refused_and_not_run(run, demo_series, bundle_copy, tmp_path):
    torch.save({"weight": Trap(str(tmp_path / "owned"))}, bundle_copy / "models" / "model.pt")
    code, said = run("localize", demo_series, "--out", tmp_path / "out", "--bundle", bundle_copy)
    assert code == 2
    assert "it is damaged or holds code" in said
    assert not (tmp_path / "owned").exists()


def test_missing_weights_are_named(run, demo_series, bundle_copy, tmp_path):
    (bundle_copy / "models" / "fusion.pt").unlink()
    code, said = run("localize", demo_series, "--out", tmp_path / "out", "--bundle", bundle_copy)
    assert code == 2
    assert "fusion.pt missing" in said


def test_a_folder_that_is_no_bundle_is_refused(run, demo_series, tmp_path):
    code, said = run("localize", demo_series, "--out", tmp_path / "out", "--bundle", tmp_path)
    assert code == 2
    assert "must hold configs/metadata.json" in said


def test_evaluate_without_results_is_refused(run, bundle, tmp_path):
    reference = bundle / "sample" / "datalist.json"
    code, said = run("evaluate", tmp_path, "--reference", reference, "--out", tmp_path / "out")
    assert code == 2
    assert "results must be a folder of `spine-monai localize`" in said


@pytest.mark.parametrize("content", ["", "{}", '{"format": "other", "format_version": 1}'])
def test_training_on_a_wrong_datalist_is_refused(run, tmp_path, content):
    (tmp_path / "datalist.json").write_text(content)
    arguments = ["--datalist", tmp_path / "datalist.json", "--out", tmp_path / "out"]
    code, said = run("train", *arguments)
    assert code == 2
    assert "datalist.json must" in said
    assert not (tmp_path / "out").exists()
