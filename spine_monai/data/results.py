"""The program's own results in: ``landmarks.json`` as annotations, to correct or to learn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.data.instances import index_instances
from spine_monai.data.placing import placed_item
from spine_monai.landmarks import LandmarkRegistry
from spine_monai.writers.json import RESULT_FILE, read_case

Record = dict[str, Any]
UID_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def datalist_from_results(
    results_dir: Path,
    registry: LandmarkRegistry,
    *,
    statuses: tuple[str, ...] = ("found", "uncertain"),
    subject_key: bytes = PUBLIC_KEY,
) -> Conversion:
    """Build datalist items from a folder of ``localize``.

    Args:
        results_dir: folder with one folder a case.
        registry: landmarks that are expected; others are kept too.
        statuses: which landmarks count as annotated.
        subject_key: of the subjects' digests; see ``read_subject_key``.

    Returns:
        One item for each result whose image still lies where it was, and a remark on the others.

    Raises:
        ValueError: there are no results.
    """
    conversion = Conversion(registry, subject_key)
    for record in conversion.each(read_results(results_dir, conversion)):
        with conversion.attempt(record["case"]):
            conversion.add(_item(record, statuses, conversion))
    return conversion


def read_results(results_dir: Path, conversion: Conversion) -> list[Record]:
    """Read every ``landmarks.json`` below a folder; one that is none becomes a remark.

    Raises:
        ValueError: there is none.
    """
    files = sorted(results_dir.rglob(RESULT_FILE))
    if not files:
        msg = f"results must be a folder of `spine-monai localize`: {results_dir} holds no "
        msg += f"{RESULT_FILE}."
        raise ValueError(msg)
    records = []
    for file in files:
        with conversion.attempt(file.parent.name):
            records.append(_record(file))
    return records


def _record(file: Path) -> Record:
    try:
        return read_case(file)
    except ValueError as error:
        raise LeftOutError(str(error), "unreadable_result") from error


def _item(record: Record, statuses: tuple[str, ...], conversion: Conversion) -> Item:
    case, points = record["case"], _points(record, statuses, conversion)
    image = Path(record["source"]["path"])
    if not image.exists():
        msg = f"{image} must still be there, as the image of {case}: it is not. Run the command "
        msg += "from the folder where `localize` ran."
        raise LeftOutError(msg, "image_not_found")
    if record["source"]["kind"] == "picture":
        msg = f"{image} must be DICOM or a volume file to be in a datalist, which holds no size of "
        msg += "pixels: it is a picture. Localize what the picture was made from."
        raise LeftOutError(msg, "image_is_picture")
    if record["source"]["kind"] != "dicom":
        return placed_item(case, image, points, conversion)
    uids = [record["source"][key] for key in UID_KEYS]
    series_uid = index_instances(image).find(*uids).series_uid
    return placed_item(
        case, image, points, conversion, series_uid=series_uid, instance_uids=uids[2:]
    )


def _points(
    record: Mapping[str, Any], statuses: tuple[str, ...], conversion: Conversion
) -> dict[str, NDArray[np.float64]]:
    points = {}
    for entry in record["landmarks"]:
        if entry["status"] in statuses:
            points[entry["name"]] = np.array(entry["position_lps_mm"], dtype=np.float64)
        elif entry["status"] != "absent":
            msg = f"{entry['name']} of {record['case']} is {entry['status']}. It is left out."
            conversion.remark("status_not_wanted", msg, case=record["case"], landmark=entry["name"])
    return points
