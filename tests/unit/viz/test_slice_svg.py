"""Landmarks over a thumbnail; where they belong comes from SimpleITK."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.viz.slice_svg import slice_picture
from spine_monai.viz.thumbnails import THUMBNAIL_FILE, read_thumbnail, thumbnail_jpeg
from spine_monai.writers import case_content


@pytest.fixture
def thumbnail(result, tmp_path):
    (tmp_path / THUMBNAIL_FILE).write_bytes(thumbnail_jpeg(result))
    return read_thumbnail(tmp_path / THUMBNAIL_FILE)


@pytest.fixture
def entries(result, located):
    return case_content(result, located, {}, {})["landmarks"]


def drawing_of(thumbnail, entries, case="case-1"):
    markup = slice_picture(case, thumbnail, entries)
    return ElementTree.fromstring(markup[markup.index("<svg") :])


def groups_of(drawing):
    return {group.find("title").text.split(":")[0]: group for group in drawing.iter("g")}


def test_landmarks_stand_where_they_belong(thumbnail, entries, landmarks, pristine_folder):
    """In edge-to-edge fractions of the picture, whatever its size."""
    image = sitk.ReadImage(str(pristine_folder / "0003.dcm"))
    columns, rows, _ = image.GetSize()
    groups = groups_of(drawing_of(thumbnail, entries))
    for name, point_lps in zip(landmarks.registry.names, landmarks.points_lps, strict=True):
        if np.isnan(point_lps).any():
            continue
        x, y, _ = image.TransformPhysicalPointToContinuousIndex(point_lps)
        circle = groups[name].find("circle")
        across = float(circle.get("cx")) / thumbnail.columns
        down = float(circle.get("cy")) / thumbnail.rows
        assert across == pytest.approx((x + 0.5) / columns, abs=1e-3)
        assert down == pytest.approx((y + 0.5) / rows, abs=1e-3)


def test_a_circle_holds_the_radius(thumbnail, entries, landmarks):
    circle = groups_of(drawing_of(thumbnail, entries))["L1-L2"].find("circle")
    radius_mm = landmarks.radius95_mm[landmarks.registry.names.index("L1-L2")]
    assert float(circle.get("r")) * 2.4 == pytest.approx(radius_mm, abs=0.03)


def test_absent_landmarks_are_said_and_not_drawn(thumbnail, entries):
    drawing = drawing_of(thumbnail, entries)
    assert "L3" not in groups_of(drawing)
    assert len(groups_of(drawing)) == 10
    assert drawing.get("aria-label") == "11 landmarks, L3 absent, L5 uncertain"


def test_names_confidence_and_doubt_are_told(thumbnail, entries):
    groups = groups_of(drawing_of(thumbnail, entries))
    assert groups["L5"].get("class") == "landmark vertebra uncertain"
    assert groups["L5"].find("text").text == "L5 ?"
    assert groups["L4-L5"].get("class") == "landmark disc found"
    assert groups["L4-L5"].find("text").text == "L4-L5"
    title = groups["L5"].find("title").text
    assert re.fullmatch(r"L5: uncertain, confidence 0\.250, 95 % radius 6\.5 mm", title)


def test_a_label_turns_round_at_the_edge(thumbnail, entries):
    anchors = {
        name: group.find("text").get("text-anchor")
        for name, group in groups_of(drawing_of(replace(thumbnail, columns=400), entries)).items()
    }
    assert set(anchors.values()) == {"start"}
    anchors = {
        name: group.find("text").get("text-anchor")
        for name, group in groups_of(drawing_of(replace(thumbnail, columns=60), entries)).items()
    }
    assert set(anchors.values()) == {"end"}


def test_the_picture_itself_is_in_the_page(thumbnail, entries):
    markup = slice_picture('a "b" <c>', thumbnail, entries)
    image = markup[: markup.index("<svg")]
    assert 'src="data:image/jpeg;base64,' in image
    assert 'alt="sagittal slice of a &quot;b&quot; &lt;c&gt;"' in image
    assert f'width="{thumbnail.columns}" height="{thumbnail.rows}"' in image
    assert 'loading="lazy"' in image
