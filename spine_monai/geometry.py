"""Index and patient space: the only file in which an axis changes sign.

Frames:

* *index*: (i, j, k) along the tensor's axes, in pixels; whole numbers are pixel centres.
* *RAS*: mm, the frame of NIfTI and MONAI: +x towards the patient's right, +y anterior, +z head.
  The affine of a MetaTensor is ``ras_from_index``.
* *LPS*: mm, the frame of DICOM and ITK: +x left, +y posterior, +z head. Landmarks live here.

Matrices are 4 x 4, float64, act on column vectors, and are named so that they read by cancellation:
``lps_from_ras @ ras_from_index``. Points are rows of ``(..., 3)`` arrays; NaN stays NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

LPS_FROM_RAS: FloatArray = np.diag([-1.0, -1.0, 1.0, 1.0])
IJ_FROM_COLUMN_ROW: FloatArray = np.eye(4)[[1, 0, 2, 3]]


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> FloatArray:
    """Map points through a 4 x 4 affine.

    Args:
        matrix: (4, 4) affine, target from source.
        points: (..., 3) points in the source frame; NaN stays NaN.

    Returns:
        (..., 3) points in the target frame.
    """
    affine = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def points_lps_from_ij(points_ij: ArrayLike, ras_from_index: ArrayLike) -> FloatArray:
    """Lift pixel points of a slice to patient space.

    Args:
        points_ij: (..., 2) index points (row axis, column axis) in pixels.
        ras_from_index: (4, 4) affine of the slice; its plane is k = 0.

    Returns:
        (..., 3) LPS points in mm.
    """
    points = np.asarray(points_ij, dtype=np.float64)
    flat = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
    return apply_affine(LPS_FROM_RAS @ np.asarray(ras_from_index, dtype=np.float64), flat)


def points_ijk_from_lps(points_lps: ArrayLike, ras_from_index: ArrayLike) -> FloatArray:
    """Give patient-space points as index points of an image.

    Args:
        points_lps: (..., 3) LPS points in mm.
        ras_from_index: (4, 4) affine of the image.

    Returns:
        (..., 3) index points in pixels; for a slice, k is the distance from it in slice steps.
    """
    index_from_ras = np.linalg.inv(np.asarray(ras_from_index, dtype=np.float64))
    return apply_affine(index_from_ras @ LPS_FROM_RAS, points_lps)


def project_on_slice(points_lps: ArrayLike, lps_from_index: ArrayLike) -> FloatArray:
    """Drop points at right angles onto the plane of a slice.

    Args:
        points_lps: (..., 3) LPS points in mm.
        lps_from_index: (4, 4) matrix whose first two columns span the plane through its origin.

    Returns:
        (..., 3) LPS points in the plane.
    """
    matrix = np.asarray(lps_from_index, dtype=np.float64)
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal /= np.linalg.norm(normal)
    points = np.asarray(points_lps, dtype=np.float64)
    return points - ((points - matrix[:3, 3]) @ normal)[..., None] * normal


def points_ij_from_lps(points_lps: ArrayLike, ras_from_index: ArrayLike) -> FloatArray:
    """Give patient-space points as pixels of a slice, dropped on it at right angles.

    ``points_ijk_from_lps`` would go along the slice step, which is aslant in a sheared stack.

    Args:
        points_lps: (..., 3) LPS points in mm; NaN stays NaN.
        ras_from_index: (4, 4) affine of the slice; its plane is k = 0.

    Returns:
        (..., 2) index points (row axis, column axis) in pixels.
    """
    lps_from_index = LPS_FROM_RAS @ np.asarray(ras_from_index, dtype=np.float64)
    in_plane_lps = project_on_slice(points_lps, lps_from_index)
    return points_ijk_from_lps(in_plane_lps, ras_from_index)[..., :2]


def spacing_mm(affine: ArrayLike) -> FloatArray:
    """Return the (3,) distances in mm between neighbouring indices along each axis."""
    return np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)


def lps_from_column_row(ras_from_index: ArrayLike, slice_index: int = 0) -> FloatArray:
    """Return the matrix that takes (column, row, 0, 1) of one slice to LPS.

    Args:
        ras_from_index: (4, 4) affine of a volume with axes (row, column, slice).
        slice_index: which slice of the volume.
    """
    at_slice = np.eye(4)
    at_slice[2, 3] = slice_index
    affine = np.asarray(ras_from_index, dtype=np.float64)
    return LPS_FROM_RAS @ affine @ at_slice @ IJ_FROM_COLUMN_ROW


def points_xy_from_lps(points_lps: ArrayLike, lps_from_xy: ArrayLike) -> FloatArray:
    """Give patient-space points as (column, row) pixels of a slice.

    Args:
        points_lps: (..., 3) LPS points in mm; their distance from the slice is dropped.
        lps_from_xy: (4, 4) matrix of the slice, as ``lps_from_column_row`` gives it.

    Returns:
        (..., 2) points (column, row) in pixels.
    """
    xy_from_lps = np.linalg.inv(np.asarray(lps_from_xy, dtype=np.float64))
    return apply_affine(xy_from_lps, points_lps)[..., :2]


def ras_from_dicom(
    position_lps: Sequence[float],
    orientation_lps: Sequence[float],
    pixel_spacing_mm: Sequence[float],
    slice_step_lps: Sequence[float],
) -> FloatArray:
    """Build the affine of a stack of DICOM slices with axes (row, column, slice).

    Args:
        position_lps: ImagePositionPatient of the first slice.
        orientation_lps: ImageOrientationPatient: direction along a row, then along a column.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns.
        slice_step_lps: vector from one slice's position to the next one's, in mm.

    Returns:
        (4, 4) ras_from_index.

    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    along_row, along_column = np.asarray(orientation_lps, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = pixel_spacing_mm
    lps_from_index = np.eye(4)
    lps_from_index[:3, 0] = along_column * between_rows
    lps_from_index[:3, 1] = along_row * between_columns
    lps_from_index[:3, 2] = slice_step_lps
    lps_from_index[:3, 3] = position_lps
    return LPS_FROM_RAS @ lps_from_index


def ras_from_sitk(
    origin_lps: Sequence[float], direction_lps: Sequence[float], spacing: Sequence[float]
) -> FloatArray:
    """Build the affine of a SimpleITK image whose array is kept in (x, y, z) index order."""
    lps_from_index = np.eye(4)
    lps_from_index[:3, :3] = np.asarray(direction_lps).reshape(3, 3) * np.asarray(spacing)
    lps_from_index[:3, 3] = origin_lps
    return LPS_FROM_RAS @ lps_from_index
