"""Tianchi's annotations in: the challenge's JSON, joined to its DICOM by three UIDs.

The layout: ``[{studyUid, data: [{seriesUid, instanceUid, annotation: [{data: {point: [{coord:
[column, row], zIndex, tag: {identification, vertebra or disc}}]}}]}]}]``. Coordinates are pixels of
the native instance; ``vertebra`` and ``disc`` are grades of disease (``v1`` is normal). Which slice
it is, ``instanceUid`` says; ``zIndex`` only counts slices, so it is kept and never joined on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.data.instances import (
    Instances,
    index_instances,
    is_in_picture,
    points_lps_from_pixels,
)
from spine_monai.data.levels import level_name
from spine_monai.data.placing import placed_item
from spine_monai.landmarks import LandmarkRegistry, level_kind
from spine_monai.readers.keywords import is_uid
from spine_monai.readers.series import Instance

KINDS = ("disc", "vertebra")  # also the keys of a tag under which the grade stands


@dataclass(frozen=True)
class Annotation:
    """The points that the file gives for one image.

    Args:
        place: file and number of the study in it, for messages.
        uids: StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID.
        points: its points, unchecked.
    """

    place: str
    uids: tuple[str, ...]
    points: Sequence[Any]

    @property
    def case(self) -> str:
        """The case id: the series, as ``localize`` names it too."""
        return self.uids[1]


@dataclass(frozen=True)
class TaggedPoint:
    """One point of an annotation.

    Args:
        name: the level.
        point_xy: column and row in pixels.
        grade: code of disease; empty where none is given.
        z_index: the slice as the file counts it, or ``None``.
    """

    name: str
    point_xy: tuple[float, float]
    grade: str
    z_index: int | None


def datalist_from_tianchi(
    files: Sequence[Path],
    images: Path,
    registry: LandmarkRegistry,
    *,
    subject_key: bytes = PUBLIC_KEY,
) -> Conversion:
    """Join annotation files of the challenge to their DICOM files.

    Args:
        files: the challenge's JSON files.
        images: folder of the DICOM files, at any depth.
        registry: landmarks that are expected; other levels are kept too.
        subject_key: of the subjects' digests; see ``read_subject_key``.

    Returns:
        One item for each annotated image that was found and can be read, and a remark on everything
        else: records, points, files, and studies that no record names.

    Raises:
        ValueError: a file is not the challenge's JSON, or the folder holds no DICOM.
    """
    conversion = Conversion(registry, subject_key)
    annotations = [one for file in files for one in _read(file, conversion)]
    instances = index_instances(images)
    for annotation in conversion.each(annotations):
        with conversion.attempt(annotation.case):
            conversion.add(_item(annotation, instances, conversion))
    _tell_unused(annotations, instances, conversion)
    return conversion


def _read(file: Path, conversion: Conversion) -> list[Annotation]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{file} must be JSON: {error}."
        raise ValueError(msg) from error
    if not isinstance(content, list) or not content:
        msg = f"{file} must be the challenge's annotations, a list of studies: got "
        msg += f"{type(content).__name__}."
        raise ValueError(msg)
    annotations: list[Annotation] = []
    for number, study in enumerate(content, start=1):
        place = f"{file} study {number}"
        with conversion.attempt(place):
            annotations += _annotations(study, place, conversion)
    return annotations


def _annotations(study: Any, place: str, conversion: Conversion) -> list[Annotation]:
    found = []
    try:
        for image in study["data"]:
            uids = (study["studyUid"], image["seriesUid"], image["instanceUid"])
            lists = [list(one["data"]["point"]) for one in image["annotation"]]
            found.append(Annotation(place, tuple(uid.strip() for uid in uids), lists[0]))
            if len(lists) > 1:
                msg = f"{place} must have one annotation: got {len(lists)}. The first is kept."
                conversion.remark("several_annotations", msg, case=found[-1].case)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        msg = f"{place} must have studyUid, and in data seriesUid, instanceUid and annotation with "
        msg += f"data and point: {error!r}."
        raise LeftOutError(msg, "malformed_record") from error
    return found


def _item(annotation: Annotation, instances: Instances, conversion: Conversion) -> Item:
    image = instances.find(*annotation.uids)
    points = _points(annotation, image.instance, conversion)
    pixels = np.array([point.point_xy for point in points.values()]).reshape(-1, 2)
    item = placed_item(
        annotation.case,
        image.study,
        dict(zip(points, points_lps_from_pixels(pixels, image.instance), strict=True)),
        conversion,
        series_uid=image.series_uid,
        instance_uids=[image.uid],
    )
    _tell_others(annotation, points, conversion)
    grades = {name: point.grade for name, point in points.items() if point.grade}
    z_index = _z_index(annotation, points, conversion)
    return item | {"tianchi": {"zIndex": z_index, "grades": grades}}


def _points(
    annotation: Annotation, instance: Instance, conversion: Conversion
) -> dict[str, TaggedPoint]:
    """The usable points by level; of a level that is tagged at two places, neither."""
    points: dict[str, TaggedPoint] = {}
    ambiguous = set()
    for number, entry in enumerate(annotation.points, start=1):
        place = f"{annotation.place} point {number}"
        try:
            point = _tagged_point(entry, place, instance)
        except LeftOutError as error:
            conversion.remark(error.code, str(error), case=annotation.case)
            continue
        before = points.setdefault(point.name, point)
        if before.point_xy != point.point_xy:
            ambiguous.add(point.name)
            msg = f"{place} tags {point.name} again: got {before.point_xy} and {point.point_xy}. "
            msg += "Neither is kept."
            conversion.remark("tagged_twice", msg, case=annotation.case, landmark=point.name)
        (other,) = set(KINDS) - {level_kind(point.name)}
        if other in entry["tag"]:
            msg = (
                f"{place} must be a {level_kind(point.name)} by its tag {point.name}: it is graded "
            )
            msg += f"as a {other}. It is kept without that grade."
            conversion.remark("tag_of_other_kind", msg, case=annotation.case, landmark=point.name)
    return {name: point for name, point in points.items() if name not in ambiguous}


def _tagged_point(entry: Any, place: str, instance: Instance) -> TaggedPoint:
    try:
        tag, (column, row) = entry["tag"], map(float, entry["coord"])
        text = str(tag["identification"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{place} must have coord [column, row] and tag with identification: {error!r}."
        raise LeftOutError(msg, "malformed_point") from error
    name = level_name(text)
    if name is None:
        msg = f"{place} must be tagged with a level, such as L4 or L4-L5: got {text!r}."
        raise LeftOutError(msg, "unknown_tag")
    if not is_in_picture((column, row), instance):
        msg = f"{place} must lie in {instance.path}: {name} is at column {column:g}, row {row:g}."
        raise LeftOutError(msg, "point_outside_image")
    grade, z_index = tag.get(level_kind(name)), entry.get("zIndex")
    return TaggedPoint(name, (column, row), str(grade or ""), z_index)


def _tell_others(
    annotation: Annotation, points: Mapping[str, TaggedPoint], conversion: Conversion
) -> None:
    for name in points:
        if name not in conversion.registry.names:
            msg = (
                f"{annotation.place} tags {name}, no landmark of {conversion.registry.name}. It is "
            )
            msg += "kept, and ignored in training."
            conversion.remark("tag_outside_set", msg, case=annotation.case, landmark=name)


def _z_index(
    annotation: Annotation, points: Mapping[str, TaggedPoint], conversion: Conversion
) -> int | None:
    """The one zIndex of the points; ``None`` where they have several or none."""
    found = {point.z_index for point in points.values()}
    if len(found) == 1:
        return found.pop()
    counts = ", ".join(sorted(map(str, found)))
    msg = f"{annotation.place} must have points of one image: got zIndex {counts}. They are all "
    msg += "taken to lie on instanceUid."
    conversion.remark("several_slices", msg, case=annotation.case)
    return None


def _tell_unused(
    annotations: Sequence[Annotation], instances: Instances, conversion: Conversion
) -> None:
    for path in instances.damaged:
        msg = f"{path} must be a readable DICOM file: it is damaged. Copy it again."
        conversion.remark("unreadable_file", msg)
    annotated = {annotation.uids[0] for annotation in annotations}
    for uid in instances.study_uids:
        if uid not in annotated:
            named = f"StudyInstanceUID {uid}" if is_uid(uid) else "a study without a valid UID"
            msg = f"{instances.folder} holds {named}, which no annotation names."
            conversion.remark("study_not_annotated", msg)
