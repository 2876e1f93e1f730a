"""Keys of queries: what is asked of every study and series, and what the user asks for."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping

from pydicom import Dataset
from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.multival import MultiValue

STUDY_KEYS = (
    *("StudyInstanceUID", "StudyDate", "ModalitiesInStudy"),
    *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
SERIES_KEYS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    *("NumberOfSeriesRelatedInstances", "SeriesDate", "SeriesTime", "ProtocolName"),
    *("BodyPartExamined", "Manufacturer", "ManufacturerModelName", "StationName"),
    *("InstitutionName", "PerformedProcedureStepDescription", "Laterality"),
)


def parse_query(text: str) -> dict[str, str]:
    """Return the keys of a query such as ``StudyDate=20260101-20260131 ModalitiesInStudy=MR``.

    Args:
        text: DICOM keywords with what they must match, by spaces; a value with spaces in quotes.

    Raises:
        ValueError: a part is no ``Keyword=value``, or DICOM has no such keyword.
    """
    try:
        parts = [part.partition("=") for part in shlex.split(text)]
    except ValueError:
        msg = "the query must close each quote that it opens."
        raise ValueError(msg) from None
    for number, (keyword, sign, value) in enumerate(parts, start=1):
        if not (keyword and sign and value):
            msg = f"the query must be made of Keyword=value parts: its part {number} is none. "
            msg += "Put a value with spaces in quotes."
            raise ValueError(msg)
        check_keyword(keyword, "the query")
    if not parts:
        msg = "the query must have at least one part, such as StudyDate=20260101-20260131: it has "
        msg += "none. A PACS would send all that it has."
        raise ValueError(msg)
    return {keyword: value for keyword, _, value in parts}


def check_keyword(keyword: str, place: str) -> None:
    """Refuse what is no DICOM keyword, and name the one that is meant.

    Raises:
        ValueError: DICOM has no such keyword.
    """
    if tag_for_keyword(keyword) is not None:
        return
    near = difflib.get_close_matches(keyword, keyword_dict, n=1, cutoff=0.0)
    msg = f"{place} must name DICOM keywords: got {keyword}. Did you mean {near[0]}?"
    raise ValueError(msg)


def check_series_keys(keys: Iterable[str]) -> None:
    """Refuse keys by which no series is told from another, as they are not asked for.

    Raises:
        ValueError: there is one.
    """
    for keyword in keys:
        check_keyword(keyword, "pull.series")
        if keyword not in SERIES_KEYS:
            msg = f"pull.series must have keys among {', '.join(SERIES_KEYS)}: got {keyword}."
            raise ValueError(msg)


def identifier(level: str, wanted: Iterable[str], matches: Mapping[str, str]) -> Dataset:
    """Return a question for C-FIND, C-GET or C-MOVE.

    Args:
        level: STUDY or SERIES.
        wanted: keywords that the answer shall have.
        matches: keyword -> value that it must match; several values by a backslash.

    Raises:
        ValueError: a value cannot be one of its keyword.
    """
    question = Dataset()
    question.QueryRetrieveLevel = level
    if not "".join(matches.values()).isascii():
        question.SpecificCharacterSet = "ISO_IR 192"
    for keyword in wanted:
        setattr(question, keyword, None)
    for keyword, value in matches.items():
        try:
            setattr(question, keyword, value.split("\\") if "\\" in value else value)
        except (ValueError, TypeError):
            msg = f"the query must have a value of its kind for {keyword}: it has another one."
            raise ValueError(msg) from None
    return question


def matches(dataset: Dataset, keyword: str, wanted: str | tuple[str, ...]) -> bool:
    """Return whether one of a keyword's values is one of those wanted.

    Args:
        dataset: a series' identifier.
        keyword: of it.
        wanted: value or values, with DICOM's wildcards * and ?; upper and lower case are the same.
    """
    patterns = [_pattern(one) for one in ([wanted] if isinstance(wanted, str) else wanted)]
    return any(one.fullmatch(value) for one in patterns for value in values_of(dataset, keyword))


def values_of(dataset: Dataset, keyword: str) -> list[str]:
    """Return a keyword's values as text; none where it is empty or not there."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [str(one).strip() for one in (value if isinstance(value, MultiValue) else [value])]


def _pattern(wanted: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    text = "".join(parts.get(letter, re.escape(letter)) for letter in wanted.strip())
    return re.compile(text, re.IGNORECASE | re.DOTALL)
