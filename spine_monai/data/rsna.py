"""RSNA 2024 lumbar annotations in: canal points, in a landmark set of their own.

``train_label_coordinates.csv`` has a row for each point: the pixel (x column, y row) of the image
``<images>/<study_id>/<series_id>/<instance_number>.dcm``. The points of spinal canal stenosis stand
in the canal, on sagittal T2; they are no disc centres, hence their set ``rsna_canal5``. Each may
stand on another slice, so they are points in space. The other conditions are annotated on sagittal
T1 and axial T2 and are left out.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.data.instances import AnnotatedImage, is_in_picture, points_lps_from_pixels
from spine_monai.data.levels import level_name
from spine_monai.data.placing import placed_item
from spine_monai.data.tables import Row, read_table
from spine_monai.landmarks import RSNA_CANAL5
from spine_monai.readers.index import index_study

COLUMNS = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
CONDITION = "Spinal Canal Stenosis"


@dataclass(frozen=True)
class CanalPoint:
    """One row of the table.

    Args:
        place: file and row, for messages.
        folder: study and series, below the images.
        file: name of the instance's file.
        name: of the landmark.
        point_xy: column and row in pixels.
    """

    place: str
    folder: str
    file: str
    name: str
    point_xy: tuple[float, float]


def datalist_from_rsna(table: Path, images: Path, *, subject_key: bytes = PUBLIC_KEY) -> Conversion:
    """Join the canal points of the challenge to its DICOM files.

    Args:
        table: ``train_label_coordinates.csv``.
        images: ``train_images``: folders of studies with folders of series.
        subject_key: of the subjects' digests; see ``read_subject_key``.

    Returns:
        One item for each series that was found and can be read, and a remark on everything else.

    Raises:
        ValueError: the table lacks a column, or a cell cannot be read.
    """
    conversion = Conversion(RSNA_CANAL5, subject_key)
    rows = read_table(table, COLUMNS)
    others = Counter(row["condition"] for row in rows if row["condition"] != CONDITION)
    for condition, count in sorted(others.items()):
        msg = (
            f"{table} has {count} points of {condition}, which are no canal points. They are left "
        )
        conversion.remark("other_condition", msg + "out.")
    series: dict[str, list[CanalPoint]] = defaultdict(list)
    for row in rows:
        if row["condition"] == CONDITION:
            point = _canal_point(row)
            series[point.folder].append(point)
    for folder, points in conversion.each(list(series.items())):
        with conversion.attempt(folder):
            conversion.add(_item(images / folder, points, conversion))
    return conversion


def _canal_point(row: Row) -> CanalPoint:
    name = f"canal {level_name(row['level'])}"
    if name not in RSNA_CANAL5.names:
        expected = "one of L1/L2 to L5/S1"
        raise row.error(expected, "level")
    folder = f"{row.digits_in('study_id')}/{row.digits_in('series_id')}"
    point_xy = (row.number_in("x"), row.number_in("y"))
    return CanalPoint(row.place, folder, f"{row.digits_in('instance_number')}.dcm", name, point_xy)


def _item(folder: Path, points: Sequence[CanalPoint], conversion: Conversion) -> Item:
    if not folder.is_dir():
        msg = f"{folder} must be a folder of DICOM files, for {points[0].place}: there is none."
        raise LeftOutError(msg, "series_not_found")
    files = {
        instance.path.name: AnnotatedImage(instance, series.name)
        for series in index_study(folder).series
        for instance in series.instances
    }
    placed = _placed(points, files, folder, conversion)
    if not placed:
        msg = f"{folder} must hold the annotated images: it holds none of them."
        raise LeftOutError(msg, "instance_not_found")
    images = [image for image, _ in placed.values()]
    return placed_item(
        str(images[0].instance.header.SeriesInstanceUID),
        images[0].study,
        {name: point_lps for name, (_, point_lps) in placed.items()},
        conversion,
        series_uid=images[0].series_uid,
        instance_uids={image.uid for image in images},
    )


def _placed(
    points: Sequence[CanalPoint],
    files: Mapping[str, AnnotatedImage],
    folder: Path,
    conversion: Conversion,
) -> dict[str, tuple[AnnotatedImage, NDArray[np.float64]]]:
    """The usable points, each with its image; of a level that stands at two places, neither."""
    counts = Counter(point.name for point in points)
    placed = {}
    for point in points:
        if counts[point.name] > 1:
            code, msg = "annotated_twice", f"{point.place} gives {point.name} again"
        elif (image := files.get(point.file)) is None:
            code, msg = "instance_not_found", f"{point.place} names {folder / point.file}: no image"
        elif not is_in_picture(point.point_xy, image.instance):
            code, msg = "point_outside_image", f"{point.place} lies outside {image.study}"
        else:
            placed[point.name] = (image, points_lps_from_pixels(point.point_xy, image.instance))
            continue
        msg += ". It is left out."
        conversion.remark(code, msg, case=point.folder, landmark=point.name)
    return placed
