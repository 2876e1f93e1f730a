"""Bodies of vertebrae: what lies before the canal, on shapes whose truth is known."""

import nibabel as nib
import numpy as np
import pytest

from spine_monai.data.bodies import (
    body_before,
    canal_front,
    centroid_lps,
    is_cut,
    large_pieces,
    largest_piece,
)

SHAPE = (40, 60, 7)
ROW_MM = 2.0


def box(rows, columns, slices):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[slice(*rows), slice(*columns), slice(*slices)] = True
    return mask


def leaning_canal():
    """A canal whose front runs from column 20 to column 39, in the two middle slices only."""
    canal = np.zeros(SHAPE, dtype=bool)
    for row in range(40):
        canal[row, 20 + row // 2 : 28 + row // 2, 2:4] = True
    return canal


def test_specks_are_no_part_of_a_structure():
    structure = box((10, 20), (5, 15), (1, 5))
    assert np.array_equal(largest_piece(structure | box((30, 32), (40, 42), (3, 4))), structure)
    assert not largest_piece(np.zeros(SHAPE, dtype=bool)).any()


def test_pieces_as_large_as_wanted_are_kept():
    large, half = box((0, 10), (0, 4), (0, 2)), box((20, 25), (0, 4), (0, 2))
    speck = box((30, 31), (0, 1), (0, 1))
    found = large_pieces(large | half | speck, 0.4)
    assert np.array_equal(found, large | half)


def test_pieces_that_touch_at_a_corner_are_one():
    one, two = box((0, 3), (0, 3), (0, 3)), box((3, 5), (3, 5), (3, 5))
    assert np.array_equal(largest_piece(one | two), one | two)


def test_the_centroid_lies_where_nibabel_places_it():
    affine = np.array(
        [[0.1, 0.2, -4, 7], [-0.3, -0.5, 0.2, 8], [-0.6, 0.1, 0.3, 9], [0, 0, 0, 1.0]]
    )
    structure = box((10, 13), (20, 25), (3, 5))
    expected = nib.affines.apply_affine(affine, [11, 22, 3.5]) * [-1, -1, 1]
    np.testing.assert_allclose(centroid_lps(structure, affine), expected)


def test_the_front_follows_the_canal_row_by_row():
    front = canal_front(leaning_canal(), ROW_MM)
    np.testing.assert_allclose(front, 20 + np.arange(40) // 2, atol=1)


def test_the_front_is_the_foremost_of_all_slices():
    canal = leaning_canal() | np.roll(leaning_canal(), (-5, 2), (1, 2))
    np.testing.assert_allclose(canal_front(canal, ROW_MM), 15 + np.arange(40) // 2, atol=1)


def test_a_single_voxel_does_not_move_the_front():
    canal = leaning_canal()
    canal[20, 5, 2] = True
    np.testing.assert_allclose(canal_front(canal, ROW_MM)[20], 30, atol=1)


def test_the_front_ends_10_mm_beyond_the_canal():
    canal = leaning_canal()
    canal[:8] = canal[30:] = False
    known = np.flatnonzero(~np.isnan(canal_front(canal, ROW_MM)))
    assert (known[0], known[-1]) == (3, 34)
    assert np.isnan(canal_front(np.zeros(SHAPE, dtype=bool), ROW_MM)).all()


def test_what_lies_behind_and_beside_the_canal_is_no_body():
    """Pedicles in the slices beside the canal join the body to arch and spinous process."""
    body = np.zeros(SHAPE, dtype=bool)
    for row in range(10, 20):
        body[row, 5 : 18 + row // 2] = True
    pedicles = box((11, 15), (20, 45), (0, 2)) | box((11, 15), (20, 45), (5, 7))
    process = box((12, 26), (42, 58), (0, 7))
    vertebra = (body | pedicles | process) & ~leaning_canal()
    found = body_before(vertebra, canal_front(leaning_canal(), ROW_MM))
    error = np.argwhere(found).mean(0) - np.argwhere(body).mean(0)
    assert np.abs(error).max() < 0.8
    assert np.abs(np.argwhere(vertebra).mean(0) - np.argwhere(body).mean(0)).max() > 5


def test_without_a_front_there_is_no_body():
    assert not body_before(box((10, 20), (5, 15), (1, 5)), np.full(40, np.nan)).any()


@pytest.mark.parametrize(
    ("rows", "columns", "slices", "cut"),
    [
        ((1, 39), (1, 59), (0, 7), False),
        ((0, 9), (4, 9), (2, 3), True),
        ((30, 40), (4, 9), (2, 3), True),
        ((4, 9), (0, 9), (2, 3), True),
        ((4, 9), (50, 60), (2, 3), True),
    ],
)
def test_a_structure_is_cut_at_the_edge_of_the_picture_but_not_of_the_slab(
    rows, columns, slices, cut
):
    assert is_cut(box(rows, columns, slices)) is cut
