"""From several slices to one result, on parallel oblique slices 4 mm apart."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spine_monai.geometry import points_ijk_from_lps, points_lps_from_ij
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.workflows.slice_choice import check_slices, choose_slices

N = len(LUMBAR11)
TURN = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)


def affine_of(index):
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]]) * [1.2, 1.3, 4.0]
    affine = nib.affines.from_matvec(TURN @ upright, [7.0, 62.0, 95.0])
    affine[:3, 3] += index * affine[:3, 2]
    return affine


def item(index, count=9):
    image = MetaTensor(torch.zeros(1, 200, 100), affine=affine_of(index))
    return {"slice": {"index": index, "count": count}, "native_image": image}


def output(index, score, shift_px=0.0):
    points_ij = np.stack([np.linspace(10, 180, N), np.full(N, 40.0 + shift_px)], -1)
    points_lps = points_lps_from_ij(points_ij, affine_of(index))
    confidence = np.full(N, 0.9 - index / 100)
    landmarks = LandmarkSet(LUMBAR11, points_lps, confidence, np.full(N, 1.0 + index))
    return {"landmarks": landmarks, "slice_score": np.full(N, score)}


def places(choice):
    """Slice of each landmark, from its point."""
    return points_ijk_from_lps(choice.landmarks.points_lps, affine_of(0))[:, 2]


def bent(scores):
    """The upper half shows best on the first slice, the lower half on the last."""
    outputs = [output(index, 0.2) for index in scores]
    for index, (start, stop) in scores.items():
        outputs[list(scores).index(index)]["slice_score"][start:stop] = 0.9
    return outputs


def test_the_slice_of_the_highest_score_is_taken():
    items = [item(index) for index in (3, 4, 5)]
    outputs = [output(3, 0.5), output(4, 0.6), output(5, 0.8)]
    choice = choose_slices(items, outputs, "one")
    assert choice.best == 2
    assert choice.landmarks is outputs[2]["landmarks"]
    assert choice.of_each == (2,) * N
    assert choice.reason == "slice 5 of 9 shows the canal best of 3, the middle one is 4"


def test_a_single_slice_needs_no_score():
    alone = output(4, 0.0)
    del alone["slice_score"]
    choice = choose_slices([item(4)], [alone], "all")
    assert choice.landmarks is alone["landmarks"]
    assert choice.reason == "slice 4 of 9 was looked at alone"
    assert not choice.warnings


def test_each_landmark_may_come_from_its_own_slice():
    items = [item(index) for index in (3, 4, 5)]
    choice = choose_slices(items, bent({3: (0, 5), 4: (5, 6), 5: (6, N)}), "all")
    np.testing.assert_allclose(places(choice), np.array(choice.of_each) + 3, atol=1e-6)
    assert choice.of_each[0] == 0
    assert choice.of_each[-1] == 2
    expected = [0.9 - (3 + number) / 100 for number in choice.of_each]
    np.testing.assert_allclose(choice.landmarks.confidence, expected)
    np.testing.assert_allclose(choice.landmarks.radius95_mm, [4.0 + n for n in choice.of_each])
    assert "landmarks from slices 3, 4, 5" in choice.reason


def test_a_slice_that_has_the_level_elsewhere_is_not_used():
    """Slice 3 has its landmarks 13 mm away in the plane: another level, or another mistake."""
    items = [item(index) for index in (3, 4, 5)]
    outputs = bent({3: (0, 5), 4: (5, N), 5: (0, 0)})
    outputs[0]["landmarks"] = output(3, 0.2, shift_px=10.0)["landmarks"]
    assert 0 not in choose_slices(items, outputs, "all").of_each


def test_what_the_best_slice_calls_absent_stays_absent():
    items = [item(index) for index in (3, 4)]
    outputs = [output(3, 0.5), output(4, 0.9)]
    outputs[1]["landmarks"].points_lps[2] = np.nan
    choice = choose_slices(items, outputs, "all")
    assert choice.landmarks.statuses[2] == "absent"
    assert choice.landmarks.statuses.count("absent") == 1


@pytest.mark.parametrize(
    ("indices", "best", "warned"),
    [((3, 4, 5), 0, True), ((3, 4, 5), 2, True), ((3, 4, 5), 1, False), ((0, 1, 2), 0, False)],
)
def test_the_outermost_slice_looked_at_is_warned_of(indices, best, warned):
    count = 9 if indices[0] else 3
    items = [item(index, count) for index in indices]
    outputs = [output(index, 0.9 if n == best else 0.5) for n, index in enumerate(indices)]
    codes = [warning["code"] for warning in choose_slices(items, outputs, "one").warnings]
    assert codes == (["slice_at_the_edge"] if warned else [])


def test_another_word_is_refused():
    assert check_slices("all") == "all"
    with pytest.raises(ValueError, match="slices must be 'one' or 'all': got 'some'"):
        check_slices("some")
