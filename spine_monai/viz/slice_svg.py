"""The picture of a case on the page: its thumbnail with the landmarks drawn over it as SVG.

Drawn, not painted: hovering over a landmark tells its name, confidence and radius, and the picture
can be enlarged. SVG units are pixels of the thumbnail; pixel centres lie at whole numbers and a
half.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spine_monai.geometry import points_xy_from_lps, spacing_mm
from spine_monai.viz.markup import Markup, element, joined
from spine_monai.viz.thumbnails import Thumbnail

LABEL_GAP_PX = 26.0
LABEL_WIDTH_PX = 50.0
CROSS_PX = 3.0


def slice_picture(
    case: str, thumbnail: Thumbnail, landmarks: Sequence[Mapping[str, Any]]
) -> Markup:
    """Return the thumbnail under its landmarks, as HTML.

    Args:
        case: id, for the description of the picture.
        thumbnail: the slice.
        landmarks: entries of ``landmarks.json``; absent ones are not drawn.
    """
    there = [entry for entry in landmarks if entry["position_lps_mm"] is not None]
    image = element(
        "img",
        src=f"data:image/jpeg;base64,{b64encode(thumbnail.jpeg).decode()}",
        width=thumbnail.columns,
        height=thumbnail.rows,
        alt=f"sagittal slice of {case}",
        loading="lazy",
        decoding="async",
    )
    drawing = element(
        "svg",
        *(_landmark(entry, thumbnail) for entry in there),
        viewBox=f"0 0 {thumbnail.columns} {thumbnail.rows}",
        role="img",
        aria_label=_description(landmarks),
    )
    return joined(image, drawing)


def _in_words(entry: Mapping[str, Any]) -> str:
    said = f"{entry['name']}: {entry['status']}, confidence {entry['confidence']:.3f}, "
    return said + f"95 % radius {entry['radius95_mm']:.1f} mm"


def _description(landmarks: Sequence[Mapping[str, Any]]) -> str:
    unsure = [f"{e['name']} {e['status']}" for e in landmarks if e["status"] != "found"]
    return f"{len(landmarks)} landmarks, {', '.join(unsure) or 'all found'}"


def _landmark(entry: Mapping[str, Any], thumbnail: Thumbnail) -> Markup:
    frame = thumbnail.lps_from_column_row
    x, y = (points_xy_from_lps(entry["position_lps_mm"], frame) + 0.5).tolist()
    radius = float(entry["radius95_mm"] / np.mean(spacing_mm(frame)[:2]))
    side = -1 if x + radius + LABEL_GAP_PX + LABEL_WIDTH_PX > thumbnail.columns else 1
    edge, text = x + side * radius, x + side * (radius + LABEL_GAP_PX)
    cross = f"M{x - CROSS_PX:.2f} {y:.2f}h{2 * CROSS_PX}M{x:.2f} {y - CROSS_PX:.2f}v{2 * CROSS_PX}"
    label = entry["name"] + ("" if entry["status"] == "found" else " ?")
    return element(
        "g",
        element("title", _in_words(entry)),
        element("circle", cx=x, cy=y, r=radius),
        element("path", d=f"{cross}M{edge:.2f} {y:.2f}H{text - 2 * side:.2f}"),
        element("text", label, x=text, y=y + 3.5, text_anchor="start" if side == 1 else "end"),
        class_=f"landmark {entry['kind']} {entry['status']}",
    )
