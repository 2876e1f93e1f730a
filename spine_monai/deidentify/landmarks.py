"""The landmarks of a series, exported with it: the same points, anchored by the new UIDs.

``landmarks.json`` is made anew from what may stay of it; the markups and the report from that.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from spine_monai.deidentify.pseudonyms import Pseudonyms
from spine_monai.files import write_text
from spine_monai.landmarks import REGISTRIES, LandmarkSet
from spine_monai.readers import LocatedStudy
from spine_monai.writers.json import RESULT_FILE, UID_KEYS, case_text, points_lps_of, read_case
from spine_monai.writers.markups import MARKUPS_FILE, markups_text

logger = logging.getLogger(__name__)

VERSION = re.compile(r"\d+(\.\d+){0,3}")
NAME = re.compile(r"[a-z]+(_[a-z]+)*")
WEIGHTS = re.compile(r"[a-z_]+\.[a-z]+")
DIGEST = re.compile(r"[0-9a-f]{64}")
CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")
KINDS, STATUSES = ("disc", "vertebra"), ("found", "uncertain", "absent")
OPTIONS = ("slice_index", "slices")
# Whose words are ours alone, without paths.
REPORTED_WARNINGS = (
    *("uncertain_landmarks", "level_in_doubt", "landmarks_out_of_order"),
    "extreme_grey_values",
)
LEFT_OUT = "see the code"
REPORT_FILE = "landmarks.dcm"
NO_REPORT = "the structured report could not be made anew"
UNREADABLE = "landmarks.json cannot be taken over"


def records_by_series(results: Path) -> dict[str, list[Path]]:
    """Return the ``landmarks.json`` of a folder of results, by SeriesInstanceUID.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not results.is_dir():
        msg = f"{results} must be a folder that `localize` wrote: there is none."
        raise FileNotFoundError(msg)
    records: dict[str, list[Path]] = {}
    for number, path in enumerate(sorted(results.glob(f"*/{RESULT_FILE}")), start=1):
        try:
            uid = read_case(path)["source"].get("SeriesInstanceUID")
        except (ValueError, AttributeError):
            logger.warning("%s %d of the results: %s", RESULT_FILE, number, UNREADABLE)
            continue
        records.setdefault(str(uid or ""), []).append(path)
    return records


def export_landmarks(
    record: Path, exported: LocatedStudy, pseudonyms: Pseudonyms, folder: Path
) -> list[str]:
    """Write the landmarks of a case beside its exported series.

    Args:
        record: the case's ``landmarks.json``.
        exported: the series as it was exported.
        pseudonyms: of the export.
        folder: of the landmarks of the export.

    Returns:
        What was left out, and why.

    Raises:
        ValueError: the record is damaged.
    """
    content = _content(read_case(record), exported, pseudonyms)
    landmarks = _landmark_set(content)
    home = folder / str(content["case"])
    write_text(home / RESULT_FILE, case_text(content))
    write_text(home / MARKUPS_FILE, markups_text(landmarks))
    if not (record.parent / REPORT_FILE).is_file():
        return []
    return _report(content, landmarks, exported, home / REPORT_FILE)


def _content(
    old: Mapping[str, Any], exported: LocatedStudy, pseudonyms: Pseudonyms
) -> dict[str, Any]:
    """A record of what may stay of another, by the UIDs of the export."""
    try:
        return {
            "format": old["format"],
            "format_version": int(old["format_version"]),
            "use": "research only, not for clinical use",
            "case": _uid(old["source"]["SeriesInstanceUID"], pseudonyms),
            "software": {
                "name": "spine_monai",
                "version": _text(old["software"]["version"], VERSION),
            },
            "bundle": _bundle(old["bundle"]),
            "options": {
                key: _option(old["options"][key]) for key in OPTIONS if key in old["options"]
            },
            "landmark_set": _one_of(old["landmark_set"], REGISTRIES),
            "coordinate_system": "LPS",
            "unit": "mm",
            "calibrated": bool(old["calibrated"]),
            "source": {
                "kind": "dicom",
                "path": str(exported.stem),
                "sha256": exported.digest,
                "has_patient_geometry": True,
                **{key: _uid(old["source"].get(key), pseudonyms) for key in UID_KEYS},
            },
            "series_choice": "made before de-identification",
            "slice": _slice(old["slice"]),
            "landmarks": [_landmark(entry, pseudonyms) for entry in old["landmarks"]],
            "warnings": [_warning(warning) for warning in old["warnings"]],
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = f"{UNREADABLE} ({type(error).__name__})"
        raise ValueError(msg) from None


def _bundle(old: Mapping[str, Any]) -> dict[str, Any]:
    weights = old["weights_sha256"]
    return {
        "name": _text(old["name"], NAME),
        "version": _text(old["version"], VERSION),
        "weights_sha256": {_text(k, WEIGHTS): _text(v, DIGEST) for k, v in weights.items()},
    }


def _slice(old: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "index": int(old["index"]),
        "choice": "made before de-identification",
        "rows": int(old["rows"]),
        "columns": int(old["columns"]),
        "lps_from_column_row": [[_number(x) for x in row] for row in old["lps_from_column_row"]],
    }


def _landmark(old: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
    names = [name for registry in REGISTRIES.values() for name in registry.names]
    position, pixel = old["position_lps_mm"], old["position_px"]
    entry: dict[str, Any] = {
        "name": _one_of(old["name"], names),
        "kind": _one_of(old["kind"], KINDS),
        "status": _one_of(old["status"], STATUSES),
        "position_lps_mm": None if position is None else [_number(x) for x in position],
        "position_px": None if pixel is None else {k: _number(pixel[k]) for k in ("column", "row")},
        "confidence": _number_or_none(old["confidence"]),
        "radius95_mm": _number_or_none(old["radius95_mm"]),
    }
    if "slice" in old:
        own = old["slice"]
        entry["slice"] = {"index": int(own["index"])}
        if "SOPInstanceUID" in own:
            entry["slice"]["SOPInstanceUID"] = _uid(own["SOPInstanceUID"], pseudonyms)
    return entry


def _warning(old: Mapping[str, Any]) -> dict[str, str]:
    code = _text(old["code"], CODE)
    return {"code": code, "message": str(old["message"]) if code in REPORTED_WARNINGS else LEFT_OUT}


def _landmark_set(content: Mapping[str, Any]) -> LandmarkSet:
    registry = REGISTRIES[content["landmark_set"]]
    own = {entry["name"]: entry for entry in content["landmarks"]}
    confidence, radius95_mm = (
        np.array([_or_nan(own.get(name, {}).get(key)) for name in registry.names])
        for key in ("confidence", "radius95_mm")
    )
    points_lps = points_lps_of(content, registry.names)
    return LandmarkSet(registry, points_lps, confidence, radius95_mm, bool(content["calibrated"]))


def _report(
    content: Mapping[str, Any], landmarks: LandmarkSet, exported: LocatedStudy, path: Path
) -> list[str]:
    """Make the structured report anew: from the exported landmarks, about the exported images."""
    from spine_monai.files import write_whole
    from spine_monai.writers.dicom_sr import write_sr
    from spine_monai.writers.result import Result

    source = content["source"]
    own = [entry["slice"] for entry in content["landmarks"] if "slice" in entry]
    shown = {**content["slice"], "SOPInstanceUID": source["SOPInstanceUID"]}
    result = Result(content["case"], landmarks, source, shown, cast(Any, None), landmark_slices=own)
    series = exported.series
    if series is None:
        return [NO_REPORT]
    try:
        write_whole(path, lambda aside: write_sr(result, content, series, aside))
    except (ValueError, ImportError) as error:
        return [f"{NO_REPORT} ({type(error).__name__})"]
    return []


def _uid(value: Any, pseudonyms: Pseudonyms) -> str | None:
    return None if value is None else pseudonyms.uid(str(value))


def _text(value: Any, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError
    return value


def _one_of(value: Any, known: Any) -> str:
    if value not in known:
        raise ValueError
    return str(value)


def _option(value: Any) -> int | str | None:
    return value if value is None or isinstance(value, int) else _one_of(value, ("one", "all"))


def _number(value: Any) -> float:
    if isinstance(value, str | bool) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
