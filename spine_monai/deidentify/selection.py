"""Which series of a study are exported. It is decided while the free text is still there.

The reasons that leave this module hold no free text, no UID and no path.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from spine_monai.deidentify.refusal import kind_refused
from spine_monai.readers.archive import Source, is_zip, list_zip
from spine_monai.readers.choice import candidates_of, choose, choose_named
from spine_monai.readers.errors import StudyError
from spine_monai.readers.headers import CHUNK_BYTES, is_dicomdir, looks_like_dicom
from spine_monai.readers.index import StudyIndex, index_study
from spine_monai.readers.location import nothing_to_choose
from spine_monai.readers.quiet import silence_pydicom
from spine_monai.readers.rules import Candidate
from spine_monai.readers.series import Instance, Series

ALL = "all series were asked for"
CANNOT_CHOOSE = (
    "no series can be chosen: `spine-monai series` says why; name one with --series-uid, or export "
    "all with --all-series"
)
NOT_NAMED = "the named series is not there, or is no one stack of sagittal slices"
NO_DICOM = "it is no DICOM: there is no header to clean"
NOTHING = "there is no DICOM image"
NOT_THERE = "there is no such file or folder"


class SelectionError(StudyError):
    """Nothing of a study is exported; the message is the reason, fit for the manifest."""


@dataclass(frozen=True)
class Selected:
    """Images that are exported as one series.

    Args:
        series_uid: their SeriesInstanceUID, as it was.
        instances: the images; frames of one file share it.
        reason: why they are exported.
        description: what they are, in our words.
    """

    series_uid: str
    instances: tuple[Instance, ...]
    reason: str
    description: str

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the files are, each once."""
        sources = (one.source or Source(one.path) for one in self.instances)
        return tuple(dict.fromkeys(sources))


def select_series(study: Path, series_uid: str | None, *, all_series: bool) -> list[Selected]:
    """Choose what to export of a study, as ``localize`` chooses.

    Args:
        study: a DICOM folder, zip or file.
        series_uid: the one to export, whatever it is weighted by.
        all_series: export each series of MR images.

    Raises:
        SelectionError: there is nothing to export.
    """
    if not study.exists():
        raise SelectionError(NOT_THERE)
    if nothing_to_choose(study):
        raise SelectionError(NO_DICOM)
    try:
        index = index_study(study)
    except StudyError:
        raise SelectionError(_why_nothing(study)) from None
    return _all(index) if all_series else [_chosen(index, series_uid)]


def kinds_left_out(study: Path) -> Counter[str]:
    """Count the DICOM objects of a study that are never exported, by the reason."""
    silence_pydicom()
    kinds = Counter(_kind(source) for source in _sources(study))
    del kinds[""]
    return kinds


def _chosen(index: StudyIndex, series_uid: str | None) -> Selected:
    try:
        choice = choose_named(index, series_uid) if series_uid else choose(index)
    except StudyError:
        raise SelectionError(NOT_NAMED) from None
    if choice.chosen is None:
        raise SelectionError(CANNOT_CHOOSE)
    series = choice.chosen.series
    reason = choice.reason.removeprefix(f"{series.label}: ")
    return Selected(series.uid, series.instances, reason, _description(choice.chosen))


def _all(index: StudyIndex) -> list[Selected]:
    parts: dict[tuple[str, tuple[str, str]], list[Candidate]] = {}
    for candidate in candidates_of(index):
        key = candidate.series.uid, candidate.series.instances[0].study
        parts.setdefault(key, []).append(candidate)
    return [_together(uid, candidates) for (uid, _), candidates in parts.items()]


def _together(uid: str, candidates: list[Candidate]) -> Selected:
    series: list[Series] = [one.series for one in candidates]
    instances = tuple(instance for one in series for instance in one.instances)
    return Selected(uid, instances, ALL, _description(candidates[0]))


def _description(candidate: Candidate) -> str:
    try:
        weighting, plane = candidate.weighting.name, candidate.layout.plane
    except Exception:  # of any kind, on odd headers: the series is refused or exported by itself
        weighting = plane = ""
    words = ["MR" if weighting in ("", "unknown") else weighting, plane]
    words += ["lumbar"] if candidate.level == "lumbar" else []
    return " ".join(filter(None, words))


def _why_nothing(study: Path) -> str:
    kinds = kinds_left_out(study)
    return f"{NOTHING}: {'; '.join(kinds)}" if kinds else NOTHING


def _sources(study: Path) -> Iterator[Source]:
    files = sorted(study.rglob("*")) if study.is_dir() else [study]
    for file in filter(Path.is_file, files):
        try:
            yield from list_zip(file) if is_zip(file) else [Source(file)]
        except (StudyError, OSError):
            continue


def _kind(source: Source) -> str:
    """Why an object is never exported; empty where it may be, or where it is no DICOM."""
    try:
        with source.open() as stream:
            start = stream.read(CHUNK_BYTES)
            if not looks_like_dicom(start) or is_dicomdir(start):
                return ""
            stream.seek(0)
            dataset = pydicom.dcmread(
                stream, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"]
            )
        return kind_refused(str(dataset.get("SOPClassUID") or ""))
    except Exception:  # of any kind, on damaged bytes
        return ""
