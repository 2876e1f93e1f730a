"""What is read of a study at a path."""

import hashlib
import zipfile

import pydicom
import pytest
import SimpleITK as sitk

from spine_monai.data.synthetic import make_study
from spine_monai.readers import StudyError, locate_study
from spine_monai.readers.choice import ChoiceError


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"inside/{file.name}")
    return path


def codes(located):
    return [warning["code"] for warning in located.warnings]


def test_a_study_without_choice_is_refused_with_every_rule(tmp_path, write_series):
    write_series(tmp_path / "t1", "t1", EchoTime=12, SeriesNumber=4)
    with pytest.raises(ChoiceError, match=r"none of 1 is one. series 4 \(2.25.*TE 12 ms"):
        locate_study(tmp_path)


def test_two_equal_series_are_never_chosen_between(tmp_path, assert_refused, write_series):
    write_series(tmp_path / "a", "first", SeriesNumber=3, SeriesDescription="Jane Doe T2")
    write_series(tmp_path / "b", "second", SeriesNumber=4, SeriesDescription="Jane Doe T2")
    assert_refused(tmp_path, r"2 of 2 are equally good. series 3 .*series 4 ")


def test_a_file_of_one_of_two_equal_series_chooses_it(tmp_path, write_series):
    write_series(tmp_path / "a", "first")
    wanted = write_series(tmp_path / "b", "second")
    assert locate_study(wanted[0]).files == tuple(wanted)


def test_a_series_can_be_named(tmp_path, write_series):
    write_series(tmp_path / "t2", "t2")
    wanted = write_series(tmp_path / "t1", "t1", EchoTime=12, RepetitionTime=500)
    uid = pydicom.dcmread(wanted[0]).SeriesInstanceUID
    located = locate_study(tmp_path, series_uid=uid)
    assert located.files == tuple(wanted)
    assert "the user named it, although it is not T2-weighted" in located.reason
    assert codes(located) == ["overruled_choice"]


def test_naming_a_series_that_is_not_there_is_refused(tmp_path, write_series):
    write_series(tmp_path, "series")
    with pytest.raises(StudyError, match=r"series_uid must be .* got 1.2. There are 2.25"):
        locate_study(tmp_path, series_uid="1.2")


def test_the_word_t2_counts_where_the_numbers_are_missing(tmp_path, write_series):
    attributes = {"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2_tse_sag"}
    write_series(tmp_path, "words", **attributes)
    assert "by the word T2 in its description" in locate_study(tmp_path).reason


@pytest.mark.parametrize("axis", [1, 2])
def test_a_scan_may_be_turned_by_30_degrees_at_most(tmp_path, axis):
    for angle in (29, 31):
        angles = [0, 0, 0]
        angles[axis] = angle
        tilted = make_study(shape=(24, 20, 2), oblique_deg=angles)
        tilted.write_dicom(tmp_path / str(angle), seed="tilted")
    assert len(locate_study(tmp_path / "29").files) == 2
    with pytest.raises(StudyError, match=r"not sagittal \(its plane is turned 31 degrees"):
        locate_study(tmp_path / "31")


def test_a_zip_is_the_study_that_it_holds(tmp_path, write_series):
    files = write_series(tmp_path / "study", "series")
    folder, packed = (
        locate_study(tmp_path / "study"),
        locate_study(zipped(tmp_path / "study", tmp_path / "packed.zip")),
    )
    assert (folder.stem, packed.stem) == ("study", "packed")
    assert packed.series.uid == folder.series.uid
    lines = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert folder.digest == packed.digest == expected


def test_the_digest_of_a_zip_changes_with_its_content(tmp_path, write_series):
    files = write_series(tmp_path / "study", "series")
    before = locate_study(zipped(tmp_path / "study", tmp_path / "packed.zip")).digest
    files[1].write_bytes(files[1].read_bytes()[:-2] + b"!!")
    assert locate_study(zipped(tmp_path / "study", tmp_path / "packed.zip")).digest != before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_broken_zip_is_refused(tmp_path, content):
    (tmp_path / "study.zip").write_bytes(content)
    with pytest.raises(StudyError, match=r"study.zip must be a readable zip"):
        locate_study(tmp_path / "study.zip")


def test_a_dicom_file_cut_in_its_header_is_warned_of(dicom_folder):
    file = dicom_folder / "0005.dcm"
    file.write_bytes(file.read_bytes()[:400])
    located = locate_study(dicom_folder)
    assert len(located.files) == 4
    (warning,) = located.warnings
    assert warning["code"] == "unreadable_files"
    assert "0005.dcm" in warning["message"]


def test_the_digest_of_a_header_with_pixels_aside_is_of_both(study, tmp_path):
    image = sitk.GetImageFromArray(study.volume)
    sitk.WriteImage(image, str(tmp_path / "volume.mhd"))
    located = locate_study(tmp_path / "volume.mhd")
    assert [path.name for path in located.files] == ["volume.mhd", "volume.raw"]
    before = located.digest
    (tmp_path / "volume.raw").write_bytes(bytes(study.volume.nbytes))
    assert locate_study(tmp_path / "volume.mhd").digest != before
    header = (tmp_path / "volume.mhd").read_text()
    for named in ("below/volume.raw", "", "gone.raw"):
        (tmp_path / "volume.mhd").write_text(header.replace("volume.raw", named))
        assert [path.name for path in locate_study(tmp_path / "volume.mhd").files] == ["volume.mhd"]
