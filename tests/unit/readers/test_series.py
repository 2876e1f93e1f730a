"""Index, order and choice of series; the order's oracle is SimpleITK (GDCM)."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage

from spine_monai.data.synthetic import make_study
from spine_monai.readers import StudyError, locate_study
from spine_monai.readers.series import choose_series, index_study

AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


def names(files):
    return [file.name for file in files]


def small_study():
    return make_study(shape=(24, 20, 3), spacing_mm=(2.8, 2.4, 4.0))


def write_series(folder, seed, **attributes):
    return small_study().write_dicom(folder, seed=seed, **attributes)


def test_slices_are_sorted_along_their_normal(dicom_folder, edit):
    new_names = ["c.dcm", "e.dcm", "a.dcm", "d.dcm", "b.dcm"]
    for number, (file, name) in enumerate(
        zip(sorted(dicom_folder.iterdir()), new_names, strict=True)
    ):
        edit(file, InstanceNumber=(number * 3) % 5)
        file.rename(dicom_folder / name)
    (series,) = index_study(dicom_folder)
    expected = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(dicom_folder))
    assert names(series.files) == new_names
    assert [str(file) for file in series.files] == list(expected)


def test_heights_rise_along_the_sorted_series(pristine_folder):
    (series,) = index_study(pristine_folder)
    steps_mm = np.diff([instance.height_mm for instance in series.instances])
    assert steps_mm.tolist() == pytest.approx([4.0] * 4)


def test_a_folder_is_searched_at_any_depth_and_other_files_are_ignored(tmp_path):
    write_series(tmp_path / "a" / "b", "first")
    write_series(tmp_path / "c", "second")
    (tmp_path / "notes.txt").write_text("T2")
    (tmp_path / "c" / "empty").write_bytes(b"")
    assert [len(series.files) for series in index_study(tmp_path)] == [3, 3]


def test_a_file_that_names_no_series_is_ignored(tmp_path, edit):
    files = write_series(tmp_path, "one")
    edit(files[0], SeriesInstanceUID=None)
    (series,) = index_study(tmp_path)
    assert series.files == tuple(files[1:])


def test_one_file_stands_for_its_series(tmp_path):
    write_series(tmp_path, "first")
    for file in sorted(tmp_path.glob("*.dcm")):
        file.rename(file.with_name(f"first-{file.name}"))
    wanted = write_series(tmp_path, "second")
    (series,) = index_study(wanted[1])
    assert series.files == tuple(wanted)


@pytest.mark.parametrize("name", ["", "notes.txt"])
def test_a_path_without_dicom_is_refused(tmp_path, assert_refused, name):
    (tmp_path / "notes.txt").write_text("nothing")
    assert_refused(tmp_path / name, "must hold DICOM images: none of its 1 files is one")


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [
        ({"SOPClassUID": EnhancedMRImageStorage}, r"Enhanced \(multi-frame\) MR"),
        ({"SOPClassUID": CTImageStorage}, "it is not an MR image series"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "it is a localizer"),
        ({"ImageOrientationPatient": AXIAL}, "not sagittal .* turned 90 degrees"),
        ({"ImageOrientationPatient": CORONAL}, "not sagittal .* turned 90 degrees"),
        ({"ImageOrientationPatient": None}, "6 finite values of ImageOrientationPatient: got"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 1, 0]}, "two unit vectors at right angles"),
        ({"InversionTime": "150"}, "not T2-weighted .inversion recovery"),
        ({"SeriesDescription": "Jane Doe STIR"}, "not T2-weighted .inversion recovery"),
        ({"ProtocolName": "Jane Doe TIRM"}, "not T2-weighted .inversion recovery"),
        ({"EchoTime": "12"}, "not T2-weighted .TE 12 ms, TR 3000 ms"),
        ({"RepetitionTime": "1400"}, "not T2-weighted .TE 100 ms, TR 1400 ms"),
        (
            {"EchoTime": None, "SeriesDescription": "Jane Doe"},
            "not T2-weighted .TE, TR and the word T2 are absent",
        ),
    ],
)
def test_a_series_is_refused_by_the_rule_it_fails(
    dicom_folder, edit_all, assert_refused, attributes, rule
):
    edit_all(dicom_folder, **attributes)
    assert_refused(dicom_folder, f"none of 1 is one.*{rule}")


def test_a_series_of_one_slice_is_refused(dicom_folder, assert_refused):
    for file in sorted(dicom_folder.iterdir())[1:]:
        file.unlink()
    assert_refused(dicom_folder, "it has 1 slice where at least 2 are needed")


def test_slices_in_different_planes_are_refused(dicom_folder, edit, assert_refused):
    edit(dicom_folder / "0003.dcm", ImageOrientationPatient=AXIAL)
    assert_refused(dicom_folder, "its slices have different orientations")


@pytest.mark.parametrize("axis", [1, 2])
def test_a_scan_may_be_turned_by_30_degrees_at_most(tmp_path, axis):
    for angle in (29, 31):
        angles = [0, 0, 0]
        angles[axis] = angle
        tilted = make_study(shape=(24, 20, 2), oblique_deg=angles)
        tilted.write_dicom(tmp_path / str(angle), seed="tilted")
    assert locate_study(tmp_path / "29").series.failed_rule == ""
    with pytest.raises(StudyError, match=r"not sagittal \(its plane is turned 31 degrees"):
        locate_study(tmp_path / "31")


def test_the_numbers_count_more_than_the_description(tmp_path):
    write_series(tmp_path / "t1", "t1", SeriesDescription="T2", EchoTime="11")
    files = write_series(tmp_path / "t2", "t2", SeriesDescription="T1")
    located = locate_study(tmp_path)
    assert located.files == tuple(files)
    assert located.reason.endswith("the sagittal T2 series of 2 found; T2 by TE 100 ms, TR 3000 ms")


def test_the_word_t2_counts_where_the_numbers_are_missing(tmp_path):
    attributes = {"EchoTime": None, "RepetitionTime": None, "SeriesDescription": "t2_tse_sag"}
    write_series(tmp_path, "words", **attributes)
    assert "by the word T2 in its description" in locate_study(tmp_path).reason


def test_an_original_series_wins_over_a_derived_one(tmp_path):
    original = write_series(tmp_path / "b", "original")
    write_series(tmp_path / "a", "derived", ImageType=["DERIVED", "SECONDARY"])
    located = locate_study(tmp_path)
    assert located.files == tuple(original)
    assert "derived" not in located.reason


def test_a_derived_series_alone_is_taken_and_named_so(tmp_path):
    write_series(tmp_path, "derived", ImageType=["DERIVED", "SECONDARY"])
    assert "it is DERIVED, but no original one passed" in locate_study(tmp_path).reason


def test_two_equal_series_are_never_chosen_between(tmp_path, assert_refused):
    write_series(tmp_path / "a", "first", SeriesNumber=3, SeriesDescription="Jane Doe T2")
    write_series(tmp_path / "b", "second", SeriesNumber=4, SeriesDescription="Jane Doe T2")
    assert_refused(tmp_path, r"must hold one sagittal T2 series: got 2: series 3 .*series 4 ")


def test_two_equal_derived_series_are_never_chosen_between(tmp_path, assert_refused):
    for seed in "ab":
        write_series(tmp_path / seed, seed, ImageType=["DERIVED", "SECONDARY"])
    assert_refused(tmp_path, "must hold one sagittal T2 series: got 2")


def test_a_file_of_one_of_two_equal_series_chooses_it(tmp_path):
    write_series(tmp_path / "a", "first")
    wanted = write_series(tmp_path / "b", "second")
    assert locate_study(wanted[0]).files == tuple(wanted)


def test_each_rejected_series_is_named_with_its_reason(tmp_path):
    write_series(tmp_path / "a", "first", SeriesNumber=7, EchoTime="10")
    write_series(tmp_path / "b", "second", SeriesNumber=None, InversionTime="160")
    with pytest.raises(StudyError, match=r"series 7 .*TE 10 ms.*; series \? .*inversion"):
        choose_series(index_study(tmp_path), tmp_path)


def test_the_uids_of_a_series_come_from_its_header(pristine_folder):
    (series,) = index_study(pristine_folder)
    header = series.header
    assert series.uids == {
        "StudyInstanceUID": header.StudyInstanceUID,
        "SeriesInstanceUID": header.SeriesInstanceUID,
        "FrameOfReferenceUID": header.FrameOfReferenceUID,
    }
    assert series.label == f"series 1 ({header.SeriesInstanceUID})"


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient"])
def test_a_header_value_that_is_no_number_is_refused_without_quoting_it(
    dicom_folder, assert_refused, keyword
):
    file = dicom_folder / "0002.dcm"
    dataset, tag = pydicom.dcmread(file), pydicom.tag.Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, "DS", 8, b"Doe\\2.40", 0, False, True)
    dataset.save_as(file)
    assert_refused(dicom_folder, f"0002.dcm must have . finite values of {keyword}: got no numbers")


@pytest.mark.parametrize("echo", [["80", "90"], None])
def test_an_echo_time_that_is_not_one_number_is_no_evidence(dicom_folder, edit_all, echo):
    edit_all(dicom_folder, EchoTime=echo, SeriesDescription="sag")
    with pytest.raises(StudyError, match="TE, TR and the word T2 are absent"):
        locate_study(dicom_folder)


def test_a_dicom_file_cut_in_its_header_is_warned_of(dicom_folder):
    file = dicom_folder / "0005.dcm"
    file.write_bytes(file.read_bytes()[:400])
    located = locate_study(dicom_folder)
    assert len(located.files) == 4
    (warning,) = located.warnings
    assert warning["code"] == "unreadable_files"
    assert "0005.dcm" in warning["message"]


def test_a_slice_turned_in_its_own_plane_is_refused(dicom_folder, edit, assert_refused):
    file = dicom_folder / "0003.dcm"
    row, column = np.array(pydicom.dcmread(file).ImageOrientationPatient).reshape(2, 3)
    edit(file, ImageOrientationPatient=[*column, *-row])
    assert_refused(dicom_folder, "its slices have different orientations")


def test_a_file_with_a_damaged_header_is_named(dicom_folder):
    file = dicom_folder / "0001.dcm"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(StudyError, match=r"1 look like DICOM but have a damaged header: .*0001"):
        locate_study(file)
