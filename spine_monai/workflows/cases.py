"""The cases of one call: every study gets one id, before any work is done."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spine_monai.data import read_datalist
from spine_monai.readers import LocatedStudy, StudyError, locate_study
from spine_monai.readers.volumes import volume_stem

DATALIST_SUFFIX = ".json"


@dataclass(frozen=True)
class Case:
    """One study to localize.

    Args:
        id: name of its folder under the output.
        image: the study, or the path of one that could not be located; reading that gives the
            error again, as this case's own.
        slice_index: sagittal slice to use; ``None`` leaves it to the evidence.
    """

    id: str
    image: LocatedStudy | Path
    slice_index: int | None = None

    @property
    def network_item(self) -> dict[str, Any]:
        """The item that the bundle's preprocessing starts from."""
        item: dict[str, Any] = {"id": self.id, "image": self.image}
        return item if self.slice_index is None else item | {"slice_index": self.slice_index}


def find_cases(studies: Sequence[str | Path]) -> list[Case]:
    """Give every study its case id: the datalist's, else the SeriesInstanceUID, else the file stem.

    Args:
        studies: DICOM folders or files, volume files, datalists.

    Raises:
        ValueError: there is no study, a datalist is wrong, or two cases have one id.
    """
    paths = [Path(study) for study in studies if str(study)]
    if not paths:
        msg = "studies must name at least one DICOM folder, NIfTI file or datalist: got none."
        raise ValueError(msg)
    cases = [case for path in paths for case in _cases_at(path)]
    return _check_ids(_with_parents(cases))


def network_items(
    studies: Sequence[str | Path], slice_index: int | None = None
) -> list[dict[str, Any]]:
    """Return the items of ``find_cases`` for a MONAI dataset.

    Args:
        studies: DICOM folders or files, volume files, datalists.
        slice_index: sagittal slice of every study, counted from 0 towards the patient's right; a
            datalist's own wins. ``None`` leaves it to the evidence.
    """
    given = {} if slice_index is None else {"slice_index": slice_index}
    return [given | case.network_item for case in find_cases(studies)]


def _cases_at(path: Path) -> list[Case]:
    if path.suffix != DATALIST_SUFFIX:
        return [_case(path)]
    return [
        Case(item["id"], _locate(Path(item["image"])), item.get("slice_index"))
        for item in read_datalist(path)
    ]


def _case(path: Path) -> Case:
    image = _locate(path)
    if isinstance(image, LocatedStudy) and image.series:
        return Case(image.series.uid, image)
    return Case(_stem(path), image)


def _locate(path: Path) -> LocatedStudy | Path:
    try:
        return locate_study(path)
    except StudyError:
        return path


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else volume_stem(path)


def _with_parents(cases: list[Case]) -> list[Case]:
    """Cases that share a stem take their parent folder's name too."""
    counts = Counter(case.id for case in cases)
    return [_with_parent(case) if counts[case.id] > 1 else case for case in cases]


def _with_parent(case: Case) -> Case:
    path = case.image.path if isinstance(case.image, LocatedStudy) else case.image
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
