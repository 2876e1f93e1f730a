"""The picture of a result: the slice with its named landmarks and how sure they are."""

from pathlib import Path
from typing import Any

import numpy as np

from spine_monai.geometry import lps_from_column_row, points_xy_from_lps, spacing_mm
from spine_monai.viz.figures import RESEARCH_NOTE, new_figure, save_figure
from spine_monai.writers.result import Result

COLORS = {"disc": "#ffd166", "vertebra": "#4cc9f0"}
HEIGHT_IN = 9.0


def draw_overlay(result: Result, path: Path) -> None:
    """Draw the landmarks on their slice, true to scale, and save the picture.

    Each point carries its name and confidence; a circle holds 95 % of the belief. A landmark of low
    confidence has a dashed circle and a question mark.

    Args:
        result: landmarks and the upright slice.
        path: PNG file to write.
    """
    pixels = result.image[0].numpy()
    row_mm, column_mm = spacing_mm(result.image.affine)[:2]
    height, width = pixels.shape[0] * row_mm, pixels.shape[1] * column_mm
    figure = new_figure(HEIGHT_IN * width / height, HEIGHT_IN * 1.05)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1 / 1.05))
    low, high = np.percentile(pixels, [0.5, 98.5])
    extent = (-column_mm / 2, width - column_mm / 2, height - row_mm / 2, -row_mm / 2)
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    axes.set_axis_off()
    _draw_points(axes, result, np.array([column_mm, row_mm]))
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    title = f"{_short(result.case)}  -  {RESEARCH_NOTE}"
    figure.text(0.02, 0.985, title, va="top", fontsize=10, color="#b00020")
    save_figure(figure, path)


def _draw_points(axes: Any, result: Result, pixel_mm: "np.ndarray[Any, Any]") -> None:
    landmarks = result.landmarks
    points_xy = points_xy_from_lps(landmarks.points_lps, lps_from_column_row(result.image.affine))
    rows = zip(
        landmarks.registry.landmarks,
        landmarks.statuses,
        points_xy * pixel_mm,
        landmarks.confidence,
        landmarks.radius95_mm,
        strict=True,
    )
    for landmark, status, (x, y), confidence, radius_mm in rows:
        if status != "absent":
            color, is_found = COLORS[landmark.kind], status == "found"
            label = f"{landmark.name}  {confidence:.0%}" + ("" if is_found else " ?")
            _draw_point(axes, x, y, radius_mm, label, color, "-" if is_found else "--")


def _draw_point(
    axes: Any, x: float, y: float, radius_mm: float, label: str, color: str, line: str
) -> None:
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    axes.plot([x], [y], marker="+", color=color, markersize=9, markeredgewidth=1.6)
    axes.add_patch(
        Circle((x, y), radius_mm, fill=False, color=color, linewidth=1.2, linestyle=line)
    )
    outline = [withStroke(linewidth=2.5, foreground="black")]
    x_text = x + max(radius_mm, 4.0) + 22.0
    axes.plot([x + radius_mm, x_text - 1], [y, y], color=color, linewidth=0.6, alpha=0.7)
    axes.text(x_text, y, label, color=color, fontsize=9, va="center", path_effects=outline)


def _short(case: str) -> str:
    return case if len(case) <= 24 else f"{case[:10]}...{case[-8:]}"
