"""Choice of the slice on phantoms whose canal is bright in the middle and narrow."""

import numpy as np
import pytest
import torch

from spine_monai.data.synthetic import make_study
from spine_monai.geometry import points_ijk_from_lps
from spine_monai.landmarks import LUMBAR11
from spine_monai.slices import best_slice, canal_brightness, slice_of_each_landmark

SPACING_MM = (1.6, 1.3, 3.0)


def scores_of(study):
    """(K, N) brightness on each slice of a phantom, about its true points; and their slices."""
    points = np.stack([study.points_lps[name] for name in LUMBAR11.names])
    index = points_ijk_from_lps(points, study.ras_from_index)
    volume = torch.from_numpy(study.volume.astype(np.float32)) / 1100
    spacing = np.array(SPACING_MM[:2])
    scores = [
        canal_brightness(volume[..., k], index[:, :2], spacing) for k in range(volume.shape[-1])
    ]
    return np.stack(scores), index[:, 2]


def phantom(**changes):
    return make_study(shape=(150, 140, 15), spacing_mm=SPACING_MM, seed=5, **changes)


def test_the_slice_through_the_canal_wins():
    scores, places = scores_of(phantom())
    assert abs(best_slice(scores) - places.mean()) <= 1


def test_slices_beside_the_canal_are_darker():
    scores, _ = scores_of(phantom())
    assert scores[7].mean() > scores[1].mean() + 0.2
    assert scores[7].mean() > scores[13].mean() + 0.2


@pytest.mark.parametrize("curve_mm", [14.0, -14.0])
def test_a_spine_that_leaves_the_plane_is_followed(curve_mm):
    """The canal is 16 mm wide, five slices: a landmark may be two slices off its middle."""
    scores, places = scores_of(phantom(curve_mm=curve_mm))
    chosen = slice_of_each_landmark(scores, SPACING_MM[2])
    assert np.abs(chosen - places).max() <= 2.0
    assert np.abs(best_slice(scores) - places).max() > 2.0
    assert np.sign(chosen[5] - chosen[0]) == np.sign(curve_mm)


def test_a_straight_spine_stays_on_one_slice():
    scores = np.full((7, 11), 0.5)
    scores[2] = 0.8
    assert slice_of_each_landmark(scores, 4.0).tolist() == [2] * 11


def test_of_equal_slices_the_one_nearest_the_middle_is_taken():
    assert best_slice(np.full((7, 3), 0.4)) == 3
    scores = np.full((7, 3), 0.4)
    scores[[0, 4]] = 0.9
    assert best_slice(scores) == 4


@pytest.mark.parametrize(("count", "middle"), [(2, 1), (4, 2), (6, 3)])
def test_the_middle_of_an_even_number_of_slices_is_that_of_the_study(count, middle):
    """0004: slice K // 2. Equal slices that lead off it would be looked at for nothing."""
    assert best_slice(np.full((count, 3), 0.4)) == middle


@pytest.mark.parametrize(("lead", "expected"), [(0.004, 4), (0.006, 0)])
def test_a_lead_too_small_to_tell_does_not_take_a_slice_from_the_middle(lead, expected):
    scores = np.full((7, 3), 0.4)
    scores[[0, 4]] = [[0.9 + lead], [0.9]]
    assert best_slice(scores) == expected


def test_a_single_slice_needs_no_choice():
    assert best_slice(np.ones((1, 4))) == 0
    assert slice_of_each_landmark(np.ones((1, 4)), 0.0).tolist() == [0] * 4


def test_absent_landmarks_count_nothing():
    image = torch.ones(90, 70)
    points = np.array([[20.0, 20.0], [np.nan, np.nan], [60.0, 25.0]])
    brightness = canal_brightness(image, points, np.array([1.2, 1.0]))
    assert brightness[1] == 0
    assert (brightness[[0, 2]] > 0.9).all()
    assert not canal_brightness(image, np.full((3, 2), np.nan), np.array([1.2, 1.0])).any()


def test_one_landmark_alone_looks_straight_back():
    image = torch.zeros(50, 80)
    image[:, 44:] = 1.0
    assert canal_brightness(image, np.array([[25.0, 20.0]]), np.ones(2))[0] > 0.9
    assert canal_brightness(image.flip(1), np.array([[25.0, 40.0]]), np.ones(2))[0] < 0.1


def test_the_canal_lies_at_right_angles_behind_a_tilted_column():
    """A column that runs down and forward; its canal is a stripe 26 mm behind, turned with it."""
    rows, columns = np.meshgrid(np.arange(160), np.arange(150), indexing="ij")
    along, behind = np.array([0.8, -0.6]), np.array([0.6, 0.8])
    offset = np.stack([rows - 20.0, columns - 100.0], -1) @ behind
    image = torch.from_numpy((np.abs(offset - 26.0) < 10.0).astype(np.float32))
    points = np.array([20.0, 100.0]) + np.arange(2, 9)[:, None] * 12.0 * along
    assert (canal_brightness(image, points, np.ones(2)) > 0.9).all()
