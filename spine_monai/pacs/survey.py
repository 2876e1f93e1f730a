"""Which series of a PACS are wanted: asked for and decided before any pixels travel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom import Dataset

from spine_monai.pacs.keys import matches, values_of
from spine_monai.pacs.remote import Remote
from spine_monai.pacs.uids import checked_uid


@dataclass(frozen=True)
class FoundSeries:
    """A series that the PACS has.

    Args:
        study_number: of its study in the answer, from 1; messages name it so.
        number: of the series in its study's answer, from 1.
        study_uid: of its study; checked, so that a path may be made of it.
        series_uid: its own; checked too.
        modality: what the PACS says it is.
        expected: how many objects it has; ``None`` where the PACS does not say.
        reason: why it is not wanted; empty where it is.
        is_faulty: the PACS says something of it that cannot be.
    """

    study_number: int
    number: int
    study_uid: str
    series_uid: str
    modality: str
    expected: int | None
    reason: str = ""
    is_faulty: bool = False

    @property
    def name(self) -> str:
        """What messages call it: no UID."""
        return f"study {self.study_number}, series {self.number}"


def survey(
    remote: Remote, query: Mapping[str, str], wanted: Mapping[str, str | tuple[str, ...]]
) -> Iterator[FoundSeries]:
    """Yield the series of all studies that match a query, wanted or not.

    Args:
        remote: the PACS.
        query: keyword -> value, for studies.
        wanted: keyword -> value or values that a series must match.
    """
    for study_number, study in enumerate(list(remote.find_studies(query)), start=1):
        try:
            study_uid = checked_uid(study, "StudyInstanceUID")
        except ValueError as error:
            yield _faulty(study_number, 0, error)
            continue
        for number, series in enumerate(list(remote.find_series(study_uid)), start=1):
            yield _found(study_number, number, study_uid, series, wanted)


def _found(
    study_number: int,
    number: int,
    study_uid: str,
    series: Dataset,
    wanted: Mapping[str, str | tuple[str, ...]],
) -> FoundSeries:
    try:
        series_uid = checked_uid(series, "SeriesInstanceUID")
    except ValueError as error:
        return _faulty(study_number, number, error)
    modality = "".join(values_of(series, "Modality")[:1])
    return FoundSeries(
        study_number,
        number,
        study_uid,
        series_uid,
        modality if modality.isalnum() and len(modality) <= 16 else "?",
        _number(series, "NumberOfSeriesRelatedInstances"),
        _why_not(series, wanted),
    )


def _faulty(study_number: int, number: int, error: ValueError) -> FoundSeries:
    return FoundSeries(study_number, number, "", "", "?", None, str(error), is_faulty=True)


def _why_not(series: Dataset, wanted: Mapping[str, str | tuple[str, ...]]) -> str:
    for keyword, values in wanted.items():
        if not values_of(series, keyword):
            return f"the PACS does not say its {keyword}"
        if not matches(series, keyword, values):
            return f"another {keyword}"
    return ""


def _number(series: Dataset, keyword: str) -> int | None:
    try:
        return int(series.get(keyword))
    except (TypeError, ValueError):
        return None
