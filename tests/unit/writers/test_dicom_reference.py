"""What the DICOM results refer to."""

import shutil
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import LegacyConvertedEnhancedMRImageStorage

from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.writers import dicom_reference
from spine_monai.writers.dicom_reference import (
    check_is_dicom,
    frame_number,
    image_reference,
    marks_of,
    note_of,
    read_header,
    reference_image,
    require_highdicom,
    slice_instance,
    value_of_frame,
)

ORDER = (3, 0, 4, 2, 1)


@pytest.fixture(scope="module")
def multi_frame(pristine_folder, tmp_path_factory):
    """The phantom as one multi-frame file, its frames in no order; made by highdicom."""
    sources = [pydicom.dcmread(file) for file in sorted(pristine_folder.glob("*.dcm"))]
    for number, source in enumerate(sources):
        source.WindowCenter, source.WindowWidth = 400 + number, 800
        source.PatientID, source.StudyID = "7", "1"
    folder = tmp_path_factory.mktemp("multi_frame")
    uid = pydicom.uid.generate_uid
    enhanced = highdicom.legacy.LegacyConvertedEnhancedMRImage(sources, uid(), 2, uid(), 1)
    frames, pixels = enhanced.PerFrameFunctionalGroupsSequence, enhanced.pixel_array
    enhanced.PerFrameFunctionalGroupsSequence = [frames[n] for n in ORDER]
    enhanced.PixelData = pixels[list(ORDER)].tobytes()
    enhanced.save_as(folder / "all.dcm")
    return locate_study(folder).series


def test_the_series_of_a_dicom_study_can_be_referred_to(located):
    assert check_is_dicom(located) is located.series


def test_a_volume_file_has_no_study_to_put_results_in(study, tmp_path):
    path = study.write_nifti(tmp_path / "volume.nii.gz")
    with pytest.raises(ValueError, match=r"volume\.nii\.gz must be DICOM .* Leave out the formats"):
        check_is_dicom(locate_study(path))


def test_a_series_without_a_frame_of_reference_has_no_place_for_points(dicom_folder, edit_all):
    edit_all(dicom_folder, FrameOfReferenceUID=None)
    with pytest.raises(ValueError, match="must have FrameOfReferenceUID to get results as DICOM"):
        check_is_dicom(locate_study(dicom_folder))


def test_a_missing_package_is_named(monkeypatch):
    require_highdicom()
    monkeypatch.setattr(dicom_reference, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'spine_monai\[dicom\]'"):
        require_highdicom()


def test_only_landmarks_with_a_place_are_marked(result, landmarks):
    marks = marks_of(result)
    assert [m.landmark.name for m in marks] == [n for n in LUMBAR11.names if n != "L3"]
    assert [m.landmark.name for m in marks if m.status == "uncertain"] == ["L5"]
    index = LUMBAR11.names.index("L4")
    mark = next(m for m in marks if m.landmark.name == "L4")
    np.testing.assert_array_equal(mark.point_lps, landmarks.points_lps[index])
    assert (mark.confidence, mark.radius95_mm) == (
        landmarks.confidence[index],
        landmarks.radius95_mm[index],
    )


def test_a_point_that_is_not_finite_is_not_marked(result, landmarks):
    points_lps = landmarks.points_lps.copy()
    points_lps[0] = [np.inf, 1.0, 2.0]
    broken = replace(result, landmarks=replace(landmarks, points_lps=points_lps))
    assert "T12-L1" not in [mark.landmark.name for mark in marks_of(broken)]


def test_a_result_without_landmarks_is_refused(result):
    nothing = LandmarkSet(LUMBAR11, np.full((11, 3), np.nan), *np.full((2, 11), np.nan))
    with pytest.raises(ValueError, match="case-1 must have a landmark to be written as DICOM"):
        marks_of(replace(result, landmarks=nothing))


@pytest.mark.parametrize(
    ("status", "confidence", "calibrated", "note"),
    [
        ("found", 0.984, True, "confidence 98 %"),
        ("found", 0.984, False, "uncalibrated confidence 98 %"),
        ("found", 0.9996, True, "confidence over 99 %"),
        ("uncertain", 0.25, True, "uncertain, confidence 25 %"),
        ("uncertain", np.nan, True, "uncertain"),
        ("found", np.nan, True, "found"),
    ],
)
def test_the_note_says_how_sure_a_landmark_is(result, status, confidence, calibrated, note):
    mark = replace(marks_of(result)[0], status=status, confidence=confidence)
    assert note_of(mark, calibrated) == note


def test_the_slice_is_found_in_its_series(result, dicom_series, pristine_folder):
    assert slice_instance(result, dicom_series).path == pristine_folder / "0003.dcm"


def test_a_slice_of_another_series_is_refused(result, dicom_series):
    other = replace(result, slice={**result.slice, "SOPInstanceUID": "1.2.3"})
    with pytest.raises(ValueError, match=r"must hold the slice of case case-1: .* 1\.2\.3"):
        slice_instance(other, dicom_series)


def test_a_reference_holds_geometry_and_nobodys_identity(dicom_series, pristine_folder):
    image = reference_image(dicom_series.instances[0], dicom_series)
    source = pydicom.dcmread(pristine_folder / "0001.dcm")
    for keyword in ("SOPInstanceUID", "ImagePositionPatient", "PixelSpacing", "Rows"):
        assert image[keyword].value == source[keyword].value
    assert source.PatientName == "Doe^Jane"
    assert not any(
        image[element.tag].value for element in source.group_dataset(0x0010) if element.tag in image
    )
    assert "Doe" not in str(image)


def test_an_image_without_thickness_can_be_referred_to(dicom_folder, edit_all):
    edit_all(dicom_folder, SliceThickness=None)
    series = locate_study(dicom_folder).series
    image = reference_image(series.instances[0], series)
    entry = highdicom.sr.ImageLibrary([image])
    assert "SliceThickness" not in image
    assert len(entry) == 1


def test_a_file_of_one_image_has_no_frame_number(dicom_series):
    item = image_reference(dicom_series.instances[0])
    assert frame_number(dicom_series.instances[0]) is None
    assert "ReferencedFrameNumber" not in item
    assert item.ReferencedSOPInstanceUID == dicom_series.instances[0].sop_instance_uid


def test_the_frame_of_a_multi_frame_file_is_found_by_its_place(result, multi_frame, dicom_series):
    """The middle slice of the phantom, number 3 of 5, was stored as the fourth frame."""
    middle = slice_instance(result, dicom_series)
    uid = multi_frame.instances[0].sop_instance_uid
    instance = slice_instance(
        replace(result, slice={**result.slice, "SOPInstanceUID": uid}), multi_frame
    )
    assert frame_number(instance) == 4
    position = instance.numbers("ImagePositionPatient", 3)
    np.testing.assert_allclose(position, middle.numbers("ImagePositionPatient", 3), atol=1e-6)
    item = image_reference(instance)
    assert item.ReferencedFrameNumber == 4
    assert item.ReferencedSOPClassUID == LegacyConvertedEnhancedMRImageStorage
    assert reference_image(instance, multi_frame).NumberOfFrames == 5


def test_the_header_is_read_from_within_a_zip(pristine_folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", pristine_folder)
    header = read_header(locate_study(archive).series.instances[2])
    assert header.PatientName == "Doe^Jane"
    assert header.SOPInstanceUID == pydicom.dcmread(pristine_folder / "0003.dcm").SOPInstanceUID
    assert "PixelData" not in header


def test_a_frame_has_its_own_window(multi_frame):
    """The window says which slice it was of: 400 the first, 404 the last along the normal."""
    centers = []
    for instance in multi_frame.instances:
        header = read_header(instance)
        centers.append(value_of_frame(header, instance, "WindowCenter"))
        assert value_of_frame(header, instance, "WindowWidth") == 800
        assert value_of_frame(header, instance, "Rows") == 96
        assert value_of_frame(header, instance, "InversionTime") is None
    assert centers == [400, 401, 402, 403, 404]
    assert {frame_number(instance) for instance in multi_frame.instances} == {1, 2, 3, 4, 5}
