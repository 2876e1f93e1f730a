"""``landmarks.json``: the full record of one case, and the mark that it is finished."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai import __version__
from spine_monai.geometry import points_xy_from_lps
from spine_monai.landmarks import Landmark, LandmarkSet
from spine_monai.readers import LocatedStudy
from spine_monai.writers.result import Result

RESULT_FILE = "landmarks.json"
FORMAT = "spine_monai.landmarks"
FORMAT_VERSION = 1
UID_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


def case_content(
    result: Result, study: LocatedStudy, bundle: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON-ready record of a case.

    Args:
        result: landmarks, source and slice.
        study: what was read; its digest goes into the record.
        bundle: description of the bundle.
        options: values that change results.
    """
    landmarks, frame = result.landmarks, np.asarray(result.slice["lps_from_column_row"])
    uids = {**result.source, "SOPInstanceUID": result.slice.get("SOPInstanceUID")}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "use": "research only, not for clinical use",
        "case": result.case,
        "software": {"name": "spine_monai", "version": __version__},
        "bundle": dict(bundle),
        "options": dict(options),
        "landmark_set": landmarks.registry.name,
        "coordinate_system": "LPS",
        "unit": "mm",
        "calibrated": landmarks.calibrated,
        "source": {
            "kind": result.source["kind"],
            "path": result.source["path"],
            "sha256": study.digest,
            "has_patient_geometry": result.source["kind"] != "picture",
            **{key: uids.get(key) for key in UID_KEYS},
        },
        "series_choice": study.reason,
        "slice": {
            "index": int(result.slice["index"]),
            "count": int(result.slice["count"]),
            "choice": result.slice_choice,
            "rows": int(result.slice["rows"]),
            "columns": int(result.slice["columns"]),
            "lps_from_column_row": frame.tolist(),
        },
        "landmarks": _landmarks(landmarks, frame, result.landmark_slices),
        "warnings": [*study.warnings, *result.warnings, *_warnings(landmarks)],
    }


def case_text(content: Mapping[str, Any]) -> str:
    """Return the record as text."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_case(path: Path) -> dict[str, Any]:
    """Read a ``landmarks.json``.

    Raises:
        ValueError: the file is none, or of another version.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_ours = (content["format"], content["format_version"]) == (FORMAT, FORMAT_VERSION)
        is_ours = is_ours and {"case", "landmark_set", "source", "slice", "landmarks"} <= set(
            content
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        msg = f"{path} must be a landmarks file of spine_monai: {error!r}."
        raise ValueError(msg) from error
    if not is_ours:
        msg = f"{path} must be complete and have format {FORMAT} version {FORMAT_VERSION}: got "
        msg += f"{content['format']} {content['format_version']} with {sorted(content)}."
        raise ValueError(msg)
    return content


def points_lps_of(content: Mapping[str, Any], names: Sequence[str]) -> NDArray[np.float64]:
    """Return (N, 3) LPS points of a record in the order of ``names``; NaN where absent."""
    found = {entry["name"]: entry["position_lps_mm"] for entry in content["landmarks"]}
    return np.array([found.get(name) or [np.nan] * 3 for name in names], dtype=np.float64)


def _landmarks(
    landmarks: LandmarkSet, frame: NDArray[np.float64], slices: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    points_xy = points_xy_from_lps(landmarks.points_lps, frame)
    rows = zip(
        landmarks.registry.landmarks,
        landmarks.statuses,
        landmarks.points_lps,
        points_xy,
        landmarks.confidence,
        landmarks.radius95_mm,
        strict=True,
    )
    entries = [_entry(*row) for row in rows]
    for entry, own in zip(entries, slices, strict=False):
        if entry["status"] != "absent":
            entry["slice"] = {key: own[key] for key in ("index", "SOPInstanceUID") if key in own}
    return entries


def _entry(
    landmark: Landmark,
    status: str,
    point_lps: NDArray[np.float64],
    point_xy: NDArray[np.float64],
    confidence: float,
    radius95_mm: float,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": landmark.name, "kind": landmark.kind, "status": status}
    nothing = {"position_lps_mm": None, "position_px": None, "confidence": None}
    if status == "absent":
        return entry | nothing | {"radius95_mm": None}
    return entry | {
        "position_lps_mm": point_lps.tolist(),
        "position_px": {"column": float(point_xy[0]), "row": float(point_xy[1])},
        "confidence": float(confidence),
        "radius95_mm": float(radius95_mm),
    }


def _warnings(landmarks: LandmarkSet) -> list[dict[str, str]]:
    pairs = zip(landmarks.registry.names, landmarks.statuses, strict=True)
    unsure = [name for name, status in pairs if status != "found"]
    warnings = []
    if unsure:
        message = f"look at {', '.join(unsure)}: their confidence is low, their radius is wide, or "
        message += "they were not found"
        warnings.append({"code": "uncertain_landmarks", "message": message})
    if landmarks.level_in_doubt:
        last = landmarks.registry.names[-1]
        message = f"count the levels yourself: {last} is seen at another level too, as with a "
        message += "transitional vertebra, so all landmarks may be named a level off"
        warnings.append({"code": "level_in_doubt", "message": message})
    if landmarks.out_of_order:
        names = "; ".join(f"{upper} and {lower}" for upper, lower in landmarks.out_of_order)
        message = f"look at {names}: they do not follow each other, one may be a level off"
        warnings.append({"code": "landmarks_out_of_order", "message": message})
    return warnings
