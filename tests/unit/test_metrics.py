"""Errors, rates and intervals on examples that were worked out by hand."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from spine_monai.landmarks import LUMBAR11, Landmark, LandmarkRegistry
from spine_monai.metrics import CaseResult, RadialErrorMetric, radial_errors, summarize

THREE = LandmarkRegistry(
    "three", (Landmark("L4", "vertebra"), Landmark("L4-L5", "disc"), Landmark("L5", "vertebra"))
)
NAN = np.nan
ABSENT = np.full(3, NAN)
POINTS_LPS = {
    "L4": np.array([2.0, 10.0, 60.0]),
    "L4-L5": np.array([2.0, 10.0, 40.0]),
    "L5": np.array([2.0, 10.0, 20.0]),
}
# Sagittal slice: columns run to posterior (+y), rows to the feet (-z), slices to the right (-x).
SAGITTAL = np.array(
    [[0.0, 0.0, -4.0, 2.0], [0.6, 0.0, 0.0, -50.0], [0.0, -0.9, 0.0, 90.0], [0.0, 0.0, 0.0, 1.0]]
)
BESIDE = np.array([9.0, 0.0, 0.0])
TURN = nib.eulerangles.euler2mat(0.3, -0.2, 0.5)


def case(*moves, references=POINTS_LPS, subject="s1", matrix=SAGITTAL):
    """A case whose predictions of L4, L4-L5 and L5 stray by these vectors; None misses one."""
    points = [
        ABSENT if move is None else POINTS_LPS[name] + move
        for name, move in zip(THREE.names, moves, strict=True)
    ]
    return CaseResult("c", subject, np.stack(points), references, matrix)


def posterior(distance_mm):
    return np.array([0.0, distance_mm, 0.0])


def without(name):
    return {key: point for key, point in POINTS_LPS.items() if key != name}


@pytest.fixture(scope="module", name="summary")
def summary_of_two_cases():
    """Errors 1, 7, missing; and 3, a false positive, 9."""
    first = case(posterior(1), posterior(7), None, subject="a")
    second = case(
        posterior(3), posterior(2), posterior(-9), references=without("L4-L5"), subject="b"
    )
    return summarize([first, second], THREE)


def test_radial_errors_are_distances():
    predicted = [[[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]], [[0.0, 0.0, 7.0], [NAN, NAN, NAN]]]
    errors = radial_errors(predicted, np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(errors, [[5.0, 3.0], [7.0, NAN]])


def test_a_missing_reference_has_no_radial_error():
    assert np.isnan(radial_errors([[1.0, 2.0, 3.0]], [[NAN, NAN, NAN]])).all()


def test_points_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must have one shape: got \(2, 3\) and \(3, 3\)"):
        radial_errors(np.zeros((2, 3)), np.zeros((3, 3)))


def test_references_stand_in_the_order_of_the_registry_and_others_are_left_out():
    references = {"S1": np.ones(3), "L5": POINTS_LPS["L5"], "L4": POINTS_LPS["L4"]}
    found = case(None, None, None, references=references).references(THREE)
    np.testing.assert_array_equal(found, [POINTS_LPS["L4"], ABSENT, POINTS_LPS["L5"]])


def test_a_missing_prediction_is_infinitely_wrong_and_an_unknown_landmark_has_no_error():
    result = case(posterior(4), posterior(2), None, references=without("L4-L5"))
    np.testing.assert_allclose(result.in_plane_errors(THREE), [4.0, NAN, np.inf])
    np.testing.assert_allclose(result.errors(THREE), [4.0, NAN, np.inf])


def test_a_landmark_that_is_neither_given_nor_annotated_has_no_error():
    result = case(posterior(0), None, posterior(0), references=without("L4-L5"))
    assert np.isnan(result.in_plane_errors(THREE)[1])


def test_the_error_in_the_plane_leaves_out_what_lies_across_an_oblique_slice():
    matrix = np.eye(4)
    matrix[:3, :3] = TURN @ SAGITTAL[:3, :3]
    matrix[:3, 3] = [5.0, -7.0, 11.0]
    along_column, along_row, across = (TURN @ SAGITTAL[:3, :3] / [0.6, 0.9, 4.0]).T
    moves = (3 * along_column + 4 * across, 12 * across, 6 * along_row - 8 * along_column)
    result = case(*moves, matrix=matrix)
    np.testing.assert_allclose(result.in_plane_errors(THREE), [3.0, 0.0, 10.0], atol=1e-12)
    np.testing.assert_allclose(result.errors(THREE), [5.0, 12.0, 10.0])


def test_a_reference_beside_the_slice_is_measured_in_its_plane():
    references = {name: point + BESIDE for name, point in POINTS_LPS.items()}
    result = case(posterior(1), posterior(2), posterior(3), references=references)
    np.testing.assert_allclose(result.in_plane_errors(THREE), [1.0, 2.0, 3.0])


def test_a_point_without_a_reference_is_a_false_positive():
    result = case(posterior(0), posterior(2), None, references=without("L4-L5"))
    assert result.false_positives(THREE).tolist() == [False, True, False]


def test_an_absent_prediction_is_no_false_positive():
    result = case(posterior(0), None, None, references=without("L4-L5"))
    assert not result.false_positives(THREE).any()


def test_a_vertebra_at_its_neighbour_is_a_level_shift():
    down = np.array([0.0, 0.0, -40.0])
    result = case(down, posterior(0), posterior(0))
    assert result.level_shifts(THREE).tolist() == [1.0, 0.0, 0.0]


def test_only_levels_of_the_same_kind_shift():
    """The disc lies on a vertebra: wrong, but not by a level."""
    result = case(posterior(0), np.array([0.0, 0.0, 20.0]), posterior(0))
    assert result.level_shifts(THREE).tolist() == [0.0, 0.0, 0.0]
    assert result.identifications(THREE).tolist() == [1.0, 0.0, 1.0]


CUSTOM = LandmarkRegistry(
    "custom", (Landmark("D1", "disc"), Landmark("V1", "vertebra"), Landmark("D2", "disc"))
)


def first_disc_shifts(down_mm, **outside):
    """Level shifts where D1 lies this far below its place, 15 mm above V1 and 30 mm above D2."""
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -15.0], [0.0, 0.0, -30.0]])
    references = dict(zip(CUSTOM.names, points, strict=True)) | outside
    predicted = points - [[0.0, 0.0, down_mm], [0.0] * 3, [0.0] * 3]
    return CaseResult("c", "s", predicted, references, SAGITTAL).level_shifts(CUSTOM).tolist()


def test_the_registry_says_which_kind_a_landmark_is():
    assert first_disc_shifts(9.0) == [0.0, 0.0, 0.0]
    assert first_disc_shifts(16.0) == [1.0, 0.0, 0.0]


def test_the_name_says_which_kind_a_reference_outside_the_registry_is():
    beyond = np.array([0.0, 0.0, 12.0])
    assert first_disc_shifts(-9.0, **{"T11-T12": beyond}) == [1.0, 0.0, 0.0]
    assert first_disc_shifts(-9.0, T12=beyond) == [0.0, 0.0, 0.0]


def test_missing_and_unknown_landmarks_have_no_level_shift():
    result = case(None, posterior(0), posterior(0), references=without("L4-L5"))
    np.testing.assert_array_equal(result.level_shifts(THREE), [NAN, NAN, 0.0])


@pytest.mark.parametrize(("name", "outside"), [("T12-L1", "T11-T12"), ("L1", "T12")])
def test_levels_beyond_the_registry_count_as_neighbours(name, outside):
    own, beyond = np.array([0.0, 0.0, 100.0]), np.array([0.0, 5.0, 132.0])
    predicted = np.full((11, 3), NAN)
    predicted[LUMBAR11.names.index(name)] = beyond + np.array([0.0, 3.0, -9.0])
    near = CaseResult("c", "s", predicted, {name: own, outside: beyond}, SAGITTAL)
    alone = CaseResult("c", "s", predicted, {name: own}, SAGITTAL)
    assert np.nansum(near.level_shifts(LUMBAR11)) == 1
    assert np.nansum(alone.level_shifts(LUMBAR11)) == 0


def test_level_shifts_are_judged_in_the_plane_of_the_slice():
    """L4's prediction lies far across the slice, nearer in space to L5's reference there."""
    references = POINTS_LPS | {"L5": np.array([62.0, 10.0, 20.0])}
    result = case(np.array([60.0, 0.0, -10.0]), None, None, references=references)
    assert result.level_shifts(THREE)[0] == 0.0


def test_a_reference_far_beside_the_slice_is_still_the_nearest_in_its_plane():
    references = POINTS_LPS | {"L4": np.array([62.0, 10.0, 60.0])}
    result = case(posterior(3), posterior(0), posterior(0), references=references)
    assert result.level_shifts(THREE).tolist() == [0.0, 0.0, 0.0]
    assert result.identifications(THREE).tolist() == [1.0, 1.0, 1.0]


def test_a_landmark_is_identified_within_twenty_millimetres():
    references = {"L4": POINTS_LPS["L4"]}
    for distance_mm, expected in ((20.0, 1.0), (20.5, 0.0)):
        result = case(posterior(distance_mm), None, None, references=references)
        assert result.identifications(THREE)[0] == expected


def test_a_missing_landmark_is_not_identified_and_an_unknown_one_is_not_counted():
    result = case(posterior(0), posterior(0), None, references=without("L4-L5"))
    np.testing.assert_array_equal(result.identifications(THREE), [1.0, NAN, 0.0])


def test_all_measures_are_invariant_to_rigid_motion():
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = TURN, [30.0, -20.0, 10.0]

    def move(points):
        return nib.affines.apply_affine(motion, points)

    here = case(np.array([3.0, 4.0, -2.0]), None, np.array([1.0, 7.0, 25.0]))
    references = {name: move(point) for name, point in POINTS_LPS.items()}
    there = CaseResult("c", "s1", move(here.predicted_lps), references, motion @ SAGITTAL)
    for measure in ("in_plane_errors", "errors", "level_shifts", "identifications"):
        moved, still = getattr(there, measure)(THREE), getattr(here, measure)(THREE)
        np.testing.assert_allclose(moved, still, err_msg=measure)


def test_a_missing_prediction_counts_in_rates_and_median_but_not_in_the_mean(summary):
    overall = summary["overall"]
    assert (overall["n"], overall["missing"], overall["mre_n"]) == (5, 1, 4)
    assert overall["mre_mm"] == pytest.approx((1 + 7 + 3 + 9) / 4)
    assert overall["median_mm"] == pytest.approx(7.0)


def test_the_success_rates_are_those_counted_by_hand(summary):
    expected = {"2": 0.2, "2.5": 0.2, "3": 0.4, "4": 0.4, "6": 0.4, "8": 0.6}
    assert summary["overall"]["sdr"] == pytest.approx(expected)


def test_an_error_at_the_threshold_is_a_success():
    on_limit = summarize([case(posterior(8), posterior(4), posterior(2))], THREE)["overall"]
    assert on_limit["sdr"]["8"] == 1.0
    assert on_limit["sdr"]["2"] == pytest.approx(1 / 3)
    assert on_limit["all_within_8mm"] == 1.0


def test_false_positives_are_counted_and_absent_references_are_in_no_rate(summary):
    assert summary["overall"]["false_positives"] == 1
    disc = summary["landmarks"]["L4-L5"]
    assert (disc["n"], disc["false_positives"], disc["sdr"]["8"]) == (1, 1, 1.0)


def test_each_landmark_has_its_own_figures(summary):
    assert list(summary["landmarks"]) == list(THREE.names)
    assert summary["landmarks"]["L4"]["mre_mm"] == pytest.approx(2.0)
    last = summary["landmarks"]["L5"]
    assert (last["n"], last["missing"], last["mre_n"], last["median_mm"]) == (2, 1, 1, None)


def test_identification_and_level_shift_rates_are_those_counted_by_hand(summary):
    assert summary["overall"]["identification_rate"] == pytest.approx(4 / 5)
    assert summary["overall"]["level_shifts"] == 0
    assert summary["overall"]["level_shift_rate"] == 0.0


def test_level_shifts_are_counted_and_their_rate_is_of_the_pairs():
    down = np.array([0.0, 0.0, -40.0])
    overall = summarize([case(down, posterior(0), None)], THREE)["overall"]
    assert (overall["level_shifts"], overall["level_shift_rate"]) == (1, 0.5)


def test_a_case_is_right_only_if_every_landmark_is_within_eight_millimetres(summary):
    right = case(posterior(1), posterior(2), posterior(7.9))
    wrong = case(posterior(1), posterior(2), posterior(8.1))
    missed = case(posterior(1), posterior(2), None)
    figures = summarize([right, wrong, missed, right], THREE)["overall"]
    assert figures["all_within_8mm"] == 0.5
    assert summary["overall"]["all_within_8mm"] == 0.0


def test_a_landmark_without_a_reference_keeps_no_case_from_being_right():
    unknown = case(posterior(1), posterior(99), posterior(2), references=without("L4-L5"))
    assert summarize([unknown], THREE)["overall"]["all_within_8mm"] == 1.0


def test_the_error_in_space_stands_beside_the_one_in_the_plane():
    move = np.array([12.0, 5.0, 0.0])
    overall = summarize([case(move, move, None)], THREE)["overall"]
    assert overall["mre_mm"] == pytest.approx(5.0)
    assert overall["mre_3d_mm"] == pytest.approx(13.0)


def test_a_landmark_that_nobody_annotated_has_no_figures():
    result = case(posterior(0), posterior(1), posterior(0), references=without("L4-L5"))
    landmarks = summarize([result], THREE)["landmarks"]
    assert landmarks["L4-L5"] == {"n": 0, "false_positives": 1}


def test_where_everything_is_missed_there_is_no_mean():
    overall = summarize([case(None, None, None)], THREE)["overall"]
    assert (overall["mre_n"], overall["missing"], overall["sdr"]["8"]) == (0, 3, 0.0)
    for name in ("mre_mm", "mre_3d_mm", "median_mm", "level_shift_rate"):
        assert overall[name] is None
    assert overall["identification_rate"] == 0.0


def test_the_summary_is_plain_json_and_says_what_it_rests_on(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["cases"], summary["subjects"]) == (2, 2)
    assert "seed 0" in summary["interval"]


def test_no_case_is_refused():
    with pytest.raises(ValueError, match="results must hold at least one case"):
        summarize([], THREE)


@pytest.fixture(scope="module", name="many")
def cases_of_many_subjects():
    generator = np.random.default_rng(5)
    return [
        case(*generator.normal(0, 5, (3, 3)), subject=f"s{number // 2}") for number in range(16)
    ]


@pytest.fixture(scope="module", name="many_summary")
def summary_of_many_subjects(many):
    return summarize(many, THREE)


def test_each_interval_holds_its_point_estimate(many_summary):
    overall = many_summary["overall"]
    figures = overall | {f"sdr_{name}": value for name, value in overall["sdr"].items()}
    assert len(overall["intervals"]) == 12
    for name, (low, high) in overall["intervals"].items():
        assert low <= figures[name] <= high, name
    low, high = overall["intervals"]["mre_mm"]
    assert 0.5 < high - low < 5


def test_a_seed_makes_the_intervals_reproducible(many, many_summary):
    assert summarize(many, THREE, seed=0) == many_summary
    other = summarize(many, THREE, seed=1)
    assert other["overall"]["intervals"] != many_summary["overall"]["intervals"]
    assert other["landmarks"] == many_summary["landmarks"]


def test_the_bootstrap_draws_whole_subjects():
    """Two unlike cases of one subject always come together, so nothing varies."""
    pair = [case(posterior(d), posterior(d), posterior(d), subject="one") for d in (1, 9)]
    summary = summarize(pair, THREE)
    assert summary["subjects"] == 1
    assert summary["overall"]["intervals"]["mre_mm"] == pytest.approx([5.0, 5.0])


def test_a_subject_with_many_cases_is_drawn_as_often_as_one_with_a_single_case():
    """A quarter of the samples of two subjects hold the second one twice."""
    many = [case(posterior(1), posterior(1), posterior(1), subject="a")] * 9
    single = case(posterior(9), posterior(9), posterior(9), subject="b")
    intervals = summarize([*many, single], THREE)["overall"]["intervals"]
    assert intervals["mre_mm"] == pytest.approx([1.0, 9.0])


def test_an_interval_that_reaches_infinity_is_open():
    found = case(posterior(1), posterior(1), posterior(1), subject="a")
    missed = case(None, None, None, subject="b")
    intervals = summarize([found, missed], THREE)["overall"]["intervals"]
    assert intervals["median_mm"] == [pytest.approx(1.0), None]
    assert intervals["sdr_8"] == [0.0, 1.0]


def test_the_metric_averages_what_monai_gives_it():
    metric = RadialErrorMetric()
    predicted = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [9.0, 9.0, 9.0]]] * 2)
    reference = torch.zeros(2, 3, 3)
    reference[:, 2] = NAN
    predicted[1, 0] = NAN
    metric(y_pred=list(predicted), y=list(reference))
    assert metric.aggregate().item() == pytest.approx((5 + 1 + 1) / 3)
    metric.reset()
    values = metric(y_pred=predicted, y=reference)
    np.testing.assert_allclose(values, [[5.0, 1.0, NAN], [NAN, 1.0, NAN]])
    assert metric.aggregate().item() == pytest.approx((5 + 1 + 1) / 3)


def test_the_metric_weighs_landmarks_not_batches():
    metric = RadialErrorMetric()
    metric(y_pred=torch.full((1, 1, 3), 1.0), y=torch.tensor([[[1.0, 1.0, 7.0]]]))
    metric(y_pred=torch.zeros(1, 1, 3).repeat(2, 1, 1), y=torch.zeros(2, 1, 3))
    assert metric.aggregate().item() == pytest.approx(2.0)


def one_landmark_result(case, predicted, reference):
    return CaseResult(case, case, np.array([predicted] * 3), reference, np.eye(4))


def test_cases_without_a_reference_are_no_successes():
    registry = LandmarkRegistry("three", LUMBAR11.landmarks[:3])
    name = registry.names[0]
    results = [
        one_landmark_result("a", [50.0, 0.0, 0.0], {name: np.zeros(3)}),
        one_landmark_result("b", [0.0, 0.0, 0.0], {}),
    ]
    summary = summarize(results, registry)
    assert summary["landmarks"][name]["all_within_8mm"] == 0.0
    assert summary["overall"]["all_within_8mm"] == 0.0
    assert summary["overall"]["intervals"]["all_within_8mm"] == [0.0, 0.0]


def test_a_reference_that_is_nan_is_no_rival():
    registry = LandmarkRegistry("three", LUMBAR11.landmarks[:3])
    names = registry.names
    reference = {names[0]: np.zeros(3), names[2]: np.full(3, np.nan)}
    result = one_landmark_result("a", [1.0, 0.0, 0.0], reference)
    assert result.level_shifts(registry)[0] == 0.0
    assert result.identifications(registry)[0] == 1.0
