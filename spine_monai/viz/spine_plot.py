"""The plot of a spine: distances between neighbouring landmarks against what is usual, as SVG.

One row a pair, head to foot. The pale bar is the usual range in mm, the dark one that of a spine of
this size; the mark is the case's own distance. Its shape, and not only its color, says whether it
is usual.
"""

import math
from collections.abc import Sequence

from spine_monai.viz.level_distances import LevelDistance
from spine_monai.viz.markup import Markup, element

ROW_PX, TOP_PX, LABEL_PX, VALUE_PX, WIDTH_PX = 20, 8, 92, 40, 340
LEAST_SCALE_MM, MOST_SCALE_MM, STEP_MM = 30, 90, 10


def distance_plot(levels: Sequence[LevelDistance]) -> Markup:
    """Return the plot of a case's distances.

    Args:
        levels: neighbours, head to foot, as ``measure_levels`` gives them.
    """
    scale = _Scale(levels)
    bottom = TOP_PX + ROW_PX * len(levels)
    rows = [_row(level, scale, TOP_PX + ROW_PX * (i + 0.5)) for i, level in enumerate(levels)]
    return element(
        "svg",
        *(_tick(mm, scale.x(mm), bottom) for mm in range(0, scale.most_mm + 1, STEP_MM)),
        *rows,
        element("text", "mm", class_="axis", x=WIDTH_PX, y=bottom + 14, text_anchor="end"),
        viewBox=f"0 0 {WIDTH_PX} {bottom + 18}",
        class_="levels",
        role="img",
        aria_label=_description(levels),
    )


class _Scale:
    """Millimetres to SVG units; what lies beyond the longest is drawn at the edge."""

    def __init__(self, levels: Sequence[LevelDistance]) -> None:
        known = [level.distance_mm for level in levels if not math.isnan(level.distance_mm)]
        longest = math.ceil(max(known, default=0.0) / STEP_MM) * STEP_MM
        self.most_mm = min(max(longest, LEAST_SCALE_MM), MOST_SCALE_MM)

    def x(self, mm: float) -> float:
        width = WIDTH_PX - LABEL_PX - VALUE_PX
        return LABEL_PX + width * min(max(mm, 0.0), self.most_mm) / self.most_mm


def _description(levels: Sequence[LevelDistance]) -> str:
    odd = [
        f"{level.upper} to {level.lower} {level.distance_mm:.1f} mm is {level.judgement}"
        for level in levels
        if level.judgement not in ("usual", None)
    ]
    judged = sum(level.judgement is not None for level in levels)
    return f"{judged} distances between neighbours: {', '.join(odd) or 'none unusual'}"


def _tick(mm: int, x: float, bottom: float) -> Markup:
    return element(
        "g",
        element("path", d=f"M{x:.1f} {TOP_PX}V{bottom}", class_="grid"),
        element("text", str(mm), class_="axis", x=x, y=bottom + 14, text_anchor="middle"),
    )


def _row(level: LevelDistance, scale: _Scale, y: float) -> Markup:
    is_known = not math.isnan(level.distance_mm)
    value = f"{level.distance_mm:.1f}" if is_known else "absent"
    return element(
        "g",
        element("title", _in_words(level)),
        element("text", f"{level.upper} – {level.lower}", x=0, y=y + 4),  # noqa: RUF001
        *_bars(level, scale, y),
        *([_mark(level, scale.x(level.distance_mm), y)] if is_known else []),
        element("text", value, x=WIDTH_PX, y=y + 4, text_anchor="end"),
        class_=f"level {level.judgement or 'unknown'}",
    )


def _in_words(level: LevelDistance) -> str:
    pair = f"{level.upper} to {level.lower}"
    said = "absent" if math.isnan(level.distance_mm) else f"{level.distance_mm:.1f} mm"
    if level.normal is None or level.sized_mm is None:
        return f"{pair}: {said}; what is usual is not known"
    (low, high), (sized_low, sized_high) = level.normal.plain_mm, level.sized_mm
    usual = f"usual {low:.1f} to {high:.1f} mm, {sized_low:.1f} to {sized_high:.1f} mm at this size"
    return f"{pair}: {said} ({level.judgement or 'not judged'}; {usual})"


def _bars(level: LevelDistance, scale: _Scale, y: float) -> list[Markup]:
    if level.normal is None or level.sized_mm is None:
        return []
    return [
        _bar("plain", level.normal.plain_mm, scale, y, 14),
        _bar("sized", level.sized_mm, scale, y, 6),
    ]


def _bar(
    name: str, range_mm: tuple[float, float], scale: _Scale, y: float, height: float
) -> Markup:
    left, right = map(scale.x, range_mm)
    return element("rect", class_=name, x=left, y=y - height / 2, width=right - left, height=height)


def _mark(level: LevelDistance, x: float, y: float) -> Markup:
    """A dot where usual or not judged, a diamond where unusual, a cross where far."""
    shapes = {"unusual": "M0-6L6 0L0 6L-6 0Z", "far": "M-5-5L5 5M-5 5L5-5"}
    shape = shapes.get(level.judgement or "")
    if shape is None:
        return element("circle", class_="mark", cx=x, cy=y, r=4)
    return element("path", class_="mark", d=shape, transform=f"translate({x:.1f} {y:.1f})")
