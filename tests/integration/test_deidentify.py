"""Research export: no word of a study gets out; what gets out is whole and still anchored."""

import json
import shutil
import stat
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hard_cases import CASES, by_spine_monai
from planted import SPOILS, write_planted
from planted_values import WORDS, plant_file
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from spine_monai.deidentify.export import deidentify
from spine_monai.deidentify.manifest import MANIFEST_FILE, own_export
from spine_monai.readers import locate_study, read_study

SCANNERS = Path(__file__).parents[1] / "data" / "dicom_io"
VOLUMES = "hard_cases.volumes"
TO_BE_READ = [one for one in CASES if not one.refused and one.build.__module__ != VOLUMES]
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-32-le")


@pytest.fixture
def export(run, tmp_path):
    """Run the command; gives the exit code, everything that it said, and the lines it wrote."""

    def call(*arguments, out="export", key="key"):
        options = ["--out", tmp_path / out, "--key", tmp_path / key]
        code, said = run("deidentify", *arguments, *options)
        return code, said, lines_of(tmp_path / out)

    return call


def lines_of(out):
    path = out / MANIFEST_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def images_of(folder):
    return [pydicom.dcmread(file) for file in sorted(folder.rglob("2.25.*.dcm"))]


def left_in(content, words=WORDS):
    data = (content.encode() if isinstance(content, str) else content).lower()
    return [w for w in words if any(w.lower().encode(code) in data for code in ENCODINGS)]


def assert_nothing_left(folder, said, words=WORDS):
    """No file, no name of one, and nothing that was said holds a word."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert left_in(str(path.relative_to(folder)), words) == []
        assert left_in(path.read_bytes(), words) == [], path
    assert left_in(said, words) == []


def original_uids(folder):
    datasets = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what was planted
        return sorted({str(dataset[keyword].value) for dataset in datasets for keyword in UIDS})


@pytest.fixture(scope="module")
def planted(demo_study, tmp_path_factory):
    """Two images with words in everything, of one in nested items too."""
    folder = tmp_path_factory.mktemp("planted")
    for path in sorted(demo_study.glob("*.dcm"))[:2]:
        shutil.copy(path, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, path in enumerate(sorted(folder.glob("*.dcm"))):
            plant_file(path, nested=number == 0)
    return folder


@pytest.mark.parametrize("verbose", [(), pytest.param(("--verbose",), marks=pytest.mark.heavy)])
def test_nothing_is_left_of_words_planted_everywhere(planted, tmp_path, verbose):
    """As a user runs it, so that nothing of pytest stands between it and its log."""
    key, out = tmp_path / "key", tmp_path / "export"
    arguments = [*verbose, "deidentify", planted, "--all-series", "--out", out, "--key", key]
    done = subprocess.run(
        [sys.executable, "-m", "spine_monai.cli", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    (line,) = lines_of(out)
    assert line["objects"] == len(list(planted.glob("*.dcm"))) == len(images_of(out))
    assert_nothing_left(out, said)
    assert_nothing_left(out, said, [*original_uids(planted), key.read_text().strip()])
    assert len(line["dropped"]) > 1000
    for image in images_of(out):
        assert image.preamble == bytes(128)
        assert not [element for element in image.iterall() if element.tag.is_private]


@pytest.fixture(scope="module")
def spoilt(demo_study, tmp_path_factory):
    """Studies full of words and broken in many ways."""
    home = tmp_path_factory.mktemp("spoilt")
    volume = read_study(demo_study)
    affine = volume.image.affine.numpy() @ np.diag([4.0, 4.0, 1.0, 1.0])
    pixels = volume.image[0, ::4, ::4].numpy().astype(np.uint16)
    for name, spoil in SPOILS.items():
        write_planted(home / name, pixels, affine, spoil)
    return home


def test_a_broken_study_does_not_stop_the_others_nor_tell_a_name(spoilt, export, tmp_path):
    code, said, lines = export("--all-series", *sorted(spoilt.iterdir()))
    assert code == 1
    statuses = [line["status"] for line in lines]
    assert statuses.count("done") >= len(SPOILS) / 2
    assert {line["study_number"] for line in lines} == set(range(1, len(SPOILS) + 1))
    assert_nothing_left(tmp_path / "export", said)
    for line in lines:
        if line["status"] == "refused":
            assert line["reason"]
            assert f"study {line['study_number']}: " in said


@pytest.fixture
def study(demo_series, tmp_path):
    """The demo study with a patient's dates, whom it shall not name."""
    folder = shutil.copytree(demo_series, tmp_path / "study")
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.StudyDate, dataset.AcquisitionDate = (
            "MRN-4711",
            "20200304",
            "20200305",
        )
        dataset.PatientBirthDate, dataset.StudyTime = "19210203", "101112"
        dataset.save_as(path)
    return folder


def test_pixels_geometry_and_order_are_the_originals(study, export, tmp_path):
    code, _, (line,) = export(study)
    assert code == 0
    exported, source = read_study(tmp_path / "export" / line["folder"]), read_study(study)
    np.testing.assert_array_equal(exported.image.numpy(), source.image.numpy())
    np.testing.assert_array_equal(exported.image.affine.numpy(), source.image.affine.numpy())
    images = images_of(tmp_path / "export")
    originals = {len(d.PixelData): d for d in map(pydicom.dcmread, study.glob("*.dcm"))}
    assert {len(image.PixelData) for image in images} == set(originals)
    assert {image.FrameOfReferenceUID for image in images} == {images[0].FrameOfReferenceUID}
    first = images[0]
    assert (first.PatientAge, first.StudyTime) == ("089Y", "101112")
    assert int(first.AcquisitionDate) - int(first.StudyDate) in (1, 70, 71, 72, 73, 8870)
    assert first.StudyDate < "20200304"


def test_the_manifest_says_what_was_done_and_nothing_that_leads_back(study, export, tmp_path):
    _, _, (line,) = export(study)
    assert line["status"] == "done"
    assert line["reason"].startswith("the sagittal T2 series of 1 found; T2 by")
    assert line["profile"]["options"].keys() == {"113100", "113107", "113108"}
    assert line["dropped"]["StudyDescription"] == line["objects"] == 5
    (image, *_) = images_of(tmp_path / "export")
    assert line["series"] == image.SeriesInstanceUID
    assert line["study"] == image.StudyInstanceUID
    assert line["subject"] == image.PatientID
    text = (tmp_path / "export" / MANIFEST_FILE).read_text()
    assert left_in(text, [*original_uids(study), "MRN-4711", str(study), str(tmp_path)]) == []


def test_two_runs_and_two_places_agree_and_another_key_does_not(study, export, tmp_path):
    export(study)
    shutil.copy2(tmp_path / "key", tmp_path / "copy")
    export(study, out="again", key="copy")
    export(study, out="other", key="new")
    files = {
        name: sorted(p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*.dcm"))
        for name in ("export", "again", "other")
    }
    assert files["export"] == files["again"]
    assert not set(files["export"]) & set(files["other"])
    for file in files["export"]:
        assert (tmp_path / "export" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_second_run_skips_what_is_done_and_mends_what_is_not(study, export, tmp_path):
    export(study)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "export").rglob("*.dcm")}
    code, said, lines = export(study)
    assert (code, len(lines)) == (0, 1)
    assert "1 skipped" in said
    assert before == {path: path.stat().st_mtime_ns for path in before}
    next(iter(before)).unlink()
    code, said, lines = export(study)
    assert "1 done" in said
    assert len(lines) == 2
    assert sorted(before) == sorted((tmp_path / "export").rglob("*.dcm"))
    with (tmp_path / "export" / MANIFEST_FILE).open("a") as stream:
        stream.write('{"torn')
    assert "1 skipped" in export(study)[1]
    next(iter(before)).unlink()
    assert len(export(study)[2]) == 3


def test_a_key_that_others_may_read_is_an_error(study, export, tmp_path):
    export(study)
    (tmp_path / "key").chmod(0o644)
    code, said, _ = export(study)
    assert code == 2
    assert "chmod 600" in said


@pytest.mark.parametrize(
    ("key", "out", "match"),
    [("export/key", "export", "must not lie in the export"), ("key", "study/x", "must not lie in")],
)
def test_key_export_and_studies_lie_apart(study, export, key, out, match):
    code, said, _ = export(study, key=key, out=out)
    assert code == 2
    assert match in said


def test_two_runs_do_not_export_into_one_folder(study, tmp_path):
    with (
        own_export(tmp_path / "out"),
        pytest.raises(ValueError, match="another run exports into this folder now"),
    ):
        deidentify([study], tmp_path / "out", tmp_path / "key")
    (entry,) = deidentify([study], tmp_path / "out", tmp_path / "key")
    assert entry.status == "done"


def test_a_series_is_named_for_one_study(study, export):
    code, said, _ = export(study, study, "--series-uid", "1.2.3")
    assert code == 2
    assert "one study" in said


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "SECONDARY"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ({"SOPClassUID": EncapsulatedPDFStorage}, "encapsulated document"),
    ],
)
def test_what_may_show_a_name_is_refused_with_its_reason(study, export, edit_all, change, reason):
    edit_all(study, **change)
    code, said, (line,) = export(study, "--all-series")
    assert code == 1
    assert line["status"] == "refused"
    assert reason in json.dumps(line["refused"])
    assert reason in said


def test_one_image_that_is_refused_leaves_the_others(study, export, edit):
    edit(min(study.glob("*.dcm")), BurnedInAnnotation="YES")
    code, said, (line,) = export(study, "--all-series")
    assert code == 1
    assert (line["status"], line["objects"]) == ("done", 4)
    assert sum(line["refused"].values()) == 1
    assert "BurnedInAnnotation" in said


def test_reports_beside_the_images_are_counted_and_left_behind(study, run, export, tmp_path):
    assert (
        run("localize", study, "--out", tmp_path / "results", "--formats", "json,sr,sc,gsps")[0]
        == 0
    )
    for file in (tmp_path / "results").glob("*/*.dcm"):
        shutil.copy(file, study / f"{file.stem}.dcm")
    code, _, (line, *others) = export(study)
    assert code == 0
    assert not others
    assert sorted(line["left_out"].values()) == [1, 1, 1]
    assert {image.SOPClassUID.name for image in images_of(tmp_path / "export")} == {
        "MR Image Storage"
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [("empty", "there is no DICOM image"), ("volume", "no DICOM"), ("nothing", "no such file")],
)
def test_what_is_no_study_is_refused(tmp_path, export, content, reason):
    study = tmp_path / "x.nii"
    if content == "empty":
        study.mkdir()
    elif content == "volume":
        study.write_bytes(b"x")
    code, said, (line,) = export(study)
    assert code == 1
    assert reason in line["reason"]
    assert str(tmp_path) not in json.dumps(line)
    assert "study 1: " in said


def test_a_series_that_cannot_be_chosen_is_refused_unless_named(study, export, edit_all):
    edit_all(study, SeriesDescription="t1 sag", EchoTime="10", RepetitionTime="500")
    code, _, (line,) = export(study)
    assert code == 1
    assert "no series can be chosen" in line["reason"]
    uid = pydicom.dcmread(next(study.glob("*.dcm"))).SeriesInstanceUID
    code, _, lines = export(study, "--series-uid", uid)
    assert code == 0
    assert lines[-1]["reason"].startswith("the user named it")
    code, _, lines = export(study, "--series-uid", "1.2.3")
    assert code == 1
    assert "the named series is not there" in lines[-1]["reason"]
    assert uid not in json.dumps(lines)


def test_a_zip_is_exported_like_its_folder(study, export, tmp_path):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in sorted(study.glob("*.dcm")):
            archive.write(path, f"4711 Mustermann/{path.name}")
    export(study)
    code, said, _ = export(tmp_path / "study.zip")
    assert code == 0
    assert "1 skipped" in said


def test_a_study_that_only_words_call_t2_is_chosen_again_after_the_export(study, export, tmp_path):
    """Its description goes, but what it said of the contrast stays in our words."""
    _, _, (line,) = export(study)
    (image, *_) = images_of(tmp_path / "export")
    assert image.SeriesDescription == "T2 sagittal lumbar"
    assert locate_study(tmp_path / "export" / line["folder"]).series is not None


@pytest.fixture
def localized(study, run, tmp_path):
    """The results of the study, its landmarks as a report too."""
    code, said = run(
        "localize", study, "--out", tmp_path / "results", "--formats", "json,csv,markups,sr"
    )
    assert code == 0, said
    return tmp_path / "results"


def test_landmarks_stay_anchored(study, localized, run, export, tmp_path):
    code, said, (line,) = export(study, "--results", localized)
    assert code == 0, said
    assert line["landmarks_left_out"] == []
    home = tmp_path / "export" / line["landmarks"]
    content = json.loads((home / "landmarks.json").read_text())
    images = {image.SOPInstanceUID: image for image in images_of(tmp_path / "export")}
    shown = images[content["source"]["SOPInstanceUID"]]
    assert {key: content["source"][key] for key in UIDS} == {key: shown[key].value for key in UIDS}
    frame = np.array(content["slice"]["lps_from_column_row"])
    np.testing.assert_allclose(frame[:3, 3], shown.ImagePositionPatient, atol=1e-6)
    report = pydicom.dcmread(home / "landmarks.dcm")
    assert report.PatientID == shown.PatientID
    assert str(shown.FrameOfReferenceUID) in repr(report)
    said = json.dumps(content) + repr(report)
    assert left_in(said, [*original_uids(study), str(tmp_path), "MRN-4711"]) == []

    series = tmp_path / "export" / line["folder"]
    code, said = run(
        "localize", series, "--out", tmp_path / "again", "--formats", "json,csv,markups"
    )
    assert code == 0, said
    (again,) = (tmp_path / "again").glob("*/landmarks.json")
    found = {
        one["name"]: one["position_lps_mm"] for one in json.loads(again.read_text())["landmarks"]
    }
    assert found == {one["name"]: one["position_lps_mm"] for one in content["landmarks"]}
    code, said = run("verify", home, tmp_path / "export" / "landmarks" / "landmarks.csv", again)
    assert code == 0, said
    assert "agrees" in said
    before = (
        localized / next(localized.glob("*/landmarks.mrk.json")).relative_to(localized)
    ).read_text()
    assert (home / "landmarks.mrk.json").read_text() == before


def test_the_words_of_a_warning_for_whoever_reads_the_report_stay(
    study, localized, export, tmp_path
):
    (record,) = localized.glob("*/landmarks.json")
    content = json.loads(record.read_text())
    warning = {"code": "extreme_grey_values", "message": "clip the grey values"}
    content["warnings"] = [warning, warning | {"code": "unreadable_files"}]
    record.write_text(json.dumps(content))
    assert export(study, "--results", localized)[0] == 0
    (exported,) = (tmp_path / "export").rglob("landmarks.json")
    messages = [one["message"] for one in json.loads(exported.read_text())["warnings"]]
    assert messages == ["clip the grey values", "see the code"]


def test_words_in_the_results_stay_behind(study, localized, export, tmp_path):
    """Results are files: whoever edited them may have left a name."""
    (record,) = localized.glob("*/landmarks.json")
    content = json.loads(record.read_text())
    content |= {"case": "Mustermann", "note": "Mustermann", "series_choice": "Mustermann"}
    content["source"]["path"] = "/home/Mustermann"
    content["warnings"] += [{"code": "unreadable_files", "message": "/home/Mustermann/1.dcm"}]
    content["options"]["weights"] = "/home/Mustermann"
    record.write_text(json.dumps(content))
    code, said, (line,) = export(study, "--results", localized)
    assert code == 0
    assert line["landmarks"]
    assert_nothing_left(tmp_path / "export", said, ["Mustermann", "MRN-4711"])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["bundle"].update(name="Mustermann^Erika"),
        lambda content: content["landmarks"][0].update(name="Mustermann"),
        lambda content: content["landmarks"][0].update(position_lps_mm=["Mustermann", 1, 2]),
        lambda content: content.pop("calibrated"),
    ],
)
def test_a_damaged_record_is_left_out_and_said(study, localized, export, tmp_path, change):
    (record,) = localized.glob("*/landmarks.json")
    content = json.loads(record.read_text())
    change(content)
    record.write_text(json.dumps(content))
    _, said, (line,) = export(study, "--results", localized)
    assert line["landmarks"] == ""
    assert "cannot be taken over" in line["landmarks_left_out"][0]
    assert_nothing_left(tmp_path / "export", said, ["Mustermann"])


def test_results_that_are_not_there_are_an_error(study, export, tmp_path):
    code, said, _ = export(study, "--results", tmp_path / "nowhere")
    assert code == 2
    assert "must be a folder" in said


def test_references_between_images_resolve(study, export, tmp_path):
    """Each image refers to the next: so do the exported ones."""
    paths = sorted(study.glob("*.dcm"))
    datasets = [pydicom.dcmread(path) for path in paths]
    for dataset, other, path in zip(datasets, [*datasets[1:], datasets[0]], paths, strict=True):
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            other.SOPClassUID,
            other.SOPInstanceUID,
        )
        dataset.ReferencedImageSequence = [item]
        dataset.save_as(path)
    export(study)
    images = images_of(tmp_path / "export")
    uids = {image.SOPInstanceUID for image in images}
    assert {i.ReferencedImageSequence[0].ReferencedSOPInstanceUID for i in images} == uids


@pytest.mark.parametrize("name", ["canon_sag", "hitachi_sag", "ts_all9_siemens"])
def test_files_of_scanners_stay_whole(export, tmp_path, name):
    """Of several makers, in nine transfer syntaxes: pixels, place and validity."""
    folder = SCANNERS / name
    code, said, (line,) = export(folder, "--all-series")
    assert code == 0, said
    sources = sorted(map(pydicom.dcmread, folder.glob("*.dcm")), key=place_and_syntax)
    images = sorted(images_of(tmp_path / "export"), key=place_and_syntax)
    assert len(images) == len(sources) == line["objects"]
    uids = {str(source[key].value) for source in sources for key in UIDS if key in source}
    assert_nothing_left(tmp_path / "export", said, sorted(uids))
    for image, source in zip(images, sources, strict=True):
        assert place_and_syntax(image) == place_and_syntax(source)
        if source.file_meta.TransferSyntaxUID.is_encapsulated:
            np.testing.assert_array_equal(image.pixel_array, source.pixel_array)
        else:
            assert image.PixelData == source.PixelData
    if shutil.which("dciodvfy"):
        before = {error for path in folder.glob("*.dcm") for error in errors_of(path)}
        after = {
            error for path in (tmp_path / "export").rglob("*.dcm") for error in errors_of(path)
        }
        assert after <= before


def made_folder(path):
    path.mkdir()
    return path


@pytest.mark.heavy
@pytest.mark.parametrize("case", TO_BE_READ, ids=lambda case: case.name)
def test_a_hard_case_is_read_rightly_after_its_export(case, tmp_path):
    """All encodings, Enhanced MR, odd geometry: each pixel and corner where it was."""
    written = case.build(made_folder(tmp_path / "in"))
    (entry,) = deidentify([written.path], tmp_path / "out", tmp_path / "key")
    assert entry.is_whole, entry
    outcome = by_spine_monai(replace(written, path=tmp_path / "out" / entry.folder))
    assert outcome.verdict == "right", outcome.message
    assert_nothing_left(tmp_path / "out", repr(entry), ["Doe^Jane", "jane", "2.25.1001"])


def place_and_syntax(dataset):
    position = [str(x) for x in dataset.ImagePositionPatient]
    orientation = [str(x) for x in dataset.ImageOrientationPatient]
    return str(dataset.file_meta.TransferSyntaxUID), position, orientation


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="not installed: dciodvfy of dicom3tools")
def test_a_validator_finds_no_new_errors(study, export, tmp_path):
    export(study)
    before = {error for path in study.glob("*.dcm") for error in errors_of(path)}
    after = {error for path in (tmp_path / "export").rglob("*.dcm") for error in errors_of(path)}
    assert after <= before


def errors_of(path):
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, check=False, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def test_the_folders_of_the_export_are_made_of_new_names(study, export, tmp_path):
    _, _, (line,) = export(study)
    subject, session, series = line["folder"].split("/")
    assert (subject[:2], session[:6], series[:7]) == ("S-", "study-", "series-")
