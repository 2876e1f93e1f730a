"""Frames, each against a library that we did not write: nibabel speaks RAS, SimpleITK LPS."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from spine_monai.data.dicom import write_dicom_series
from spine_monai.geometry import (
    LPS_FROM_RAS,
    apply_affine,
    lps_from_column_row,
    points_ij_from_lps,
    points_ijk_from_lps,
    points_lps_from_ij,
    points_xy_from_lps,
    project_on_slice,
    ras_from_dicom,
    ras_from_sitk,
    spacing_mm,
)

SHAPE = (4, 6, 3)
SPACING_MM = np.array([0.6, 0.9, 4.5])
# Index directions in RAS, one a column: rows, columns, slices.
FLIPPED = np.diag([-1.0, 1.0, -1.0])
SAGITTAL = np.array([[0.0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # IPR
OBLIQUE = nib.eulerangles.euler2mat(0.2, -0.35, 0.5) @ SAGITTAL
DIRECTIONS = {"flipped": FLIPPED, "sagittal": SAGITTAL, "oblique": OBLIQUE}
NAN = np.nan


@pytest.fixture(params=DIRECTIONS, name="affine")
def ras_affine(request):
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[request.param] * SPACING_MM
    affine[:3, 3] = [12.5, -31.0, 47.25]
    return affine


@pytest.fixture(name="itk_image")
def image_that_nibabel_wrote_and_itk_read(affine, tmp_path):
    path = tmp_path / "volume.nii"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, dtype=np.uint8), affine), path)
    return sitk.ReadImage(path)


def itk_lps(image, indices):
    points = [image.TransformContinuousIndexToPhysicalPoint(list(map(float, i))) for i in indices]
    return np.array(points)


def test_the_sagittal_affine_of_these_tests_is_sagittal():
    affine = np.eye(4)
    affine[:3, :3] = SAGITTAL
    assert nib.aff2axcodes(affine) == ("I", "P", "R")


def test_an_affine_is_applied_as_nibabel_applies_it(affine):
    points = np.array([[[1.0, 2.0, 3.0], [-4.5, 0.25, 7.0]]])
    np.testing.assert_allclose(
        apply_affine(affine, points), nib.affines.apply_affine(affine, points)
    )


def test_an_affine_keeps_missing_points_missing(affine):
    moved = apply_affine(affine, [[1.0, 2.0, 3.0], [NAN, NAN, NAN]])
    assert np.isnan(moved).tolist() == [[False] * 3, [True] * 3]


def test_integers_and_single_precision_become_double(affine):
    assert apply_affine(affine.astype(np.float32), [[1, 2, 3]]).dtype == np.float64


def test_spacing_is_that_of_nibabel(affine):
    np.testing.assert_allclose(spacing_mm(affine), SPACING_MM)
    np.testing.assert_allclose(spacing_mm(affine), nib.affines.voxel_sizes(affine))


def test_pixels_of_a_slice_lie_where_itk_has_them(affine, itk_image):
    points_ij = np.array([[0.0, 0.0], [3.0, 1.0], [0.5, 4.75]])
    expected = itk_lps(itk_image, [[*point, 0.0] for point in points_ij])
    np.testing.assert_allclose(points_lps_from_ij(points_ij, affine), expected, atol=1e-4)


def test_pixels_of_a_batch_keep_their_shape_and_a_missing_landmark_stays_missing(affine):
    points_ij = np.arange(12.0).reshape(2, 3, 2)
    points_ij[1, 2] = NAN
    lifted = points_lps_from_ij(points_ij, affine)
    assert lifted.shape == (2, 3, 3)
    assert np.isnan(lifted).all(-1).tolist() == [[False, False, False], [False, False, True]]


def test_patient_points_have_the_index_that_itk_gives_them(affine, itk_image):
    points_lps = np.array([[1.0, 2.0, 3.0], [-20.0, 14.0, 55.5]])
    expected = [itk_image.TransformPhysicalPointToContinuousIndex(p) for p in points_lps.tolist()]
    np.testing.assert_allclose(points_ijk_from_lps(points_lps, affine), expected, atol=1e-4)


def test_a_missing_patient_point_has_no_index(affine):
    assert np.isnan(points_ijk_from_lps([[NAN, NAN, NAN]], affine)).all()


def test_lps_and_ras_agree_with_nibabel_and_itk_on_the_same_voxel(affine, itk_image):
    ras = nib.affines.apply_affine(affine, [[3, 5, 2]])
    lps = itk_lps(itk_image, [[3, 5, 2]])
    np.testing.assert_allclose(apply_affine(LPS_FROM_RAS, ras), lps, atol=1e-4)


def test_a_point_is_dropped_on_the_slice_that_itk_knows(affine, itk_image):
    points_lps = np.array([[1.0, 2.0, 3.0], [-20.0, 14.0, 55.5]])
    indices = [itk_image.TransformPhysicalPointToContinuousIndex(p) for p in points_lps.tolist()]
    expected = itk_lps(itk_image, [(i, j, 0.0) for i, j, _ in indices])
    projected = project_on_slice(points_lps, LPS_FROM_RAS @ affine)
    np.testing.assert_allclose(projected, expected, atol=1e-4)


def test_the_projection_is_at_right_angles_even_if_the_slice_step_is_not():
    sheared = np.array([[1.0, 0, 3, 0], [0, 2, 4, 0], [0, 0, 5, 7], [0, 0, 0, 1]])
    assert project_on_slice([[10.0, 20.0, 30.0]], sheared).tolist() == [[10.0, 20.0, 7.0]]


def test_a_point_beside_a_slice_has_the_pixel_that_itk_gives_it(affine, itk_image):
    points_lps = np.array([[[1.0, 2.0, 3.0], [-20.0, 14.0, 55.5]]])
    expected = [itk_image.TransformPhysicalPointToContinuousIndex(p)[:2] for p in points_lps[0]]
    pixels = points_ij_from_lps(points_lps, affine)
    np.testing.assert_allclose(pixels, [expected], atol=1e-4)
    unsheared = points_ijk_from_lps(points_lps, affine)[..., :2]
    np.testing.assert_allclose(pixels, unsheared, rtol=0, atol=1e-11)


@pytest.mark.parametrize("slice_step", [[0.0, 0.0, 5.0], [3.0, 4.0, 5.0]])
def test_the_pixel_of_a_point_does_not_depend_on_the_slice_step(slice_step):
    affine = LPS_FROM_RAS @ np.array([[1.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 7], [0, 0, 0, 1]])
    affine[:3, 2] = slice_step
    pixels = points_ij_from_lps([[10.0, 20.0, 30.0], [NAN] * 3], affine)
    np.testing.assert_allclose(pixels, [[10.0, 10.0], [NAN] * 2])


def test_a_projection_keeps_points_of_the_plane_and_missing_ones(affine):
    in_plane = points_lps_from_ij([[1.0, 2.0], [NAN, NAN]], affine)
    projected = project_on_slice(in_plane, LPS_FROM_RAS @ affine)
    np.testing.assert_allclose(projected, in_plane)


def test_column_and_row_of_a_slice_lie_where_itk_has_them(affine, itk_image):
    columns_rows = np.array([[5.0, 0.0], [1.0, 3.0]])
    matrix = lps_from_column_row(affine, 2)
    ours = apply_affine(matrix, [[x, y, 0.0] for x, y in columns_rows])
    expected = itk_lps(itk_image, [(y, x, 2.0) for x, y in columns_rows])
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_first_slice_is_the_one_without_an_index(affine):
    np.testing.assert_array_equal(lps_from_column_row(affine), lps_from_column_row(affine, 0))


def test_patient_points_have_the_column_and_row_that_itk_gives_them(affine, itk_image):
    points_lps = np.array([[1.0, 2.0, 3.0], [NAN, NAN, NAN], [-20.0, 14.0, 55.5]])
    row, column, _ = itk_image.TransformPhysicalPointToContinuousIndex(points_lps[2].tolist())
    points_xy = points_xy_from_lps(points_lps, lps_from_column_row(affine, 1))
    np.testing.assert_allclose(points_xy[2], [column, row], atol=1e-4)
    assert np.isnan(points_xy).all(-1).tolist() == [False, True, False]


def test_a_dicom_header_gives_the_affine_that_the_series_was_written_with(affine, tmp_path):
    files = write_dicom_series(np.zeros(SHAPE, dtype=np.uint16), affine, tmp_path, seed="geometry")
    first, second = (pydicom.dcmread(file, stop_before_pixels=True) for file in files[:2])
    step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    header = (first.ImagePositionPatient, first.ImageOrientationPatient, first.PixelSpacing)
    np.testing.assert_allclose(ras_from_dicom(*header, step), affine, atol=1e-5)


def test_a_dicom_pixel_lies_where_itk_reads_it(affine, tmp_path):
    files = write_dicom_series(np.zeros(SHAPE, dtype=np.uint16), affine, tmp_path, seed="geometry")
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    ours = ras_from_dicom(
        positions[0],
        headers[0].ImageOrientationPatient,
        headers[0].PixelSpacing,
        positions[1] - positions[0],
    )
    row, column, number = 3, 5, 2
    expected = sitk.ReadImage(files[number]).TransformIndexToPhysicalPoint((column, row, 0))
    ras = nib.affines.apply_affine(ours, [row, column, number])
    np.testing.assert_allclose(apply_affine(LPS_FROM_RAS, ras), expected, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_an_itk_image_has_the_affine_that_nibabel_reads_from_its_file(direction, tmp_path):
    image = sitk.Image(*SHAPE, sitk.sitkUInt8)
    image.SetSpacing(SPACING_MM.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin([12.5, -31.0, 47.25])
    sitk.WriteImage(image, tmp_path / "volume.nii")
    ours = ras_from_sitk(image.GetOrigin(), image.GetDirection(), image.GetSpacing())
    np.testing.assert_allclose(ours, nib.load(tmp_path / "volume.nii").affine, atol=1e-4)
