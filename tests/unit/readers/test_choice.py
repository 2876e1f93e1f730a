"""Which series of a study is chosen, and what is said of the other ones."""

import math

import pytest

from spine_monai.readers import StudyError
from spine_monai.readers.choice import (
    ChoiceError,
    choice_error,
    choose,
    choose_named,
    notes_about,
)
from spine_monai.readers.grouping import group_series
from spine_monai.readers.series import Series

ORIGINAL, DERIVED = ["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY"]


def oblique(angle_deg):
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    return [sine, cosine, 0, 0, 0, -1]


@pytest.fixture
def series(one_series):
    """Series of a study by UID; the numbers of their UIDs are the keys."""

    def make(*attributes):
        return [
            one_series(**{"uid": f"1.2.{number}", "SeriesNumber": number} | one)
            for number, one in enumerate(attributes, start=1)
        ]

    return make


def verdicts(choice):
    return {one.series.number: verdict for one, verdict in choice.verdicts}


def test_the_t2_series_of_a_study_is_chosen_with_a_reason(series):
    study = series(
        {"EchoTime": 12, "RepetitionTime": 600},
        {},
        {"ScanOptions": "FS"},
        {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    )
    choice = choose(study)
    assert choice.chosen.series is study[1]
    assert choice.reason == (
        "series 2 (1.2.2): the sagittal T2 series of 4 found; T2 by TE 100 ms, TR 3000 ms"
    )
    said = verdicts(choice)
    assert said[2] == ""
    assert "T1" in said[1]
    assert "T2 fat-suppressed" in said[3]
    assert said[4] == "it is not sagittal but axial"
    assert notes_about(choice) == ()


RANKED = {
    "derived": ({"ImageType": ORIGINAL}, {"ImageType": DERIVED}, "original, not derived"),
    "words": ({}, {"EchoTime": None, "SeriesDescription": "t2"}, "T2 by numbers, not by words"),
    "oblique": ({}, {"ImageOrientationPatient": oblique(20)}, "less oblique"),
    "small field": ({}, {"Rows": 200}, "tall enough"),
    "few slices": ({"count": 9}, {"count": 3}, "not half as wide as another"),
    "neck": (
        {},
        {"SeriesDescription": "t2 sag C-spine"},
        "of no other level by its description",
    ),
    "no level": ({"SeriesDescription": "t2 L-spine"}, {}, "lumbar by its description"),
    "lumbar, though derived": (
        {"SeriesDescription": "t2 L-spine", "ImageType": DERIVED},
        {"SeriesDescription": "t2 C-spine", "ImageType": ORIGINAL},
        "of no other level by its description",
    ),
    "distorted": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "DIS2D"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
        "corrected for distortion",
    ),
}


@pytest.mark.parametrize(("better", "worse", "name"), RANKED.values(), ids=RANKED)
@pytest.mark.parametrize("is_first", [True, False])
def test_the_better_of_two_is_chosen_by_a_named_preference(series, better, worse, name, is_first):
    study = series(better, worse) if is_first else series(worse, better)
    choice = choose(study)
    assert choice.chosen.series is study[0 if is_first else 1]
    assert f"among 2 that pass the rules it is {name}" in choice.reason
    assert verdicts(choice)[2 if is_first else 1] == f"another is {name}"


def test_a_series_with_a_gap_leaves_the_choice_to_a_whole_one(stack):
    images = stack(6)
    gap = Series("1.2.1", (*images[:2], *images[3:]))
    whole = Series("1.2.2", tuple(images))
    assert choose([gap, whole]).chosen.series is whole


def test_small_differences_are_no_preference(series):
    study = series(
        {"count": 15, "ImageOrientationPatient": oblique(3)},
        {"count": 13, "ImageOrientationPatient": oblique(9), "Rows": 512},
    )
    choice = choose(study)
    assert choice.chosen is None
    assert choice.reason == "2 of 2 are equally good"
    assert set(verdicts(choice).values()) == {"nothing tells it from 1 other"}


def test_the_error_names_each_of_several_equals_by_number_and_uid(series, tmp_path):
    study = series(*({"SeriesDescription": "Jane Doe T2"} for _ in range(3)))
    error = choice_error(choose(study), tmp_path)
    assert isinstance(error, ChoiceError)
    assert isinstance(error, StudyError)
    said = str(error)
    assert f"{tmp_path} must hold one sagittal T2 series: 3 of 3 are equally good." in said
    assert "series 2 (1.2.2): nothing tells it from 2 others; series 3 (1.2.3): nothing" in said
    assert "Jane" not in said
    assert "\n" not in said


def test_the_error_names_the_rule_that_each_series_fails(series, tmp_path):
    study = series({"EchoTime": 12}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"})
    said = str(choice_error(choose(study), tmp_path))
    assert "none of 2 is one. series 1 (1.2.1): it is not T2-weighted (TE 12 ms" in said
    assert "series 2 (1.2.2): it is not an MR image series." in said


@pytest.mark.parametrize("image_type", [DERIVED, ["DERIVED", "PRIMARY", "M"]])
def test_a_derived_series_wins_alone_with_a_warning(series, image_type):
    choice = choose(series({"ImageType": image_type}))
    assert choice.reason.endswith("; it is DERIVED, but no original one passed")
    assert [note["code"] for note in notes_about(choice)] == ["derived_series"]


def test_two_equal_derived_series_are_never_chosen_between(series):
    assert choose(series({"ImageType": DERIVED}, {"ImageType": DERIVED})).chosen is None


def test_an_empty_study_has_no_choice():
    assert choose([]).chosen is None


def test_a_series_of_another_level_is_chosen_alone_with_a_warning(series):
    choice = choose(series({"SeriesDescription": "Jane Doe T2 neck"}))
    (note,) = notes_about(choice)
    assert note["code"] == "other_level"
    assert "Jane" not in note["message"]


def test_the_first_of_two_scans_is_used_with_a_warning(stack):
    images = stack(3, "b", AcquisitionNumber=5) + stack(3, "a", AcquisitionNumber=4)
    choice = choose(group_series(images))
    assert [path.stem for path in choice.chosen.series.files] == ["a-0", "a-1", "a-2"]
    (note,) = notes_about(choice)
    assert note == {
        "code": "repeated_scan",
        "message": "the same places were scanned 2 times; scan 1 is used",
    }


def test_the_t2_echo_of_two_is_chosen(stack):
    images = stack(3, "pd", EchoTime=15) + stack(3, "t2", EchoTime=95)
    choice = choose(group_series(images))
    assert [path.stem for path in choice.chosen.series.files] == ["t2-0", "t2-1", "t2-2"]
    assert choice.chosen.series.label == "series ? (1.2.3, part 2 of 2)"


def test_a_named_series_is_used_whatever_its_weighting(series):
    study = series({}, {"EchoTime": 12, "RepetitionTime": 500})
    choice = choose_named(study, "1.2.2")
    assert choice.chosen.series is study[1]
    assert choice.reason == (
        "series 2 (1.2.2): the user named it, although it is not T2-weighted "
        "(TE 12 ms, TR 500 ms: T1)"
    )
    assert [note["code"] for note in notes_about(choice)] == ["overruled_choice"]
    assert verdicts(choice) == {1: "the user named another", 2: ""}


def test_a_named_series_that_passes_comes_without_warning(series):
    choice = choose_named(series({}, {}), "1.2.1")
    assert choice.reason == "series 1 (1.2.1): the user named it"
    assert notes_about(choice) == ()


def test_an_unknown_series_is_refused_with_those_there_are(series):
    with pytest.raises(StudyError, match=r"got 1.2.9. There are 1.2.1, 1.2.2.$"):
        choose_named(series({}, {}), "1.2.9")


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "it is not sagittal but axial"),
        ({"count": 1}, "it has 1 slice where at least 2 are needed"),
        ({"PixelSpacing": None}, "slice-0.dcm must have 2 finite values of PixelSpacing"),
    ],
)
def test_a_named_series_must_still_be_readable(series, attributes, rule):
    with pytest.raises(StudyError, match=f"must name one series of sagittal slices: .*{rule}"):
        choose_named(series(attributes), "1.2.1")


def test_an_oblique_series_may_be_named(series):
    study = series({"ImageOrientationPatient": oblique(40)})
    assert choose(study).chosen is None
    assert "turned 40 degrees" in choose_named(study, "1.2.1").reason


def test_the_parts_of_a_named_series_are_told_apart(stack):
    images = stack(3, "pd", EchoTime=15) + stack(3, "t2", EchoTime=95)
    study = group_series(images)
    assert choose_named(study, "1.2.3").chosen.series is study[1]
    assert choose_named(study, "1.2.3:1").chosen.series is study[0]
    with pytest.raises(StudyError, match="must be the SeriesInstanceUID of a series"):
        choose_named(study, "1.2.3:3")


def test_the_first_scan_of_a_named_series_is_used(stack):
    images = [
        *stack(3, "a", EchoTime=12, AcquisitionNumber=1),
        *stack(3, "b", EchoTime=12, AcquisitionNumber=2),
    ]
    study = group_series(images)
    assert choose_named(study, "1.2.3").chosen.series is study[0]


def test_a_named_series_of_several_equal_parts_is_refused(stack):
    study = group_series(stack(3, "a", Rows=500) + stack(3, "b"))
    with pytest.raises(StudyError, match=r"part 1 of 2\): it can be read; .* its UID, a colon and"):
        choose_named(study, "1.2.3")
