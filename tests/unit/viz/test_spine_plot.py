"""The plot of distances, read as XML."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from spine_monai.landmarks import LUMBAR11
from spine_monai.viz.level_distances import NORMAL, measure_levels
from spine_monai.viz.spine_plot import distance_plot

USUAL_MM = [NORMAL[pair].median_mm for pair in pairwise(LUMBAR11.names)]


def plotted(distances_mm, names=LUMBAR11.names):
    along = np.concatenate([[0.0], np.cumsum(distances_mm)])
    points = along[:, None] * [0.0, 0.0, -1.0]
    return ElementTree.fromstring(distance_plot(measure_levels(names, points)))


def rows_of(plot):
    return [group for group in plot.iter("g") if group.get("class", "").startswith("level ")]


def mm_of(plot, x):
    """Millimetres of a place, by the plot's own ticks."""
    ticks = {float(t.text): float(t.get("x")) for t in plot.iter("text") if t.text.isdigit()}
    (low, left), (high, right) = min(ticks.items()), max(ticks.items())
    return low + (x - left) * (high - low) / (right - left)


def test_marks_and_bars_stand_where_the_axis_says():
    plot = plotted(USUAL_MM)
    for row, pair, mm in zip(rows_of(plot), pairwise(LUMBAR11.names), USUAL_MM, strict=True):
        assert mm_of(plot, float(row.find("circle").get("cx"))) == pytest.approx(mm, abs=0.1)
        plain, sized = row.findall("rect")
        for bar, range_mm in ((plain, NORMAL[pair].plain_mm), (sized, NORMAL[pair].sized_mm)):
            left, width = float(bar.get("x")), float(bar.get("width"))
            edges = mm_of(plot, left), mm_of(plot, left + width)
            assert edges == pytest.approx(range_mm, abs=0.1)


def test_rows_go_from_head_to_foot_and_name_their_value():
    rows = rows_of(plotted(USUAL_MM))
    heights = [float(row.find("circle").get("cy")) for row in rows]
    assert heights == sorted(heights)
    assert [text.text for text in rows[3].iter("text")] == ["L2 – L2-L3", "18.0"]  # noqa: RUF001


def test_the_shape_says_what_is_odd():
    distances = list(USUAL_MM)
    distances[2], distances[7] = 24.0, 47.0
    plot = plotted(distances)
    rows = rows_of(plot)
    shapes = {rows[2].find("path").get("d"), rows[7].find("path").get("d")}
    assert len(shapes) == 2
    assert rows[5].find("circle") is not None
    assert [row.get("class") for row in (rows[2], rows[7])] == ["level unusual", "level far"]
    said = plot.get("aria-label")
    assert "L1-L2 to L2 24.0 mm is unusual, L4 to L4-L5 47.0 mm is far" in said
    place = rows[7].find("path").get("transform").split("(")[1].split()[0]
    assert mm_of(plot, float(place)) == pytest.approx(47.0, abs=0.2)


def test_nothing_is_drawn_beyond_the_edge():
    distances = list(USUAL_MM)
    distances[1] = 500.0
    plot = plotted(distances)
    width = float(plot.get("viewBox").split()[2])
    place = rows_of(plot)[1].find("path").get("transform").split("(")[1].split()[0]
    assert float(place) < width
    assert rows_of(plot)[1].findall("text")[-1].text == "500.0"


def test_an_absent_landmark_has_bars_and_no_mark():
    points = np.cumsum([0.0, *USUAL_MM])[:, None] * np.array([0.0, 1.0, 0.0])
    points[0] = np.nan
    plot = ElementTree.fromstring(distance_plot(measure_levels(LUMBAR11.names, points)))
    row = rows_of(plot)[0]
    assert (len(row.findall("rect")), row.find("circle")) == (2, None)
    assert row.findall("text")[-1].text == "absent"
    assert plot.get("aria-label") == "9 distances between neighbours: none unusual"


def test_levels_without_a_known_range_are_plotted_without_bars():
    plot = plotted([14.0], names=["C3", "<C4>"])
    (row,) = rows_of(plot)
    assert (row.findall("rect"), row.get("class")) == ([], "level unknown")
    assert "not known" in row.find("title").text
    assert row.find("text").text == "C3 – <C4>"  # noqa: RUF001
