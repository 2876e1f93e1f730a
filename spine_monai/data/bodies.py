"""Points of a label mask: the centroid of a disc, and of a vertebral body before the canal.

A vertebra's label mostly holds its posterior elements too, whose weight pulls the centroid into
the canal. The body is what lies before the canal: in each row of the upright volume the canal's
foremost voxel, over all slices, bounds it. So the wall follows the spine's curve, also where a
slice beside the canal shows none of it, and pedicles, laminae and processes fall away.

Volumes are upright: axis 0 towards the feet, 1 towards posterior, 2 towards the right.
"""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from spine_monai.geometry import LPS_FROM_RAS, apply_affine

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

SMOOTHED_MM = 5.0  # along the canal: evens out single voxels, keeps the spine's curve
REACH_MM = 10.0  # how far beyond its last row the canal's front is still believed


def largest_piece(mask: BoolArray) -> BoolArray:
    """Return the largest connected piece of a mask; specks beside a structure are no part of it."""
    return large_pieces(mask, 1.0)


def large_pieces(mask: BoolArray, share: float) -> BoolArray:
    """Return the connected pieces of a mask that have at least a share of the largest one's size.

    Args:
        mask: voxels of one structure; may be empty.
        share: 0 to 1; 1 keeps the largest piece alone.
    """
    if not mask.any():
        return mask
    box = _box(mask)
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)), True)
    numbers = sitk.GetArrayFromImage(pieces)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    large = np.zeros_like(mask)
    large[box] = (sizes >= share * sizes.max())[numbers] & (numbers > 0)
    return large


def centroid_lps(mask: BoolArray, ras_from_index: FloatArray) -> FloatArray:
    """Return the (3,) LPS point in mm of the middle of a mask's voxels."""
    middle = np.argwhere(mask).mean(0)
    return apply_affine(LPS_FROM_RAS @ ras_from_index, middle)


def canal_front(canal: BoolArray, row_mm: float) -> FloatArray:
    """Return where the canal begins, row by row.

    Args:
        canal: (H, W, K) voxels of the canal; in pieces where it leaves the slab and comes back.
        row_mm: between rows.

    Returns:
        (H,) column of the canal's foremost voxel, smoothed along the rows; NaN where the canal is
        farther than 10 mm away.
    """
    rows = np.flatnonzero(canal.any((1, 2)))
    if not len(rows):
        return np.full(len(canal), np.nan)
    foremost = canal[rows].any(2).argmax(1).astype(np.float64)
    half = max(1, round(SMOOTHED_MM / row_mm / 2))
    padded = np.pad(foremost, half, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    everywhere = np.arange(len(canal))
    front = np.interp(everywhere, rows, smooth)
    distance = np.abs(everywhere[:, None] - rows).min(1) * row_mm
    return np.where(distance <= REACH_MM, front, np.nan)


def body_before(vertebra: BoolArray, front: FloatArray) -> BoolArray:
    """Return the body of a vertebra: the largest piece of it before the canal; may be empty.

    Args:
        vertebra: (H, W, K) voxels of the whole vertebra.
        front: (H,) column at which the canal begins; NaN keeps nothing of a row.
    """
    columns = np.arange(vertebra.shape[1])
    return largest_piece(vertebra & (columns < front[:, None])[:, :, None])


def is_cut(mask: BoolArray) -> bool:
    """Whether a structure runs out of the picture: at its first or last row or column."""
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return any(bool(edge.any()) for edge in edges)


def _box(mask: BoolArray) -> tuple[slice, ...]:
    """The smallest box that holds a mask."""
    others = [tuple(a for a in range(mask.ndim) if a != axis) for axis in range(mask.ndim)]
    places = [np.flatnonzero(mask.any(other)) for other in others]
    return tuple(slice(place[0], place[-1] + 1) for place in places)
