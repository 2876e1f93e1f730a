"""The cases of one call: every study gets one id, before any work is done.

The studies of a datalist have their ids in it. They are located by whoever does them, so that a
list of a million studies costs no look at any of them before its turn comes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spine_monai.data import read_datalist
from spine_monai.files import place_of
from spine_monai.readers import LocatedStudy, StudyError, locate_study
from spine_monai.readers.location import UnusableStudy
from spine_monai.readers.pictures import is_picture_file
from spine_monai.readers.volumes import volume_stem

DATALIST_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study that a datalist names, not yet looked for.

    Args:
        file: where it is said to be.
        series_uid: the DICOM series to use.
        pixel_spacing_mm: size of the pixels of a picture.
    """

    file: str
    series_uid: str | None = None
    pixel_spacing_mm: float | None = None

    @property
    def path(self) -> Path:
        """Where it is said to be."""
        return Path(self.file)

    def locate(self) -> LocatedStudy | UnusableStudy:
        """Look for it now; one that cannot be used comes back with the reason."""
        try:
            return locate_study(self.path, self.series_uid, pixel_spacing_mm=self.pixel_spacing_mm)
        except StudyError as error:
            return UnusableStudy(self.path, error)


@dataclass(frozen=True, slots=True)
class Case:
    """One study to localize.

    Args:
        id: name of its folder under the output.
        image: the study; one that could not be located, whose error becomes this case's own; or a
            datalist's, which is located when its turn comes.
        slice_index: sagittal slice to use; ``None`` leaves it to the evidence.
    """

    id: str
    image: LocatedStudy | UnusableStudy | ListedStudy
    slice_index: int | None = None

    @property
    def network_item(self) -> dict[str, Any]:
        """The item that a ``Localizer`` takes, and the bundle's preprocessing starts from."""
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
    """Return the items of ``find_cases`` for a MONAI dataset, every study located.

    Args:
        studies: DICOM folders, zips or files, volume files, pictures, datalists.
        slice_index: sagittal slice of every study, counted from 0 towards the patient's right; a
            datalist's own wins. ``None`` leaves it to the evidence.
        **options: those of ``StudyOptions``.
    """
    given = {} if slice_index is None else {"slice_index": slice_index}
    cases = find_cases(studies, StudyOptions(**options))
    return [given | replace(case, image=located(case.image)).network_item for case in cases]


def located(
    study: LocatedStudy | UnusableStudy | ListedStudy | str | Path,
) -> LocatedStudy | UnusableStudy:
    """Return a study as it lies on disk: the given one, or the one that is found at its path."""
    if isinstance(study, LocatedStudy | UnusableStudy):
        return study
    return study.locate() if isinstance(study, ListedStudy) else ListedStudy(str(study)).locate()


def _cases_at(path: Path, options: StudyOptions) -> list[Case]:
    if path.suffix != DATALIST_SUFFIX:
        return [_case(path, options)]
    return [_listed_case(item, options) for item in read_datalist(path)]


def _listed_case(item: Mapping[str, Any], options: StudyOptions) -> Case:
    series_uid = options.series_uid or item.get("series_uid")
    image = ListedStudy(item["image"], series_uid, options.pixel_spacing_mm)
    return Case(item["id"], image, item.get("slice_index"))


def _case(path: Path, options: StudyOptions) -> Case:
    image = ListedStudy(str(path), options.series_uid, options.pixel_spacing_mm).locate()
    if isinstance(image, LocatedStudy) and image.series:
        part = image.series.part[0]
        is_named = options.series_uid == image.series.name != image.series.uid
        return Case(f"{image.series.uid}_part{part}" if is_named else image.series.uid, image)
    return Case(_stem(path), image)


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
    return Case(f"{place_of(path).parent.name}_{case.id}", case.image, case.slice_index)


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
