"""Images to series: by SeriesInstanceUID, then by what makes one volume.

A series is split by patient, study and frame of reference, which careless copying mixes; by its
grid (matrix, pixel spacing, orientation), its echo time and the kind of its images. Where two
images lie in one plane it is split further: by stacks beside each other, else by echo, acquisition
or time. Neither file names nor InstanceNumber decide anything.
"""

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.elements import single_number
from spine_monai.readers.errors import StudyError
from spine_monai.readers.series import Instance, Series
from spine_monai.readers.stacks import Volume, group_by, volumes_on_grid
from spine_monai.readers.vocabulary import KINDS, codes_of

# Attributes that are the same all through a volume: how many values, and what is mere rounding.
# Scanners repeat an orientation to the last digit, or rounded to 1e-4; half a degree is a turn.
GRID_VALUES = {
    "PixelSpacing": (2, 5e-4),
    "ImageOrientationPatient": (6, float(np.radians(0.5))),
    "EchoTime": (1, 0.5),
}


def group_series(
    instances: Iterable[Instance], unreadable: tuple[Path, ...] = ()
) -> tuple[Series, ...]:
    """Group images to series, each on one grid.

    Args:
        instances: of all series, in any order.
        unreadable: files that may belong to any of them.

    Returns:
        The series in the order of SeriesNumber, the parts of each one after the other.
    """
    by_uid = group_by(lambda image: str(image.header.SeriesInstanceUID), instances)
    series = [_parts(uid, images, unreadable) for uid, images in by_uid.items()]
    ordered = sorted(series, key=lambda parts: (max(p.number or 0 for p in parts), parts[0].uid))
    return tuple(part for parts in ordered for part in parts)


def _parts(uid: str, images: list[Instance], unreadable: tuple[Path, ...]) -> list[Series]:
    volumes = sorted(_volumes_of(images), key=_rank)
    return [
        Series(uid, volume.images, unreadable, (number, len(volumes)), volume.scan)
        for number, volume in enumerate(volumes, start=1)
    ]


def _rank(volume: Volume) -> tuple[float, tuple[int, int], str]:
    """What orders the parts of a series: its content alone, so that a part keeps its number."""
    echo_ms = single_number(volume.images[0].header, "EchoTime")
    return echo_ms, volume.scan, min(image.sop_instance_uid for image in volume.images)


def _volumes_of(images: list[Instance]) -> list[Volume]:
    """The volumes of one series."""
    grids = list(group_by(_origin_and_kind, images).values())
    for keyword in GRID_VALUES:
        grids = [part for grid in grids for part in _by_value(grid, keyword)]
    return [volume for grid in grids for volume in volumes_on_grid(grid)]


def _origin_and_kind(image: Instance) -> Hashable:
    header = image.header
    kinds = codes_of(header, "ImageType") & KINDS
    component = codes_of(header, "ComplexImageComponent")
    return (
        image.origin,
        header.Rows,
        header.Columns,
        header.get("SamplesPerPixel"),
        kinds,
        component,
    )


def _by_value(images: Sequence[Instance], keyword: str) -> list[list[Instance]]:
    """Images whose attribute is the same, but for rounding.

    One that does not have it may belong to any of them, and goes to the first, which it may spoil.
    """
    count, tolerance = GRID_VALUES[keyword]
    groups: list[tuple[NDArray[np.float64], list[Instance]]] = []
    unplaced = []
    for image in images:
        try:
            value = image.numbers(keyword, count)
        except StudyError:
            unplaced.append(image)
            continue
        near = [group for centre, group in groups if np.abs(value - centre).max() <= tolerance]
        if near:
            near[0].append(image)
        else:
            groups.append((value, [image]))
    first, *others = [group for _, group in groups] or [[]]
    return [first + unplaced, *others]
