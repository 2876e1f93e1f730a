"""3D Slicer markups: ``landmarks.mrk.json``, schema 1.0.3."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.landmarks import LandmarkSet

MARKUPS_FILE = "landmarks.mrk.json"
# Slicer recognizes the file by this name; nothing is fetched from it.
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)


NO_GEOMETRY = "position made up: the image has no patient geometry"


def markups_text(landmarks: LandmarkSet, *, has_patient_geometry: bool = True) -> str:
    """Return the landmarks as a Slicer point list in LPS mm; absent ones are undefined points.

    Args:
        landmarks: the points.
        has_patient_geometry: whether the image said where it lies; if not, each point says so.
    """
    note = "research only" if has_patient_geometry else f"research only; {NO_GEOMETRY}"
    rows = zip(landmarks.registry.names, landmarks.points_lps, landmarks.statuses, strict=True)
    points = [_control_point(number, note, *row) for number, row in enumerate(rows, start=1)]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": points,
        "measurements": [_confidence(landmarks)],
    }
    return json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=1, allow_nan=False) + "\n"


def _control_point(
    number: int, note: str, name: str, point_lps: NDArray[np.float64], status: str
) -> dict[str, Any]:
    is_absent = status == "absent"
    return {
        "id": str(number),
        "label": name,
        "description": f"{status}; {note}",
        "position": [0.0, 0.0, 0.0] if is_absent else point_lps.tolist(),
        "positionStatus": "undefined" if is_absent else "defined",
    }


def _confidence(landmarks: LandmarkSet) -> dict[str, Any]:
    values = np.nan_to_num(landmarks.confidence, nan=0.0).tolist()
    return {"name": "confidence", "enabled": False, "controlPointValues": values}
