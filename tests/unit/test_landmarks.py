"""The registry of landmarks, and what was found of them."""

import dataclasses

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from spine_monai.landmarks import (
    LUMBAR11,
    LUMBAR13,
    REGISTRIES,
    RSNA_CANAL5,
    Landmark,
    LandmarkRegistry,
    LandmarkSet,
    describe_set,
    kind_groups,
    level_kind,
    load_registry,
)

THREE = LandmarkRegistry(
    "three", (Landmark("L4", "vertebra"), Landmark("L4-L5", "disc"), Landmark("L5", "vertebra"))
)
NAN = np.nan


def landmark_set(**changes):
    values = {
        "points_lps": np.array([[1.0, 2.0, 3.0], [NAN, NAN, NAN], [4.0, 5.0, 6.0]]),
        "confidence": np.array([0.9, NAN, 0.2]),
        "radius95_mm": np.array([2.0, NAN, 9.0]),
    }
    return LandmarkSet(THREE, **(values | changes))


def write_yaml(folder, text):
    path = folder / "set.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_lumbar_landmarks_stand_head_to_foot_in_the_order_of_the_design():
    assert LUMBAR11.names == (
        *("T12-L1", "L1", "L1-L2", "L2", "L2-L3", "L3"),
        *("L3-L4", "L4", "L4-L5", "L5", "L5-S1"),
    )
    assert len(LUMBAR11) == 11


def test_a_set_of_ones_own_is_described_by_its_content_and_not_by_its_file(tmp_path):
    text = "name: mine\nlandmarks:\n- {name: L4, kind: vertebra}\n"
    described = describe_set(write_yaml(tmp_path, text))
    own = {"name": "L4", "kind": "vertebra", "snomed_code": None}
    assert described == {"name": "mine", "landmarks": [own]}
    assert describe_set(write_yaml(tmp_path, "# a comment\n" + text)) == described
    assert describe_set(write_yaml(tmp_path, text.replace("L4", "L5"))) != described
    assert describe_set("lumbar11") == "lumbar11"


def test_discs_and_vertebrae_alternate():
    assert LUMBAR11.kinds == ("disc", "vertebra") * 5 + ("disc",)


def test_each_kind_is_the_one_that_the_name_implies():
    assert LUMBAR11.kinds == tuple(level_kind(name) for name in LUMBAR11.names)


def test_a_level_with_a_hyphen_is_a_disc_and_one_without_is_a_vertebra():
    assert (level_kind("T11-T12"), level_kind("T12")) == ("disc", "vertebra")


def test_the_codes_are_those_of_the_standard():
    """Context groups 7603 (vertebrae) and 7604 (discs), as pydicom carries them."""
    for landmark in LUMBAR13.landmarks:
        keyword = landmark.name.replace("-", "") + landmark.kind.capitalize()
        group = codes.cid7604 if landmark.kind == "disc" else codes.cid7603
        assert getattr(group, keyword).value == landmark.snomed_code


def test_the_thirteen_are_two_levels_at_the_head_and_then_the_eleven():
    assert LUMBAR13.names[:2] == ("T11-T12", "T12")
    assert LUMBAR13.landmarks[-11:] == LUMBAR11.landmarks
    assert len(LUMBAR13) == 13


def test_the_thirteen_alternate_too_and_are_of_the_kinds_that_their_names_imply():
    assert LUMBAR13.kinds == ("disc", "vertebra") * 6 + ("disc",)
    assert LUMBAR13.kinds == tuple(level_kind(name) for name in LUMBAR13.names)


def test_no_two_landmarks_share_a_code():
    assert len({landmark.snomed_code for landmark in LUMBAR13.landmarks}) == 13


def test_the_canal_points_stand_behind_the_lumbar_discs_and_are_never_taken_for_them():
    levels = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
    assert RSNA_CANAL5.names == tuple(f"canal {level}" for level in levels)
    assert not set(RSNA_CANAL5.names) & set(LUMBAR13.names)
    assert {mark.snomed_code for mark in RSNA_CANAL5.landmarks} == {None}
    assert load_registry("rsna_canal5") is RSNA_CANAL5


def test_a_registry_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LUMBAR11.name = "other"


@pytest.mark.parametrize("landmarks", [(), (Landmark("L1", "vertebra"), Landmark("L1", "disc"))])
def test_a_registry_that_does_not_name_each_landmark_once_is_refused(landmarks):
    with pytest.raises(ValueError, match="'mine' must name each landmark once"):
        LandmarkRegistry("mine", landmarks)


def test_a_registry_is_found_by_its_name():
    assert load_registry("lumbar11") is REGISTRIES["lumbar11"] is LUMBAR11
    assert load_registry("lumbar13") is REGISTRIES["lumbar13"] is LUMBAR13


def test_a_registry_is_read_from_a_file(tmp_path):
    path = write_yaml(
        tmp_path,
        "name: mine\nlandmarks:\n"
        "  - {name: L5-S1, kind: disc, snomed_code: '715056000'}\n  - {name: S1, kind: vertebra}\n",
    )
    expected = (Landmark("L5-S1", "disc", "715056000"), Landmark("S1", "vertebra", None))
    assert load_registry(path) == LandmarkRegistry("mine", expected)
    assert load_registry(str(path)) == load_registry(path)


def test_an_unknown_registry_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError,
        match=r"one of \['lumbar11', 'lumbar13', 'rsna_canal5'\] or a YAML file: got cervical7",
    ):
        load_registry("cervical7")


@pytest.mark.parametrize(
    "text",
    [
        "name: mine\n",
        "landmarks: [{name: L1, kind: vertebra}]\n",
        "name: mine\nlandmarks: [{name: L1}]\n",
        "name: mine\nlandmarks: [{kind: disc}]\n",
        "name: mine\nlandmarks: [L1, L2]\n",
        "- mine\n",
        "",
    ],
)
def test_a_file_that_describes_no_registry_is_refused(tmp_path, text):
    path = write_yaml(tmp_path, text)
    with pytest.raises(ValueError, match=r"set\.yaml must hold 'name' and 'landmarks'"):
        load_registry(path)


def test_an_unknown_kind_is_refused(tmp_path):
    path = write_yaml(tmp_path, "name: mine\nlandmarks: [{name: L1, kind: bone}]\n")
    with pytest.raises(ValueError, match="kind of landmark 'L1' must be 'disc' or 'vertebra'"):
        load_registry(path)


def test_a_landmark_is_found_uncertain_or_absent():
    assert landmark_set().statuses == ("found", "absent", "uncertain")


def test_a_point_that_lacks_one_coordinate_is_absent():
    points = np.array([[1.0, 2.0, NAN], [1.0, NAN, 3.0], [NAN, 2.0, 3.0]])
    assert landmark_set(points_lps=points, confidence=np.ones(3)).statuses == ("absent",) * 3


def test_confidence_at_the_limit_is_enough():
    points = np.zeros((3, 3))
    confidence = np.array([0.7, 0.699, 0.701])
    found = landmark_set(
        points_lps=points,
        confidence=confidence,
        radius95_mm=np.array([2.0, 3.0, 4.0]),
        min_confidence=0.7,
    )
    assert found.statuses == ("found", "uncertain", "found")


def test_a_point_of_too_wide_or_unknown_radius_is_uncertain():
    """A radius of 8 mm, that of a hit, is still narrow enough."""
    radii = np.array([8.0, 8.01, NAN])
    found = landmark_set(points_lps=np.zeros((3, 3)), confidence=np.ones(3), radius95_mm=radii)
    assert found.statuses == ("found", "uncertain", "uncertain")


def test_a_point_of_unknown_confidence_is_uncertain():
    unknown = {"confidence": np.full(3, NAN), "radius95_mm": np.ones(3)}
    found = landmark_set(points_lps=np.zeros((3, 3)), **unknown)
    assert found.statuses == ("uncertain",) * 3


def test_discs_are_the_first_group_of_kinds_and_vertebrae_the_second():
    assert kind_groups("lumbar11") == [0, 1] * 5 + [0]
    assert kind_groups("lumbar13") == [0, 1] * 6 + [0]


def test_a_set_is_not_calibrated_unless_it_says_so():
    assert not landmark_set().calibrated


@pytest.mark.parametrize(
    ("field", "shape", "expected"),
    [
        ("points_lps", (3, 2), r"\(3, 3\)"),
        ("points_lps", (4, 3), r"\(3, 3\)"),
        ("confidence", (3, 1), r"\(3,\)"),
        ("radius95_mm", (2,), r"\(3,\)"),
    ],
)
def test_an_array_that_does_not_fit_the_registry_is_refused(field, shape, expected):
    with pytest.raises(ValueError, match=f"{field} must have shape {expected} for three: got"):
        landmark_set(**{field: np.zeros(shape)})


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "set.yaml").write_text("name: [unclosed")
    with pytest.raises(ValueError, match=r"set.yaml must hold 'name' and 'landmarks'"):
        load_registry(tmp_path / "set.yaml")


def column_of(*heights_mm):
    """Landmarks one below the other, tilted towards posterior."""
    points = np.array([[3.0, 0.2 * -height, height] for height in heights_mm])
    count = len(heights_mm)
    registry = LandmarkRegistry("some", LUMBAR11.landmarks[:count])
    return LandmarkSet(registry, points, np.ones(count), np.ones(count))


def test_landmarks_in_order_are_not_complained_of():
    assert column_of(90, 72, 55, 36).out_of_order == []


def test_a_landmark_found_a_level_off_is_noticed():
    assert column_of(90, 72, 94, 36).out_of_order == [("L1", "L1-L2")]
    assert column_of(90, 72, 71, 36).out_of_order == [("L1", "L1-L2")]


def test_absent_landmarks_are_passed_over_in_the_order():
    assert column_of(90, np.nan, 55, 36).out_of_order == []
    assert column_of(90, np.nan, np.nan, 36).out_of_order == []
