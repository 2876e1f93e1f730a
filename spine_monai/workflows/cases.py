"""The cases of one call: every study gets one id, before any work is done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spine_monai.data import read_datalist
from spine_monai.readers import LocatedStudy, StudyError, locate_study
from spine_monai.readers.location import UnusableStudy
from spine_monai.readers.pictures import is_picture_file
from spine_monai.readers.volumes import volume_stem

DATALIST_SUFFIX = ".json"


@dataclass(frozen=True)
class Case:
    """One study to localize.

    Args:
        id: name of its folder under the output.
        image: the study, or one that could not be located, whose error becomes this case's own.
        slice_index: sagittal slice to use; ``None`` leaves it to the evidence.
    """

    id: str
    image: LocatedStudy | UnusableStudy
    slice_index: int | None = None

    @property
    def network_item(self) -> dict[str, Any]:
        """The item that the bundle's preprocessing starts from."""
        item: dict[str, Any] = {"id": self.id, "image": self.image}
        return item if self.slice_index is None else item | {"slice_index": self.slice_index}


@dataclass(frozen=True)
class StudyOptions:
    """What the user decides for the studies of a call.

    Args:
        series_uid: the DICOM series to use; goes with one study.
        pixel_spacing_mm: size of the pixels of pictures.
    """

    series_uid: str | None = None
    pixel_spacing_mm: float | None = None


def find_cases(studies: Sequence[str | Path], options: StudyOptions = StudyOptions()) -> list[Case]:
    """Give every study its case id: the datalist's, else the SeriesInstanceUID, else the file stem.

    Args:
        studies: DICOM folders, zips or files, volume files, pictures, datalists.
        options: how the studies are read.

    Raises:
        ValueError: there is no study, a datalist is wrong, two cases have one id, or one series is
            named for several studies.
    """
    paths = [Path(study) for study in studies if str(study)]
    if not paths:
        msg = "studies must name at least one DICOM folder, NIfTI file or datalist: got none."
        raise ValueError(msg)
    spacing_mm = options.pixel_spacing_mm
    if spacing_mm is not None and not 0 < spacing_mm < np.inf:
        msg = f"pixel_spacing_mm must be a positive number: got {spacing_mm:g}."
        raise ValueError(msg)
    cases = [case for path in paths for case in _cases_at(path, options)]
    if options.series_uid and len(cases) > 1:
        msg = f"series_uid must go with one study: got {len(cases)}. Localize it by itself."
        raise ValueError(msg)
    return _check_ids(_with_parents(cases))


def network_items(
    studies: Sequence[str | Path], slice_index: int | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Return the items of ``find_cases`` for a MONAI dataset.

    Args:
        studies: DICOM folders, zips or files, volume files, pictures, datalists.
        slice_index: sagittal slice of every study, counted from 0 towards the patient's right; a
            datalist's own wins. ``None`` leaves it to the evidence.
        **options: those of ``StudyOptions``.
    """
    given = {} if slice_index is None else {"slice_index": slice_index}
    return [given | case.network_item for case in find_cases(studies, StudyOptions(**options))]


def _cases_at(path: Path, options: StudyOptions) -> list[Case]:
    if path.suffix != DATALIST_SUFFIX:
        return [_case(path, options)]
    return [_listed_case(item, options) for item in read_datalist(path)]


def _listed_case(item: Mapping[str, Any], options: StudyOptions) -> Case:
    series_uid = options.series_uid or item.get("series_uid")
    image = _locate(Path(item["image"]), replace(options, series_uid=series_uid))
    return Case(item["id"], image, item.get("slice_index"))


def _case(path: Path, options: StudyOptions) -> Case:
    image = _locate(path, options)
    if isinstance(image, LocatedStudy) and image.series:
        part = image.series.part[0]
        is_named = options.series_uid == image.series.name != image.series.uid
        return Case(f"{image.series.uid}_part{part}" if is_named else image.series.uid, image)
    return Case(_stem(path), image)


def _locate(path: Path, options: StudyOptions) -> LocatedStudy | UnusableStudy:
    spacing_mm = options.pixel_spacing_mm
    try:
        return locate_study(path, options.series_uid, pixel_spacing_mm=spacing_mm)
    except StudyError as error:
        return UnusableStudy(path, error)


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.resolve().name
    return path.stem if is_picture_file(path) else volume_stem(path)


def _with_parents(cases: list[Case]) -> list[Case]:
    """Cases that share a stem take their parent folder's name too."""
    counts = Counter(case.id for case in cases)
    return [_with_parent(case) if counts[case.id] > 1 else case for case in cases]


def _with_parent(case: Case) -> Case:
    path = case.image.path
    if case.id != _stem(path):
        return case
    return Case(f"{path.resolve().parent.name}_{case.id}", case.image, case.slice_index)


def _check_ids(cases: list[Case]) -> list[Case]:
    twice = sorted(case_id for case_id, n in Counter(c.id for c in cases).items() if n > 1)
    if twice:
        msg = f"studies must have different case ids: got {twice} more than once. Name each study "
        msg += "once, or give them ids in a datalist."
        raise ValueError(msg)
    unsafe = [case.id for case in cases if "/" in case.id or case.id.startswith(".") or not case.id]
    if unsafe:
        msg = f"case ids must be plain folder names: got {unsafe}."
        raise ValueError(msg)
    return cases
