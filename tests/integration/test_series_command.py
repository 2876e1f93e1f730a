"""`spine-monai series`: what it prints, its exit codes, and that it names nobody."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from spine_monai.data.synthetic import make_study

DATA = os.environ.get("SPINE_MONAI_DATA", "")
REAL = Path(DATA) / "dicom_io"
needs_real_files = pytest.mark.skipif(
    not (DATA and REAL.is_dir()), reason="SPINE_MONAI_DATA does not hold dicom_io"
)
SAGITTAL, AXIAL = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]
SECRET = "Kowalski"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A lumbar examination: localizer, T1, T2 and STIR sagittal, T2 axial, and a document."""
    folder = tmp_path_factory.mktemp("examination")
    small = make_study(shape=(48, 40, 5))
    scans = {
        "localizer": {"ScanningSequence": "GR", "EchoTime": "4", "RepetitionTime": "8"},
        "t1": {"EchoTime": "11", "RepetitionTime": "600"},
        "t2": {"EchoTime": "102", "RepetitionTime": "3500"},
        "stir": {"EchoTime": "60", "RepetitionTime": "4000", "InversionTime": "160"},
        "axial": {"ImageOrientationPatient": AXIAL},
    }
    for number, (name, attributes) in enumerate(scans.items(), start=1):
        common = {"SeriesNumber": number, "SeriesDescription": f"{SECRET} {name}"}
        small.write_dicom(folder / name, seed=name, **common | attributes)
    (folder / "README").write_text("no image")
    shutil.copy(pydicom.data.get_testdata_file("test-SR.dcm", download=False), folder)
    return folder


def uid_of(folder):
    return str(pydicom.dcmread(next(iter(sorted(folder.iterdir())))).SeriesInstanceUID)


@pytest.fixture
def run_json(run, capsys):
    def call(*arguments):
        capsys.readouterr()
        code, said = run("series", *arguments, "--json")
        return code, json.loads(said[: said.rindex("}") + 1])

    return call


def test_the_table_shows_each_series_and_why(run, study):
    code, said = run("series", study)
    assert code == 0
    lines = said.splitlines()
    rows = {line.split()[0]: line for line in lines if line[:1].isdigit()}
    assert rows.keys() == set("12345")
    assert "gradient echo" in rows["1"]
    assert "it is not T2-weighted (TE 11 ms, TR 600 ms: T1)" in rows["2"]
    assert rows["3"].endswith("CHOSEN")
    assert "TI 160 ms: STIR" in rows["4"]
    assert "it is not sagittal but axial" in rows["5"]
    assert f"    {uid_of(study / 't2')}" in lines
    assert "ignored files: 1 not DICOM, 1 no image" in lines
    assert "the sagittal T2 series of 5 found; T2 by TE 102 ms, TR 3500 ms" in lines[-1]
    assert SECRET not in said


def test_the_json_says_the_same(run_json, study):
    code, content = run_json(study)
    assert code == 0
    assert content["chosen"] == uid_of(study / "t2")
    assert content["ignored_files"] == {"not_dicom": 1, "dicomdir": 0, "damaged": 0, "no_image": 1}
    assert [one["weighting"] for one in content["series"]] == [
        "gradient echo",
        "T1",
        "T2",
        "STIR",
        "T2",
    ]
    assert SECRET not in json.dumps(content)


def test_a_zip_gives_the_same(run_json, study, tmp_path):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in study.rglob("*"):
            archive.write(file, file.relative_to(study.parent))
    _, of_folder = run_json(study)
    code, of_zip = run_json(tmp_path / "study.zip")
    assert code == 0
    assert of_zip["series"] == of_folder["series"]
    assert of_zip["chosen"] == of_folder["chosen"]


def test_a_named_series_is_shown_as_chosen(run, study):
    code, said = run("series", study, "--series-uid", uid_of(study / "t1"))
    assert code == 0
    (row,) = [line for line in said.splitlines() if line.endswith("CHOSEN")]
    assert row.startswith("2 ")
    assert "warning: the user named a series that the rules refuse: it is not T2-weighted" in said


def test_an_unknown_series_ends_with_1_and_those_there_are(run, study):
    code, said = run("series", study, "--series-uid", "1.2.3")
    assert code == 1
    assert f"got 1.2.3. There are {uid_of(study / 'localizer')}" in said


def test_a_study_without_t2_ends_with_1_and_the_table(run, run_json, study):
    code, said = run("series", study / "t1")
    assert code == 1
    assert "it is not T2-weighted (TE 11 ms" in said
    assert "no sagittal T2 series: none of 1 is one. One can be named by --series-uid." in said
    code, content = run_json(study / "t1")
    assert (code, content["chosen"]) == (1, None)


def test_two_equal_series_end_with_1_and_no_guess(run, study, tmp_path):
    for name in ("first", "second"):
        study = make_study(shape=(48, 40, 5))
        study.write_dicom(tmp_path / name, seed=name, StudyInstanceUID="2.25.1001")
    code, said = run("series", tmp_path)
    assert code == 1
    assert said.count("nothing tells it from 1 other") == 2
    assert "CHOSEN" not in said


def test_of_two_patients_none_is_chosen(run, tmp_path):
    for name in ("first", "second"):
        make_study(shape=(48, 40, 5)).write_dicom(tmp_path / name, seed=name, PatientID=name)
    code, said = run("series", tmp_path)
    assert code == 1
    assert said.count("it passes the rules, but another study's does too") == 2
    assert "2 of 2 are one, of 2 studies. Name the folder of one study" in said
    assert "CHOSEN" not in said


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_broken_zip_ends_with_1_and_one_line(run, run_json, tmp_path, content):
    (tmp_path / "study.zip").write_bytes(content)
    code, said = run("series", tmp_path / "study.zip")
    assert (code, said.count("\n")) == (1, 1)
    assert "study.zip must be a readable zip: BadZipFile" in said
    code, content = run_json(tmp_path / "study.zip")
    assert "must be a readable zip" in content["reason"]


def test_a_missing_study_ends_with_1(run, tmp_path):
    code, said = run("series", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere does not. Check the path." in said


def test_a_volume_file_has_nothing_to_choose(run, run_json, tmp_path):
    path = make_study(shape=(24, 20, 3)).write_nifti(tmp_path / "t2.nii.gz")
    assert run("series", path) == (0, "the file holds one volume\n")
    code, content = run_json(path)
    assert (code, content["reason"]) == (0, "the file holds one volume")


def test_the_command_starts_without_torch(study):
    script = "import sys; from spine_monai.cli import main; main(sys.argv[1:]); "
    script += "sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "series", str(study)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def plant(dataset, *, is_deep=True):
    """Put the secret in every text attribute there is, in sequences and private blocks too."""
    texts = {"LO", "SH", "PN", "ST", "LT", "UT", "UC", "AE"}
    kept = {"SeriesDescription", "TransferSyntaxUID"}
    for keyword, tag in keyword_dict.items():
        if 0x0008 < tag >> 16 < 0x5000 and dictionary_VR(tag) in texts and keyword not in kept:
            setattr(dataset, keyword, SECRET)
    for keyword in ("PatientBirthDate", "StudyTime"):
        dataset[keyword] = pydicom.DataElement(pydicom.tag.Tag(keyword), "LO", f"1970 {SECRET}")
    dataset.SeriesDescription = f"{SECRET} sag T2"
    block = dataset.private_block(0x0029, SECRET, create=True)
    block.add_new(0x10, "OB", SECRET.encode())
    block.add_new(0x11, "LO", SECRET)
    if is_deep:
        inner = Dataset()
        plant(inner, is_deep=False)
        dataset.RequestAttributesSequence = Sequence([inner])
        block.add_new(0x12, "SQ", Sequence([inner]))


def spoil_nothing(folder):
    pass


def spoil_headers(folder):
    for file in list(folder.iterdir())[:2]:
        file.write_bytes(file.read_bytes()[:700])


def spoil_numbers(folder):
    for file in folder.iterdir():
        content = file.read_bytes()
        for number in (b"102", b"3500"):
            content = content.replace(number, SECRET.encode()[: len(number)])
        file.write_bytes(content)


def spoil_weighting(folder):
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"3500", b" 350"))


def spoil_place(folder):
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.ImagePositionPatient
        dataset.save_as(file)


SPOILS = (spoil_nothing, spoil_headers, spoil_numbers, spoil_weighting, spoil_place)


@pytest.fixture(params=SPOILS, ids=lambda spoil: spoil.__name__)
def planted(request, tmp_path):
    """Two equal series full of the secret, spoilt in one way or not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in "ab":
            times = {"EchoTime": "102", "RepetitionTime": "3500"}
            folder = tmp_path / seed
            for file in make_study(shape=(24, 20, 3)).write_dicom(folder, seed=seed, **times):
                dataset = pydicom.dcmread(file)
                plant(dataset)
                dataset.save_as(file)
                assert file.read_bytes().count(SECRET.encode()) > 100
            request.param(folder)
    return tmp_path


def check_names_nobody(said):
    assert len(said) > 100
    assert SECRET[:4].lower() not in said.lower()
    assert "1970" not in said


@pytest.mark.parametrize("options", [("--json",), ("--series-uid", "1.2"), ()], ids=str)
def test_no_word_of_the_headers_gets_out(run, planted, options):
    code, said = run("series", planted, *options)
    assert code == 1
    check_names_nobody(said)


def test_no_word_gets_out_where_one_is_chosen(run, planted):
    code, said = run("series", planted / "a")
    check_names_nobody(said)
    assert (code == 0) == ("CHOSEN" in said)


def test_no_word_gets_out_of_the_verbose_command(planted):
    command = [sys.executable, "-m", "spine_monai.cli", "--verbose", "series", str(planted)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 1, done.stderr
    check_names_nobody(done.stdout + done.stderr)


@needs_real_files
def test_real_series_are_called_what_they_are(run_json):
    expected = {
        "ge_sag_explicit": ("sagittal", "T1"),
        "ge_sag_implicit": ("sagittal", "T1"),
        "ge_anatomical": ("sagittal", "T1"),
        "siemens_sag": ("sagittal", "FLAIR"),
        "generic_sag": ("sagittal", "FLAIR"),
        "philips_cor": ("coronal", "FLAIR"),
        "hitachi_sag": ("sagittal", "PD"),
        "canon_sag": ("sagittal", "echo-planar"),
        "siemens_spine_axial_1slice": ("axial", "T2"),
        "ts_all9_siemens": ("axial", "echo-planar"),
        "siemens_enhanced_multiframe": ("axial", "unknown"),
    }
    for name, found in expected.items():
        code, content = run_json(REAL / name)
        (series,) = content["series"]
        assert (series["plane"], series["weighting"]) == found, name
        assert (code, content["chosen"]) == (1, None)
        assert content["ignored_files"]["damaged"] == 0


@needs_real_files
def test_real_spacing_is_that_of_the_index(run_json):
    for entry in json.loads((REAL / "index.json").read_text()):
        _, content = run_json(REAL / entry["dir"])
        (series,) = content["series"]
        assert (series["rows"], series["columns"]) == (int(entry["rows"]), int(entry["cols"]))
        assert series["pixel_spacing_mm"] is not None
        assert series["files"] == entry["files"]


@needs_real_files
def test_a_real_enhanced_file_has_its_frames_spaced_as_itk_says(run_json):
    import SimpleITK as sitk

    (file,) = (REAL / "siemens_enhanced_multiframe").iterdir()
    image = sitk.ReadImage(str(file))
    _, content = run_json(file)
    (series,) = content["series"]
    assert series["slices"] == image.GetSize()[2]
    assert series["pixel_spacing_mm"] == pytest.approx(image.GetSpacing()[1::-1])
    assert series["slice_spacing_mm"] == pytest.approx([image.GetSpacing()[2]] * 2, abs=1e-3)
