"""Slicer markups: the fields that Slicer's schema asks for, and the values."""

import json

import numpy as np
import pytest

from spine_monai.landmarks import LUMBAR11
from spine_monai.writers import markups_text


@pytest.fixture
def content(landmarks):
    return json.loads(markups_text(landmarks))


def test_slicer_recognizes_the_file(content):
    assert content["@schema"].endswith("/markups-schema-v1.0.3.json#")
    (markup,) = content["markups"]
    assert markup["type"] == "Fiducial"
    assert markup["coordinateSystem"] == "LPS"
    assert markup["coordinateUnits"] == "mm"


def test_control_points_are_named_and_placed(content, landmarks):
    points = content["markups"][0]["controlPoints"]
    assert tuple(point["label"] for point in points) == LUMBAR11.names
    assert [point["id"] for point in points] == [str(number) for number in range(1, 12)]
    for point, expected in zip(points, landmarks.points_lps, strict=True):
        if point["label"] != "L3":
            assert point["positionStatus"] == "defined"
            assert point["position"] == expected.tolist()


def test_an_absent_landmark_is_an_undefined_point(content):
    points = content["markups"][0]["controlPoints"]
    (point,) = [p for p in points if p["positionStatus"] == "undefined"]
    assert point["label"] == "L3"
    assert len(point["position"]) == 3
    assert point["description"] == "absent; research only"


def test_each_point_has_its_confidence(content, landmarks):
    (measurement,) = content["markups"][0]["measurements"]
    assert measurement["name"] == "confidence"
    expected = np.nan_to_num(landmarks.confidence)
    assert measurement["controlPointValues"] == expected.tolist()


def test_an_uncertain_landmark_says_so(content):
    descriptions = {p["label"]: p["description"] for p in content["markups"][0]["controlPoints"]}
    assert descriptions["L5"].startswith("uncertain")
    assert descriptions["L4"].startswith("found")
