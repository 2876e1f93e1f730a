"""The place of a DICOM series; the oracle is SimpleITK (GDCM) on the same files."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine

from spine_monai.data.dicom import write_dicom_series
from spine_monai.readers import StudyError, read_study
from spine_monai.readers.dicom import read_series
from spine_monai.readers.index import index_study
from spine_monai.readers.series import Series

T2 = {"EchoTime": "100", "RepetitionTime": "3000"}


def read(folder):
    """Read all images below a folder as one series, whatever the index would split them into."""
    parts = list(index_study(folder))
    return read_series(Series(parts[0].uid, tuple(i for part in parts for i in part.instances)))


def files_in(folder):
    return sorted(folder.glob("*.dcm"))


def points_lps(affine, indices):
    return apply_affine(affine, indices) * [-1, -1, 1]


def codes(reading):
    return [warning["code"] for warning in reading.warnings]


def move(file, edit, offset_lps):
    position = np.array(pydicom.dcmread(file).ImagePositionPatient, float) + offset_lps
    edit(file, ImagePositionPatient=[f"{x:.9g}" for x in position])


def shear(folder, edit, mm):
    """Shift each slice along its columns by so much more than the one before it."""
    for number, file in enumerate(files_in(folder)):
        along_column = np.array(pydicom.dcmread(file).ImageOrientationPatient[3:], float)
        move(file, edit, mm * number * along_column)


def reversed_along(volume, affine, axes):
    for axis in axes:
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, volume.shape[axis] - 1
        volume, affine = np.flip(volume, axis), affine @ flip
    return volume, affine


def assert_same_place_and_pixels(reading, image):
    """Compare with a SimpleITK image, whose indices are (column, row, slice)."""
    np.testing.assert_array_equal(reading.array, sitk.GetArrayFromImage(image).transpose(1, 2, 0))
    last = np.subtract(reading.array.shape, 1)
    corners = [last * c for c in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1])]
    expected = [
        image.TransformIndexToPhysicalPoint([int(c) for c in x[[1, 0, 2]]]) for x in corners
    ]
    np.testing.assert_allclose(points_lps(reading.affine, corners), expected, atol=1e-6)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1), (1, 2)], ids=str)
def test_rows_columns_and_slices_may_run_either_way(study, tmp_path, itk_series, axes):
    volume, affine = reversed_along(study.volume, study.ras_from_index, axes)
    write_dicom_series(volume, affine, tmp_path, seed="flipped", attributes=T2)
    assert_same_place_and_pixels(read(tmp_path), itk_series(tmp_path))


def test_file_names_and_instance_numbers_do_not_matter(dicom_folder, itk_series, edit):
    for number, name in enumerate("cadbe"):
        file = dicom_folder / f"{number + 1:04d}.dcm"
        edit(file, InstanceNumber=(7 * number) % 5)
        file.rename(dicom_folder / name)
    assert_same_place_and_pixels(read(dicom_folder), itk_series(dicom_folder))


def test_the_bundled_study_lies_where_simpleitk_says(demo_study, itk_series):
    reading = read(demo_study)
    assert_same_place_and_pixels(reading, itk_series(demo_study))
    assert not reading.warnings


def test_each_slice_is_named_by_its_instance(dicom_folder):
    reading = read(dicom_folder)
    for number, instance in enumerate(reading.instances):
        image = pydicom.dcmread(instance.path)
        assert instance.sop_instance_uid == image.SOPInstanceUID
        np.testing.assert_array_equal(reading.array[..., number], image.pixel_array)


def test_a_sheared_stack_keeps_its_shear_and_is_warned_of(dicom_folder, edit):
    shear(dicom_folder, edit, 1.5)
    reading = read(dicom_folder)
    for number, file in enumerate(files_in(dicom_folder)):
        expected = sitk.ReadImage(str(file)).TransformIndexToPhysicalPoint((17, 31, 0))
        got = points_lps(reading.affine, [31, 17, number])
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert codes(reading) == ["sheared_stack"]
    assert "by 1.50 mm from the one before" in reading.warnings[0]["message"]


def test_a_stack_sheared_beyond_60_degrees_is_refused(dicom_folder, edit, assert_refused):
    shear(dicom_folder, edit, 8.0)
    assert_refused(dicom_folder, "must have three axes at right angles")


def test_slices_of_two_sizes_are_refused(dicom_folder, edit):
    edit(dicom_folder / "0005.dcm", Rows=48, Columns=80, PixelData=bytes(48 * 80 * 2))
    with pytest.raises(StudyError, match=r"slices of one size.*got \[\(48, 80\), \(96, 80\)\]"):
        read(dicom_folder)


@pytest.mark.parametrize(
    ("spacing", "match"),
    [
        (None, r"0002.dcm must have 2 finite values of PixelSpacing: got \[\]"),
        ([0, 2.4], "0002.dcm must have a positive PixelSpacing: got .0.0, 2.4. mm"),
        ([2.8, -2.4], "0002.dcm must have a positive PixelSpacing"),
        ([2.8, 2.5], "must have one PixelSpacing: got .2.8 2.4. to .2.8 2.5."),
    ],
)
def test_an_unusable_pixel_spacing_is_refused(dicom_folder, edit, spacing, match):
    edit(dicom_folder / "0002.dcm", PixelSpacing=spacing)
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def test_slices_of_two_orientations_are_refused(dicom_folder, edit):
    edit(dicom_folder / "0002.dcm", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    with pytest.raises(StudyError, match="must have one ImageOrientationPatient"):
        read(dicom_folder)


def test_rounded_directions_do_not_stretch_the_image(dicom_folder, edit_all, study):
    turn = np.array(pydicom.dcmread(dicom_folder / "0001.dcm").ImageOrientationPatient, float)
    edit_all(dicom_folder, ImageOrientationPatient=[f"{x:.6f}" for x in 0.998 * turn])
    spacing = np.linalg.norm(read(dicom_folder).affine[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, [2.8, 2.4, 4.0], rtol=1e-6)


def test_a_slice_without_a_position_is_refused(dicom_folder, edit):
    edit(dicom_folder / "0002.dcm", ImagePositionPatient=None)
    with pytest.raises(StudyError, match=r"0002.dcm must have 3 finite values of ImagePosition"):
        read(dicom_folder)


def test_a_copy_is_left_out_with_a_warning(dicom_folder, itk_series, edit):
    expected = itk_series(dicom_folder)
    shutil.copy(dicom_folder / "0002.dcm", dicom_folder / "same.dcm")
    shutil.copy(dicom_folder / "0004.dcm", dicom_folder / "renamed.dcm")
    edit(dicom_folder / "renamed.dcm", SOPInstanceUID="2.25.77")
    reading = read(dicom_folder)
    assert_same_place_and_pixels(reading, expected)
    assert len(reading.instances) == 5
    assert codes(reading) == ["duplicate_images"]
    assert "2 images are copies" in reading.warnings[0]["message"]


def test_two_different_slices_at_one_place_are_refused(dicom_folder, edit):
    shutil.copy(dicom_folder / "0003.dcm", dicom_folder / "again.dcm")
    pixels = bytearray(pydicom.dcmread(dicom_folder / "0003.dcm").PixelData)
    pixels[-2] ^= 1
    edit(dicom_folder / "again.dcm", PixelData=bytes(pixels))
    match = r"same ImagePositionPatient and other pixels, .*0003.dcm and .*again.dcm"
    with pytest.raises(StudyError, match="must have one slice at each place"):
        read(dicom_folder)
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def test_two_slices_side_by_side_in_one_plane_are_refused(dicom_folder, edit):
    along_row = np.array(pydicom.dcmread(dicom_folder / "0003.dcm").ImageOrientationPatient[:3])
    shutil.copy(dicom_folder / "0003.dcm", dicom_folder / "beside.dcm")
    move(dicom_folder / "beside.dcm", edit, 50.0 * along_row.astype(float))
    with pytest.raises(StudyError, match="two have ImagePositionPatient in one plane"):
        read(dicom_folder)


def test_one_slice_is_refused(dicom_folder):
    for file in files_in(dicom_folder)[1:]:
        shutil.copy(dicom_folder / "0001.dcm", file)
    with pytest.raises(StudyError, match="at least 2 slices: got 5 copies of one image"):
        read(dicom_folder)


def test_a_missing_slice_is_refused(dicom_folder):
    (dicom_folder / "0002.dcm").unlink()
    match = r"evenly spaced slices: .* from 4.00 to 8.00 mm. Is a slice missing"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def test_a_slice_off_by_little_is_no_missing_slice(dicom_folder, edit):
    before = read(dicom_folder)
    move(dicom_folder / "0003.dcm", edit, [0.2, 0, 0])
    np.testing.assert_allclose(read(dicom_folder).affine, before.affine, atol=1e-6)


def test_a_series_far_from_sagittal_is_warned_of(study, tmp_path):
    turned = study.ras_from_index.copy()
    turned[:3, :3] = np.roll(turned[:3, :3], 1, axis=0)
    write_dicom_series(study.volume, turned, tmp_path, seed="turned", attributes=T2)
    assert codes(read(tmp_path)) == ["oblique_stack"]


def test_a_wrong_spacing_tag_is_not_used_and_warned_of(dicom_folder, edit_all):
    before = read(dicom_folder)
    edit_all(dicom_folder, SpacingBetweenSlices="0.5", SliceThickness="3.1")
    reading = read(dicom_folder)
    np.testing.assert_array_equal(reading.affine, before.affine)
    assert codes(reading) == ["spacing_between_slices"]
    assert "is 0.5 mm, but ImagePositionPatient gives 4.00" in reading.warnings[0]["message"]


def test_a_shared_instance_uid_is_warned_of(dicom_folder, edit_all, itk_series):
    edit_all(dicom_folder, SOPInstanceUID="2.25.5")
    reading = read(dicom_folder)
    assert_same_place_and_pixels(reading, itk_series(dicom_folder))
    assert codes(reading) == ["shared_instance_uid"]


def test_files_without_preamble_are_read_with_a_warning(dicom_folder, itk_series):
    expected = itk_series(dicom_folder)
    for file in files_in(dicom_folder):
        file.write_bytes(file.read_bytes()[132:])
    reading = read(dicom_folder)
    assert_same_place_and_pixels(reading, expected)
    assert codes(reading) == ["no_preamble"]


def test_warnings_reach_the_volume(dicom_folder, edit):
    shear(dicom_folder, edit, 1.5)
    assert [entry["code"] for entry in read_study(dicom_folder).warnings] == ["sheared_stack"]
