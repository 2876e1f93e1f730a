"""Points of a table in: our own ``landmarks.csv``, or case, landmark, x, y, z in mm."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.conversion import Conversion
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.data.images import ImageFinder
from spine_monai.data.placing import placed_item
from spine_monai.data.tables import Row, read_table
from spine_monai.geometry import LPS_FROM_RAS, apply_affine
from spine_monai.landmarks import LandmarkRegistry

OUR_COLUMNS = ("x_lps_mm", "y_lps_mm", "z_lps_mm")
PLAIN_COLUMNS = ("x", "y", "z")


def datalist_from_csv(
    table: Path,
    images: Path,
    registry: LandmarkRegistry,
    *,
    coordinate_system: str = "LPS",
    subject_key: bytes = PUBLIC_KEY,
) -> Conversion:
    """Build datalist items from a table of points.

    Args:
        table: CSV with the columns ``case``, ``landmark`` and either ``x``, ``y``, ``z`` or those
            of our own ``landmarks.csv``; three empty cells mark an absent landmark.
        images: folder of the images; see ``ImageFinder``.
        registry: landmarks that are expected; others are kept too.
        coordinate_system: ``LPS`` or ``RAS``, of ``x``, ``y`` and ``z``.
        subject_key: of the subjects' digests; see ``read_subject_key``.

    Returns:
        One item for each case whose image was found and can be read, and a remark on the others.

    Raises:
        ValueError: the table lacks a column, or a cell cannot be read; file, row and column are
            named.
        FileNotFoundError: there are no images.
    """
    cases = read_points(table, coordinate_system)
    finder, conversion = ImageFinder(images), Conversion(registry, subject_key)
    for case, points in conversion.each(list(cases.items())):
        with conversion.attempt(case):
            conversion.add(placed_item(case, finder.find(case), points, conversion))
    return conversion


def read_points(
    table: Path, coordinate_system: str = "LPS"
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the (3,) LPS point in mm of each landmark of each case; absent ones are left out.

    Args:
        table: see ``datalist_from_csv``.
        coordinate_system: ``LPS`` or ``RAS``.

    Raises:
        ValueError: see ``datalist_from_csv``.
    """
    rows = read_table(table, ("case", "landmark"))
    columns = _columns(rows[0], coordinate_system)
    cases: dict[str, dict[str, NDArray[np.float64]]] = {}
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        for column in ("case", "landmark"):
            if not row[column]:
                expected = "a name"
                raise row.error(expected, column)
        key = (row["case"], row["landmark"])
        if key in seen:
            expected = f"another landmark of {row['case']} than row {seen[key].number}"
            raise row.error(expected, "landmark")
        seen[key] = row
        points = cases.setdefault(row["case"], {})
        if any(row[column] for column in columns):
            points[row["landmark"]] = _point_lps(row, columns, coordinate_system)
    return cases


def _columns(row: Row, coordinate_system: str) -> tuple[str, ...]:
    if coordinate_system not in ("LPS", "RAS"):
        msg = f"coordinate system must be LPS or RAS: got {coordinate_system!r}."
        raise ValueError(msg)
    for columns in (OUR_COLUMNS, PLAIN_COLUMNS):
        if set(columns) <= row.cells.keys():
            break
    else:
        msg = f"{row.file} must have the columns x, y and z, or {', '.join(OUR_COLUMNS)}: got "
        msg += f"{', '.join(row.cells)}."
        raise ValueError(msg)
    if columns == OUR_COLUMNS and coordinate_system != "LPS":
        msg = f"{row.file} must be read as LPS, as its columns say: got {coordinate_system}."
        raise ValueError(msg)
    return columns


def _point_lps(row: Row, columns: tuple[str, ...], coordinate_system: str) -> NDArray[np.float64]:
    point = np.array([row.number_in(column) for column in columns])
    return apply_affine(LPS_FROM_RAS, point) if coordinate_system == "RAS" else point
