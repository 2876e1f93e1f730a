"""``landmarks.csv``: every landmark of every case in one table."""

import csv
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spine_monai.files import write_text
from spine_monai.writers.json import RESULT_FILE, read_case

logger = logging.getLogger(__name__)

TABLE_FILE = "landmarks.csv"
COLUMNS = (
    "case",
    "landmark",
    "kind",
    "status",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "column_px",
    "row_px",
    "confidence",
    "radius95_mm",
    "has_patient_geometry",
)


def write_table(output_dir: Path) -> None:
    """Write the landmarks of all finished cases below a folder, one row a landmark.

    Args:
        output_dir: holds one folder a case; the table goes beside them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for content in _records(output_dir):
        has_geometry = str(content["source"].get("has_patient_geometry", True)).lower()
        rows = (_row(content["case"], entry) for entry in content["landmarks"])
        writer.writerows([*row, has_geometry] for row in rows)
    write_text(output_dir / TABLE_FILE, stream.getvalue())


def _records(output_dir: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(output_dir.glob(f"*/{RESULT_FILE}")):
        try:
            yield read_case(file)
        except ValueError as error:
            logger.warning("left out of %s: %s", TABLE_FILE, error)


def _row(case: str, entry: dict[str, Any]) -> list[Any]:
    position = entry["position_lps_mm"] or ["", "", ""]
    pixel = entry["position_px"] or {"column": "", "row": ""}
    values = [entry["confidence"], entry["radius95_mm"]]
    return [
        case,
        entry["name"],
        entry["kind"],
        entry["status"],
        *position,
        pixel["column"],
        pixel["row"],
        *("" if value is None else value for value in values),
    ]
