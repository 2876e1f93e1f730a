"""A study's series as a table and as JSON: which were found, and why each was chosen or not.

Neither holds free text of the headers: series are named by number and UID.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spine_monai.readers.choice import Choice, notes_about
from spine_monai.readers.headers import Ignored
from spine_monai.readers.index import StudyIndex
from spine_monai.readers.rules import Candidate

FORMAT, FORMAT_VERSION = "spine_monai.series", 1
HEADINGS = ("series", "plane", "weighting", "slices", "matrix", "pixel mm", "slice mm")
CHOSEN = "CHOSEN"


def content_of(index: StudyIndex, choice: Choice) -> dict[str, Any]:
    """Return what was found at a path and what was chosen, for JSON."""
    return {
        **content_without_series(index.path, choice.reason),
        "chosen": choice.chosen.series.name if choice.chosen else None,
        "warnings": list(notes_about(choice)),
        "series": [_entry(one, verdict) for one, verdict in choice.verdicts],
        "ignored_files": {kind.name.lower(): index.ignored[kind] for kind in Ignored},
        "damaged_files": [str(path) for path in index.damaged],
    }


def content_without_series(study: Path, reason: str) -> dict[str, Any]:
    """Return the JSON of a path at which there is no choice, and why."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "study": str(study)}
    return {**head, "reason": reason, "chosen": None, "series": []}


def table_of(index: StudyIndex, choice: Choice) -> str:
    """Return the same as a table for people; under the row of a series stands its name."""
    rows = [_row(one) for one, _ in choice.verdicts]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    lines = [_aligned(HEADINGS, widths)]
    for row, (one, verdict) in zip(rows, choice.verdicts, strict=True):
        lines += [f"{_aligned(row, widths)}  {verdict or CHOSEN}", f"    {one.series.name}"]
    warnings = [f"warning: {note['message']}" for note in notes_about(choice)]
    return "\n".join([*lines, *_about_files(index), *warnings, _conclusion(choice)])


def _conclusion(choice: Choice) -> str:
    if choice.chosen:
        return choice.reason
    return f"no sagittal T2 series: {choice.reason}. One can be named by --series-uid."


def _entry(candidate: Candidate, verdict: str) -> dict[str, Any]:
    series, layout, weighting = candidate.series, candidate.layout, candidate.weighting
    part, parts = series.part
    return {
        "SeriesInstanceUID": series.uid,
        "StudyInstanceUID": series.uids.get("StudyInstanceUID"),
        "SeriesNumber": series.number,
        "name": series.name,
        "part": part,
        "parts": parts,
        "plane": layout.plane or None,
        "oblique_deg": round(layout.oblique_deg, 1) if layout.plane else None,
        "weighting": weighting.name,
        "evidence": weighting.evidence,
        "slices": layout.slices,
        "rows": layout.matrix[0],
        "columns": layout.matrix[1],
        "pixel_spacing_mm": _rounded(layout.pixel_mm or ()) or None,
        "slice_spacing_mm": _rounded(layout.step_range_mm) or None,
        "files": len(series.files),
        "is_chosen": not verdict,
        "failed_rule": candidate.failed_rule or None,
        "verdict": verdict or CHOSEN,
    }


def _row(candidate: Candidate) -> tuple[str, ...]:
    series, layout = candidate.series, candidate.layout
    part, parts = series.part
    number = "?" if series.number is None else str(series.number)
    steps_mm = dict.fromkeys(f"{step_mm:.2f}" for step_mm in layout.step_range_mm)
    return (
        f"{number} ({part}/{parts})" if parts > 1 else number,
        f"{layout.plane} {layout.oblique_deg:.0f}\N{DEGREE SIGN}" if layout.plane else "?",
        candidate.weighting.name,
        str(layout.slices),
        f"{layout.matrix[0]} x {layout.matrix[1]}",
        " x ".join(f"{mm:.3g}" for mm in layout.pixel_mm) if layout.pixel_mm else "?",
        " to ".join(steps_mm) or "?",
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _about_files(index: StudyIndex) -> list[str]:
    counts = [f"{index.ignored[kind]} {kind.value}" for kind in Ignored if index.ignored[kind]]
    lines = [f"ignored files: {', '.join(counts)}"] if counts else []
    if index.damaged:
        lines.append(f"damaged, the first of them: {index.damaged[0]}")
    return lines


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 4) for value in values]
