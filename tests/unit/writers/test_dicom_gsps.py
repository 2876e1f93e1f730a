"""``presentation.dcm``: places from SimpleITK, grey values as PS3.4 N.2 computes them."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import locate_study
from spine_monai.writers.dicom_gsps import points_xy_by_image, points_xy_of_gsps, write_gsps


@pytest.fixture
def state_of(result, make_record, tmp_path):
    """Write and read the state of a result of a folder's series."""

    def write(folder, of=result):
        study = locate_study(folder)
        path = tmp_path / "presentation.dcm"
        write_gsps(of, make_record(of, study=study), study.series, path)
        return pydicom.dcmread(path)

    return write


@pytest.fixture(scope="module")
def file(result, record, dicom_series, tmp_path_factory):
    path = tmp_path_factory.mktemp("gsps") / "presentation.dcm"
    write_gsps(result, record, dicom_series, path)
    return path


def place_of(point_lps, file):
    image = sitk.ReadImage(str(file))
    return image.TransformPhysicalPointToContinuousIndex(point_lps.tolist())[:2]


def test_points_lie_where_simpleitk_puts_them(file, landmarks, pristine_folder):
    uid, points = points_xy_of_gsps(file)
    assert uid == pydicom.dcmread(pristine_folder / "0003.dcm").SOPInstanceUID
    assert list(points) == [name for name in LUMBAR11.names if name != "L3"]
    for name, xy in points.items():
        point_lps = landmarks.points_lps[LUMBAR11.names.index(name)]
        expected = place_of(point_lps, pristine_folder / "0003.dcm")
        np.testing.assert_allclose(xy, expected, atol=1e-4)


def test_coordinates_count_from_the_corner_of_the_first_pixel(
    file, landmarks, dicom_series, pristine_folder
):
    """highdicom's transformer speaks of the image's corner, unlike SimpleITK's index."""
    source = pydicom.dcmread(pristine_folder / "0003.dcm")
    transform = highdicom.spatial.ReferenceToImageTransformer(
        source.ImagePositionPatient,
        source.ImageOrientationPatient,
        source.PixelSpacing,
        drop_slice_coord=True,
    )
    note = pydicom.dcmread(file).GraphicAnnotationSequence[0]
    (shape,) = note.GraphicObjectSequence
    (expected,) = transform(landmarks.points_lps[:1])
    assert (shape.GraphicType, shape.GraphicAnnotationUnits) == ("POINT", "PIXEL")
    np.testing.assert_allclose(shape.GraphicData, expected, atol=1e-4)
    (text,) = note.TextObjectSequence
    assert text.AnchorPoint == shape.GraphicData
    assert text.UnformattedTextValue == "T12-L1 (uncalibrated confidence 99 %)"


def test_the_state_lies_in_the_study_and_refers_to_the_slice_alone(file, pristine_folder):
    dataset, source = pydicom.dcmread(file), pydicom.dcmread(pristine_folder / "0003.dcm")
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.PatientName == "Doe^Jane"
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    (image,) = series.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "research only" in dataset.ContentDescription


@pytest.mark.parametrize("name", ["", None])
def test_a_patient_without_a_name_stays_without_one(dicom_folder, edit_all, state_of, name):
    edit_all(dicom_folder, PatientName=name)
    assert [state_of(dicom_folder).PatientName.family_name] == [""]


def test_words_in_the_wrong_place_are_passed_over(dicom_folder, state_of):
    """A name with the VR of a number, and a window that is a name."""
    for file in dicom_folder.glob("*.dcm"):
        pixels = file.read_bytes().replace(b"\x10\0\x10\0PN", b"\x10\0\x10\0DS")
        assert b"DS\x08\0Doe^Jane" in pixels
        window = b"\x28\0\x50\x10DS\x04\0Doe \x28\0\x51\x10DS\x04\0Doe "
        file.write_bytes(pixels.replace(b"\xe0\x7f\x10\0OW", window + b"\xe0\x7f\x10\0OW"))
    dataset = state_of(dicom_folder)
    assert str(dataset.PatientName) == "^"
    assert dataset.SoftcopyVOILUTSequence[0].WindowWidth > 1
    assert "Doe" not in str(dataset)


def test_pixels_that_are_not_square_are_shown_true_to_scale(file):
    (area,) = pydicom.dcmread(file).DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelSpacing) == [2.8, 2.4]
    assert "PresentationPixelAspectRatio" not in area


def test_grey_values_are_shown_as_the_images_ask_for(dicom_folder, edit_all, state_of):
    edit_all(
        dicom_folder,
        WindowCenter=[500, 40],
        WindowWidth=[900, 80],
        RescaleSlope="2.5",
        RescaleIntercept="-7",
        RescaleType="US",
    )
    dataset = state_of(dicom_folder)
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (2.5, -7)
    (window,) = dataset.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (500, 900)
    assert dataset.PresentationLUTShape == "IDENTITY"


def test_images_without_a_window_are_shown_as_in_the_overlay(file, result):
    """Half a percent of the pixels are black, at least one and a half are white."""
    (window,) = pydicom.dcmread(file).SoftcopyVOILUTSequence
    low = float(window.WindowCenter) - float(window.WindowWidth) / 2
    pixels = result.image[0].numpy()
    assert (pixels < low).mean() == pytest.approx(0.005, abs=0.001)
    assert (pixels >= low + float(window.WindowWidth)).mean() >= 0.015


def test_inverse_images_stay_inverse(dicom_folder, edit_all, state_of):
    edit_all(dicom_folder, PhotometricInterpretation="MONOCHROME1", WindowCenter=5, WindowWidth=9)
    assert state_of(dicom_folder).PresentationLUTShape == "INVERSE"


def test_landmarks_of_several_slices_are_drawn_each_on_its_own(
    result, make_record, dicom_series, landmarks, tmp_path, pristine_folder
):
    """The phantom's spine leaves the middle slice: which slice is nearest, SimpleITK says."""
    files = sorted(pristine_folder.glob("*.dcm"))
    own = {}
    for name, point in zip(LUMBAR11.names, landmarks.points_lps, strict=True):
        if np.isfinite(point).all():
            heights = [abs(_height(point, file)) for file in files]
            own[name] = files[int(np.argmin(heights))]
    slices = [{"SOPInstanceUID": "..."}] * len(LUMBAR11)
    spread = replace(result, landmark_slices=slices)
    path = tmp_path / "presentation.dcm"
    write_gsps(spread, make_record(spread), dicom_series, path)
    points = points_xy_by_image(path)
    assert len(points) == len(set(own.values())) > 1
    found = {name: (uid, xy) for uid, some in points.items() for name, xy in some.items()}
    for name, file in own.items():
        uid, xy = found[name]
        assert uid == pydicom.dcmread(file).SOPInstanceUID
        point_lps = landmarks.points_lps[LUMBAR11.names.index(name)]
        np.testing.assert_allclose(xy, place_of(point_lps, file), atol=1e-4)
    with pytest.raises(ValueError, match="must have its points on one image: it has them on 2"):
        points_xy_of_gsps(path)


def _height(point_lps, file):
    image = sitk.ReadImage(str(file))
    return image.TransformPhysicalPointToContinuousIndex(point_lps.tolist())[2]


def test_landmarks_outside_the_image_are_named_and_not_drawn(moved_out, state_of, dicom_folder):
    dataset = state_of(dicom_folder, of=moved_out("T12-L1", "L1"))
    *drawn, words = dataset.GraphicAnnotationSequence
    names = [note.GraphicObjectSequence[0].TrackingID for note in drawn]
    assert names == [name for name in LUMBAR11.names if name not in ("T12-L1", "L1", "L3")]
    (text,) = words.TextObjectSequence
    assert text.UnformattedTextValue == "Outside the image, not drawn: T12-L1, L1"
    assert "GraphicObjectSequence" not in words
    _, points = points_xy_of_gsps(dataset.filename)
    assert list(points) == names


def test_a_result_that_is_all_outside_its_image_is_refused(moved_out, state_of, dicom_folder):
    with pytest.raises(ValueError, match=r"must have a landmark inside its image.* format gsps"):
        state_of(dicom_folder, of=moved_out(*LUMBAR11.names))


def test_the_same_result_gives_the_same_bytes(file, result, record, dicom_series, tmp_path):
    write_gsps(result, record, dicom_series, tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == file.read_bytes()


def test_a_file_that_is_no_state_of_landmarks_is_refused(pristine_folder):
    with pytest.raises(ValueError, match=r"0001\.dcm must be a presentation state of landmarks"):
        points_xy_of_gsps(pristine_folder / "0001.dcm")
