"""Results out as Tianchi's JSON, so that users of that challenge can submit and compare.

The challenge asks for a grade of disease at each point. None is measured here: every point gets the
grade that the caller names, by default ``v1``, which is the challenge's word for normal.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.results import UID_KEYS, read_results
from spine_monai.files import write_text
from spine_monai.landmarks import LUMBAR11

UNGRADED = "v1"


def tianchi_from_results(
    results_dir: Path, *, grade: str = UNGRADED
) -> tuple[list[Any], Conversion]:
    """Return the challenge's annotations of all results below a folder.

    Args:
        results_dir: folder of ``localize``.
        grade: goes to every vertebra and disc.

    Returns:
        One entry a study, ready for JSON, and what was converted or left out: an item holds its
        case's ``id``; a landmark that was not found, or that the challenge does not know, gets a
        remark.

    Raises:
        ValueError: there are no results.
    """
    conversion = Conversion(LUMBAR11)
    studies: dict[str, list[dict[str, Any]]] = {}
    for record in read_results(results_dir, conversion):
        case = record["case"]
        with conversion.attempt(case):
            study, series, instance = _uids(record)
            points = [_point(entry, record, grade) for entry in _known(record, conversion)]
            annotation = {"data": {"point": points}}
            image = {"seriesUid": series, "instanceUid": instance, "annotation": [annotation]}
            studies.setdefault(study, []).append(image)
            conversion.add({"id": case})
    return [{"studyUid": uid, "data": images} for uid, images in studies.items()], conversion


def write_tianchi(studies: Sequence[Any], path: Path) -> None:
    """Write the challenge's annotations, whole or not at all."""
    write_text(path, json.dumps(studies, indent=1) + "\n")


def _uids(record: Mapping[str, Any]) -> list[str]:
    uids = [record["source"].get(key) for key in UID_KEYS]
    if not all(uids):
        msg = f"{record['case']} must come from DICOM, for the challenge names images by UID: got "
        msg += f"a source of kind {record['source']['kind']!r}."
        raise LeftOutError(msg, "no_dicom")
    return [str(uid) for uid in uids]


def _known(record: Mapping[str, Any], conversion: Conversion) -> Iterable[Mapping[str, Any]]:
    """The landmarks that were found and that the challenge asks for."""
    for entry in record["landmarks"]:
        name, case = entry["name"], record["case"]
        if name not in LUMBAR11.names:
            msg = f"{name} of {case} is no landmark of the challenge. It is left out."
            conversion.remark("landmark_unknown", msg, case=case, landmark=name)
        elif entry["position_px"] is None:
            msg = f"{name} of {case} was not found. It is left out."
            conversion.remark("landmark_absent", msg, case=case, landmark=name)
        else:
            yield entry


def _point(entry: Mapping[str, Any], record: Mapping[str, Any], grade: str) -> dict[str, Any]:
    pixel = entry["position_px"]
    coord = [math.floor(pixel[axis] + 0.5) for axis in ("column", "row")]
    own_slice = entry.get("slice", record["slice"])
    tag = {"identification": entry["name"], entry["kind"]: grade}
    return {"coord": coord, "tag": tag, "zIndex": own_slice["index"]}
