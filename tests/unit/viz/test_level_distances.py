"""Distances between neighbours, and what is made of them."""

from itertools import pairwise

import numpy as np
import pytest

from spine_monai.landmarks import LUMBAR11
from spine_monai.viz.level_distances import NORMAL, is_usual_size, measure_levels

NAMES = LUMBAR11.names
USUAL_MM = np.array([NORMAL[pair].median_mm for pair in pairwise(NAMES)])


def spine(distances_mm, direction=(0.6, 0.0, -0.8)):
    """Points along a straight, oblique spine."""
    along = np.concatenate([[0.0], np.cumsum(distances_mm)])
    return along[:, None] * np.array(direction) + [10.0, -20.0, 300.0]


def changed(**by_pair):
    distances = USUAL_MM.copy()
    for place, mm in by_pair.items():
        distances[int(place[1:])] = mm
    return distances


def test_every_pair_of_neighbours_has_its_ranges():
    assert list(NORMAL) == list(pairwise(NAMES))
    for normal in NORMAL.values():
        for low, high in (normal.plain_mm, normal.sized_mm):
            assert 8 < low < normal.median_mm < high < 28


def test_distances_are_those_in_space():
    levels = measure_levels(NAMES, spine(USUAL_MM))
    assert [(level.upper, level.lower) for level in levels] == list(pairwise(NAMES))
    np.testing.assert_allclose([level.distance_mm for level in levels], USUAL_MM)
    assert {level.judgement for level in levels} == {"usual"}


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_small_or_large_spine_is_usual_for_its_size(factor):
    levels = measure_levels(NAMES, spine(USUAL_MM * factor))
    assert {level.judgement for level in levels} == {"usual"}
    assert levels[0].size == pytest.approx(factor)
    low, high = levels[3].sized_mm
    assert (low / factor, high / factor) == pytest.approx(NORMAL["L2", "L2-L3"].sized_mm)


@pytest.mark.parametrize(
    ("mm", "judgement"),
    [(15.0, "usual"), (11.5, "unusual"), (24.0, "unusual"), (8.0, "far"), (36.5, "far")],
)
def test_one_odd_distance_is_judged_against_the_others(mm, judgement):
    levels = measure_levels(NAMES, spine(changed(_2=mm)))
    assert levels[2].judgement == judgement
    assert {level.judgement for level in levels if level is not levels[2]} == {"usual"}


def test_inside_one_of_two_ranges_is_usual():
    """13 mm lies in the plain range of L1-L2 to L2, and below that of a spine of this size."""
    level = measure_levels(NAMES, spine(changed(_2=13.0)))[2]
    assert level.normal.plain_mm[0] < 13.0 < level.sized_mm[0]
    assert level.judgement == "usual"


def test_an_absent_landmark_leaves_two_distances_out():
    points = spine(USUAL_MM)
    points[4] = np.nan
    judged = [level.judgement for level in measure_levels(NAMES, points)]
    assert [index for index, one in enumerate(judged) if one is None] == [3, 4]
    assert judged.count("usual") == 8


def test_nothing_is_known_of_other_landmarks_and_of_none():
    levels = measure_levels(["C3", "C4"], [[0, 0, 0], [0, 3, 4]])
    assert (levels[0].distance_mm, levels[0].judgement, levels[0].size) == (5.0, None, 1.0)
    assert levels[0].sized_mm is None
    assert measure_levels(["C3"], [[0, 0, 0]]) == []
    assert measure_levels([], []) == []
    gone = measure_levels(NAMES, np.full((11, 3), np.nan))
    assert {(level.judgement, level.size) for level in gone} == {(None, 1.0)}


def test_sizes_that_no_adult_has():
    assert [is_usual_size(size) for size in (0.5, 0.7, 1.0, 1.3, 2.0)] == [
        False,
        True,
        True,
        True,
        False,
    ]
