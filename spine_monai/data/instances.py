"""Find the DICOM image on which a point was placed, and lift the point from its pixels.

Only headers are read. Pixels are counted as DICOM and the annotation tools count them: (column,
row) from 0, whole numbers at the centres of the pixels.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spine_monai.data.conversion import LeftOutError
from spine_monai.geometry import apply_affine
from spine_monai.readers.index import index_study
from spine_monai.readers.series import Instance

KEYWORDS = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}


@dataclass(frozen=True)
class AnnotatedImage:
    """A DICOM image and the series that it belongs to.

    Args:
        instance: the image.
        series_uid: its series as ``locate_study`` takes it: the UID, or ``UID:2`` for the second
            part of a series that holds images of several kinds.
    """

    instance: Instance
    series_uid: str

    @property
    def study(self) -> Path:
        """What ``read_study`` takes for it: its file, or the zip that holds it."""
        archive = self.instance.source and self.instance.source.archive
        return archive or self.instance.path

    @property
    def uid(self) -> str:
        """SOPInstanceUID."""
        return self.instance.sop_instance_uid


@dataclass(frozen=True)
class Instances:
    """The DICOM images below a folder.

    Args:
        folder: what was indexed.
        by_uids: images by (study,), (study, series) and (study, series, instance) UID.
        damaged: the DICOM files that cannot be read.
    """

    folder: Path
    by_uids: Mapping[tuple[str, ...], list[AnnotatedImage]]
    damaged: tuple[Path, ...] = ()

    @property
    def study_uids(self) -> list[str]:
        """StudyInstanceUID of each study."""
        return [uids[0] for uids in self.by_uids if len(uids) == 1]

    def find(self, *uids: str) -> AnnotatedImage:
        """Return the image of a study, series and instance UID.

        Raises:
            LeftOutError: the folder does not hold the study, the series or the image, or the image
                has several frames.
        """
        for count, (level, keyword) in enumerate(KEYWORDS.items(), start=1):
            if uids[:count] not in self.by_uids:
                msg = f"{self.folder} must hold {keyword} {uids[count - 1]}: it does not. "
                if self.damaged:
                    msg += f"{len(self.damaged)} of its DICOM files cannot be read. "
                msg += "Is the folder complete?"
                raise LeftOutError(msg, f"{level}_not_found")
        frames = self.by_uids[uids]
        if len(frames) > 1:
            msg = f"{frames[0].study} must have one frame: got {len(frames)}, and the annotation "
            msg += "does not say which it means."
            raise LeftOutError(msg, "several_frames")
        return frames[0]


def index_instances(folder: Path) -> Instances:
    """Index the DICOM files below a folder, at any depth; of two copies of an image, one counts.

    Raises:
        StudyError: there is none.
    """
    by_uids: dict[tuple[str, ...], list[AnnotatedImage]] = defaultdict(list)
    index = index_study(folder)
    for series in index.series:
        for instance in series.instances:
            uids = tuple(str(instance.header.get(key) or "") for key in KEYWORDS.values())
            frames = by_uids[uids]
            if not frames or instance.path == frames[0].instance.path:
                for count in (1, 2, 3):
                    by_uids[uids[:count]].append(AnnotatedImage(instance, series.name))
    return Instances(folder, dict(by_uids), index.damaged)


def points_lps_from_pixels(points_xy: ArrayLike, instance: Instance) -> NDArray[np.float64]:
    """Lift pixels of an image to patient space.

    Args:
        points_xy: (..., 2) column and row.
        instance: the image.

    Returns:
        (..., 3) LPS points in mm.

    Raises:
        StudyError: the image has no place in the patient.
    """
    points = np.asarray(points_xy, dtype=np.float64)
    flat = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
    return apply_affine(instance.lps_from_column_row, flat)


def is_in_picture(point_xy: ArrayLike, instance: Instance) -> bool:
    """Whether a pixel (column, row) lies within the edges of an image.

    Raises:
        StudyError: the image has no size.
    """
    size = np.array([instance.numbers(key, 1)[0] for key in ("Columns", "Rows")])
    point = np.asarray(point_xy, dtype=np.float64)
    return bool(((point >= -0.5) & (point <= size - 0.5)).all())
