"""Images on one grid to volumes: where two lie in one plane, they belong to different ones."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.errors import StudyError
from spine_monai.readers.series import Instance

FloatArray = NDArray[np.float64]
# A repeated scan returns to a plane within this distance; neighbouring slices are never so close.
SAME_PLANE_MM = 0.05
# Stacks beside each other are farther apart than slices of a sheared stack are shifted.
STACK_GAP_MM = 20.0
SCAN_KEYWORDS = ("EchoNumbers", "AcquisitionNumber", "TemporalPositionIdentifier")
T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


class Volume(NamedTuple):
    """Images that make one volume, in order along their normal.

    Args:
        images: with copies of a file beside each other.
        scan: which scan of the same places it is, and of how many.
    """

    images: tuple[Instance, ...]
    scan: tuple[int, int] = (1, 1)


class Placed(NamedTuple):
    """An image with its copies, and where it lies along the normal that its grid shares."""

    height_mm: float
    position_lps: FloatArray
    images: tuple[Instance, ...]

    @property
    def image(self) -> Instance:
        """The first of the copies."""
        return self.images[0]


def volumes_on_grid(grid: Sequence[Instance]) -> list[Volume]:
    """Return the volumes of images on one grid: a single one unless some lie in one plane.

    Images whose place is unreadable stay in the order given, as one volume.
    """
    if not all(image.has_place for image in grid):
        return [Volume(tuple(grid))]
    scans = [_scans(stack) for stack in _stacks(placed_along_normal(grid))]
    return [
        Volume(tuple(copy for place in scan for copy in place.images), (number, len(repeats)))
        for repeats in scans
        for number, scan in enumerate(repeats, start=1)
    ]


def placed_along_normal(images: Iterable[Instance]) -> list[Placed]:
    """Return the images in order along the normal of the first one, copies of a file together.

    Raises:
        StudyError: position or orientation is unreadable.
    """
    copies = list(group_by(_identity, images).values())
    normal_lps = copies[0][0].normal_lps
    positions = [same[0].numbers("ImagePositionPatient", 3) for same in copies]
    places = [
        Placed(float(position @ normal_lps), position, tuple(same))
        for position, same in zip(positions, copies, strict=True)
    ]
    return _by_height(places)


def group_by(key: Callable[[T], Key], items: Iterable[T]) -> dict[Key, list[T]]:
    """Return items in groups of one key each, in the order of their first ones."""
    groups: dict[Key, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _identity(image: Instance) -> Hashable:
    """What copies of a file share; files that a poor anonymizer gave one UID differ in place."""
    place = np.round(image.numbers("ImagePositionPatient", 3), 3)
    return image.sop_instance_uid or str(image.path), image.frame, *place.tolist()


def _by_height(places: Iterable[Placed]) -> list[Placed]:
    return sorted(places, key=lambda place: place.height_mm)


def _share_planes(places: Iterable[Placed]) -> bool:
    heights_mm = np.sort([place.height_mm for place in places])
    return bool((np.diff(heights_mm) < SAME_PLANE_MM).any())


def _stacks(places: list[Placed]) -> list[list[Placed]]:
    """Stacks beside each other, as of the neck and the back in one series."""
    if not _share_planes(places):
        return [places]
    axes = places[0].image.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    offsets_mm = axes @ np.stack([place.position_lps for place in places], axis=1)
    labels = zip(*(_clusters(offset) for offset in offsets_mm), strict=True)
    pairs = group_by(lambda pair: pair[0], zip(labels, places, strict=True))
    return [[place for _, place in pair] for pair in pairs.values()]


def _clusters(offsets_mm: FloatArray) -> list[int]:
    """The number of the group that each value belongs to; between groups there is a gap."""
    order = np.argsort(offsets_mm)
    labels = np.zeros(len(order), dtype=np.int64)
    labels[order[1:]] = np.cumsum(np.diff(offsets_mm[order]) > STACK_GAP_MM)
    return [int(label) for label in labels]


def _scans(places: list[Placed]) -> list[list[Placed]]:
    """Scans of the same places, the fullest first and the earliest of equals.

    Acquisitions that share no plane, as of odd and even slices, are one scan. What nothing in the
    headers tells apart stays together.
    """
    if not _share_planes(places):
        return [places]
    numbered = (_by_number(places, keyword) for keyword in SCAN_KEYWORDS)
    scans = next(filter(None, numbered), None) or _by_time(places) or [places]
    return sorted((_by_height(scan) for scan in scans), key=len, reverse=True)


def _by_number(places: list[Placed], keyword: str) -> list[list[Placed]]:
    """Scans told apart by a number of the header; none where it does not tell all of them apart."""
    try:
        groups = group_by(lambda place: float(place.image.numbers(keyword, 1)[0]), places)
    except StudyError:
        return []
    scans: list[list[Placed]] = []
    for _, group in sorted(groups.items()):
        free = (scan for scan in scans if not _share_planes([*scan, *group]))
        scan = next(free, None)
        if scan is None:
            scans.append(group)
        else:
            scan += group
    return [] if any(_share_planes(scan) for scan in scans) else scans


def _by_time(places: list[Placed]) -> list[list[Placed]]:
    """Scans told apart by when each plane was scanned; none unless all were scanned as often."""
    planes: list[list[Placed]] = []
    for place in places:
        if planes and place.height_mm - planes[-1][-1].height_mm < SAME_PLANE_MM:
            planes[-1].append(place)
        else:
            planes.append([place])
    times = [{_time(place) for place in plane} for plane in planes]
    counts = {len(plane) for plane in planes} | {len(distinct) for distinct in times}
    if len(counts) > 1 or any("" in distinct for distinct in times):
        return []
    return [
        list(scan) for scan in zip(*(sorted(plane, key=_time) for plane in planes), strict=True)
    ]


def _time(place: Placed) -> str:
    """When an image was acquired, as DICOM writes it; empty where it is unknown."""
    header = place.image.header
    time = str(header.get("AcquisitionTime") or "")
    on_date = f"{header.get('AcquisitionDate') or ''}{time}" if time else ""
    return str(header.get("AcquisitionDateTime") or "") or on_date
