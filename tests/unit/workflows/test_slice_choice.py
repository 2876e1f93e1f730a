"""From several slices to one result, on parallel oblique slices 4 mm apart."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spine_monai.geometry import points_ijk_from_lps, points_lps_from_ij
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.workflows.slice_choice import check_slices, choose_slices, look_at_slices

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


class Looks:
    """Finds landmarks on each slice it is shown, and remembers which it was shown."""

    def __init__(self, shift_px=None, absent=()):
        self.seen = []
        self.shift_px = shift_px or {}
        self.absent = absent

    def __call__(self, items):
        indices = [one["slice"]["index"] for one in items]
        self.seen.append(indices)
        found = [output(index, 0.5, self.shift_px.get(index, 0.0)) for index in indices]
        for index, one in zip(indices, found, strict=True):
            if index in self.absent:
                one["landmarks"].points_lps[:] = np.nan
                one["slice_score"][:] = 0.0
        return found


def shown(index, *canals, count=9):
    """A slice whose canal is bright this many columns behind the landmarks."""
    own = item(index, count)
    image = torch.zeros(1, 200, 100)
    for start, brightness in canals:
        image[:, :, 40 + start : 60 + start] = brightness
    return own | {"image": MetaTensor(image, affine=affine_of(index))}


def test_only_the_middle_slice_is_looked_at_where_it_shows_the_canal():
    looks = Looks()
    items = [shown(3, (12, 0.5)), shown(4, (12, 0.9)), shown(5, (12, 0.5))]
    choice = look_at_slices(items, looks, "one")
    assert looks.seen == [[4]]
    assert choice.best == 1
    assert choice.reason == "slice 4 of 9 shows the canal best of 3, the middle one is 4"
    np.testing.assert_allclose(places(choice), 4, atol=1e-6)


def test_the_slice_that_shows_the_canal_best_is_looked_at_next():
    looks = Looks()
    items = [shown(3, (12, 0.5)), shown(4, (12, 0.6)), shown(5, (12, 0.9))]
    choice = look_at_slices(items, looks, "one")
    assert looks.seen == [[4], [5]]
    assert choice.best == 2
    np.testing.assert_allclose(places(choice), 5, atol=1e-6)
    assert [warning["code"] for warning in choice.warnings] == ["slice_at_the_edge"]


def test_slices_that_send_to_each_other_are_each_looked_at_once():
    """From slice 4 the canal of 5 looks brighter; from 5, 35 columns off, that of 4."""
    looks = Looks(shift_px={5: -35.0})
    items = [shown(4, (12, 0.6), (-23, 0.8)), shown(5, (12, 0.9), (-23, 0.1))]
    choice = look_at_slices(items, looks, "one")
    assert looks.seen == [[4], [5]]
    assert choice.best == 0
    np.testing.assert_allclose(places(choice), 4, atol=1e-6)


def test_all_are_looked_at_where_the_middle_slice_shows_nothing():
    looks = Looks(absent=(4,))
    items = [shown(index, (12, 0.5)) for index in (3, 4, 5)]
    choice = look_at_slices(items, looks, "one")
    assert looks.seen == [[4], [3, 4, 5]]
    assert choice.best != 1


def test_all_slices_are_looked_at_together_where_all_give_landmarks():
    looks = Looks()
    look_at_slices([shown(index, (12, 0.5)) for index in (3, 4, 5)], looks, "all")
    assert looks.seen == [[3, 4, 5]]
