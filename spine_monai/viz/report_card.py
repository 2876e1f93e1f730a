"""One case as a part of the quality report: a row of figures, and under it what to look at."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from spine_monai.geometry import project_on_slice
from spine_monai.viz.level_distances import LevelDistance
from spine_monai.viz.markup import Markup, element
from spine_monai.viz.report_cases import CaseView, Concern
from spine_monai.viz.slice_svg import slice_picture
from spine_monai.viz.spine_plot import distance_plot

BADGES = {
    Concern.FAILED: "failed",
    Concern.CHECK: "check",
    Concern.WARNED: "warning",
    Concern.NONE: "no warning",
}
STATUSES = {"failed": "", "earlier": "from an earlier run"}
COLUMNS = 6
NOTHING = "–"  # noqa: RUF001 - a dash stands for no value
IN_PLANE_MM = 0.05


def case_card(view: CaseView, rank: int) -> Markup:
    """Return the part of a case.

    Args:
        view: the case.
        rank: its place in the order worst first, from 1.
    """
    return element(
        "tbody",
        element("tr", *_figures(view, rank), class_="figures"),
        element("tr", element("td", _panel(view), colspan=COLUMNS), class_="body"),
        id=f"case-{rank}",
        class_=f"case {view.concern.name.lower()}",
        data_rank=rank,
        data_case=view.case,
        data_confidence=_precise(view.least_confidence),
        data_radius=_precise(view.widest_radius_mm),
        data_warnings=count_warnings(view),
        data_duration=_precise(view.duration_s),
        data_concern=view.concern.name.lower(),
    )


def count_warnings(view: CaseView) -> int:
    """Return how many warnings a case has, those of the page among them."""
    return len(view.warnings) + len(view.observations)


def link_list(folder: str, names: Sequence[str]) -> Markup:
    """Return links to files, relative to the page.

    Args:
        folder: name of the folder beside the page; empty for the page's own.
        names: of the files.
    """
    base = f"./{quote(folder)}/" if folder else "./"
    items = [element("li", element("a", name, href=base + quote(name))) for name in names]
    return element("ul", *items, class_="files")


def _precise(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _figures(view: CaseView, rank: int) -> list[Markup]:
    badge = element("span", BADGES[view.concern], class_="badge")
    name = element("a", view.case, href=f"#case-{rank}", class_="name")
    status = element("span", STATUSES.get(view.status, view.status), class_="status")
    confidence, radius, seconds = view.least_confidence, view.widest_radius_mm, view.duration_s
    return [
        element("td", str(rank), class_="rank"),
        element("th", name, " ", badge, " ", status, scope="row"),
        element("td", _number(confidence, 3)),
        element("td", NOTHING if radius is None else f"{radius:.1f} mm"),
        element("td", str(count_warnings(view))),
        element("td", NOTHING if seconds is None else f"{seconds:.1f} s"),
    ]


def _panel(view: CaseView) -> Markup:
    if view.record is None:
        return element("div", element("div", *_words(view), class_="words"), class_="panel")
    return element(
        "div",
        _picture(view),
        element("div", *_words(view), _points(view.record), class_="words"),
        element(
            "figure",
            element("figcaption", "Distances between neighbours"),
            distance_plot(view.levels),
            element("p", _size(view.levels), class_="aside"),
        ),
        class_="panel",
    )


def _picture(view: CaseView) -> Markup:
    if view.thumbnail is None:
        return element("p", "no picture: localize with the format report", class_="picture none")
    picture = slice_picture(view.case, view.thumbnail, view.landmarks)
    button = element(
        "button", "enlarge", type="button", aria_pressed="false", class_="enlarge", hidden=True
    )
    return element("figure", element("div", picture, class_="slice"), button, class_="picture")


def _size(levels: Sequence[LevelDistance]) -> str:
    if not any(level.judgement for level in levels):
        return "No distance can be judged."
    return f"The spine is {levels[0].size:.2f} times the usual size."


def _words(view: CaseView) -> list[Markup]:
    said = [element("li", w["message"], data_code=w["code"]) for w in view.warnings]
    said += [element("li", message, data_code="page") for message in view.observations]
    parts = [element("ul", *said, class_="warnings")] if said else []
    label = "Failed" if view.status == "failed" else "Series"
    facts = [element("dt", label), element("dd", view.reason)] if view.reason else []
    if view.record is not None:
        facts += [element("dt", "Source"), element("dd", str(view.record["source"]["path"]))]
        facts += [element("dt", "Slice"), element("dd", _slice(view.record))]
    parts.append(element("dl", *facts))
    if view.record is None and view.files:
        parts.append(element("p", "In its folder, from an earlier run or damaged:", class_="aside"))
    return [*parts, link_list(view.case, view.files)]


def _slice(record: Mapping[str, Any]) -> str:
    place = record["slice"]
    said = f"{place['index']} (from the patient's left)"
    if place.get("choice"):
        said += f": {place['choice']}"
    return said if record["calibrated"] else f"{said}; confidence is not calibrated, it only ranks"


def _points(record: Mapping[str, Any]) -> Markup:
    frame = np.asarray(record["slice"]["lps_from_column_row"])
    offsets = [_offset_mm(entry, frame) for entry in record["landmarks"]]
    is_off = any(offset is not None and offset > IN_PLANE_MM for offset in offsets)
    heads = ["landmark", "status", "left", "posterior", "head", "confidence", "radius"]
    heads += ["off slice"] if is_off else []
    rows = [
        _point(entry, [offset] if is_off else [])
        for entry, offset in zip(record["landmarks"], offsets, strict=True)
    ]
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    return element(
        "details",
        element("summary", f"{len(rows)} points (LPS mm)"),
        element("table", element("thead", head), element("tbody", *rows), class_="points"),
        open=True,
    )


def _point(entry: Mapping[str, Any], further: Sequence[float | None]) -> Markup:
    position = entry["position_lps_mm"] or [None] * 3
    cells = [_number(value, 1) for value in position]
    cells += [_number(entry["confidence"], 3), _number(entry["radius95_mm"], 1)]
    cells += [_number(value, 1) for value in further]
    name = element("th", entry["name"], scope="row")
    values = [element("td", cell) for cell in [entry["status"], *cells]]
    return element("tr", name, *values, class_=entry["status"])


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _offset_mm(entry: Mapping[str, Any], frame: Any) -> float | None:
    """How far a landmark lies from the slice."""
    if entry["position_lps_mm"] is None:
        return None
    point_lps = np.asarray(entry["position_lps_mm"], dtype=np.float64)
    return float(np.linalg.norm(point_lps - project_on_slice(point_lps, frame)))
