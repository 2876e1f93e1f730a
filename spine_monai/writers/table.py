"""``landmarks.csv``: every landmark of every case in one table."""

import csv
import io
from pathlib import Path
from typing import Any

from spine_monai.files import write_text
from spine_monai.writers.json import RESULT_FILE, read_case

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
)


def write_table(output_dir: Path) -> None:
    """Write the landmarks of all finished cases below a folder, one row a landmark.

    Args:
        output_dir: holds one folder a case; the table goes beside them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for file in sorted(output_dir.glob(f"*/{RESULT_FILE}")):
        content = read_case(file)
        writer.writerows(_row(content["case"], entry) for entry in content["landmarks"])
    write_text(output_dir / TABLE_FILE, stream.getvalue())


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
