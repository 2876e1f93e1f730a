"""Whether a value may stay: it must be what its attribute says, or it may be somebody's name.

Each function takes the values of an element as pydicom converts them and returns those to write,
none where the attribute goes.
"""

import re
from datetime import date, datetime
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID_dictionary

from spine_monai.deidentify.profile import FORMS, OLDEST
from spine_monai.deidentify.pseudonyms import Patient
from spine_monai.deidentify.words import MANUFACTURERS, ORIGINS, WORDS

Values = list[Any]
NUMBER = re.compile(r"[+-]?(\d{1,12}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?")
WHOLE = re.compile(r"[+-]?\d{1,6}")
# Beyond them no scanner writes a number, and text read as binary numbers gives just such ones.
BOUNDS = {"US": 8192.0, "UL": 1e6, "SS": 8192.0, "SL": 1e6, "IS": 1e6, "DS": 1e6, "FD": 5e5}
LEAST = 1e-9
FIRST_YEAR = 1950
DATE = re.compile(r"\d{8}")
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
AGE = re.compile(r"\d{3}[DWMY]")
DAYS_OF = {"D": 1.0, "W": 7.0, "M": 30.44, "Y": 365.25}
# Attributes of private groups that dimensions of Enhanced MR point to.
PRIVATE_GROUPS = (0x2001, 0x2005)


def numbers(vr: str, values: Values) -> Values:
    """Keep numbers that are some."""
    bound = BOUNDS.get(vr, 0.0)
    return values if values and all(_is_number(one, vr, bound) for one in values) else []


def words(keyword: str, values: Values) -> Values:
    """Keep the words of an attribute's list; one of ImageType that is not in it becomes OTHER."""
    known, found = WORDS[keyword], [str(value).strip().upper() for value in values]
    if keyword not in ("ImageType", "FrameType"):
        return [word for word in found if word in known]
    if len(found) < 2 or found[0] not in ORIGINS or found[1] not in known:
        return []
    return [word if word in known else "OTHER" for word in found]


def patterns(keyword: str, values: Values) -> Values:
    """Keep one text that has the form of its attribute."""
    found = [str(value).strip() for value in values]
    return found if len(found) == 1 and FORMS[keyword].fullmatch(found[0]) else []


def classes(values: Values) -> Values:
    """Keep a class that DICOM defines."""
    return values if values and all(str(value) in UID_dictionary for value in values) else []


def times(values: Values) -> Values:
    """Keep times of day."""
    found = [str(value).strip() for value in values]
    return found if found and all(TIME.fullmatch(value) for value in found) else []


def dates(vr: str, values: Values, patient: Patient) -> Values:
    """Move dates, and dates with times, to those of the export; a time zone goes."""
    moved = [_moved(str(value).strip(), vr, patient) for value in values]
    return moved if all(moved) else []


def ages(values: Values) -> Values:
    """Keep an age, at most that of the oldest."""
    text = str(values[0]).strip() if len(values) == 1 else ""
    if not AGE.fullmatch(text):
        return []
    years = int(text[:3]) * DAYS_OF[text[3]] / DAYS_OF["Y"]
    return [f"{OLDEST:03d}Y" if years > OLDEST else text]


def age_at(birth: str, study: str) -> Values:
    """Return the age in years at a study, none where one of the dates is no date."""
    born, seen = parsed_date(birth), parsed_date(study)
    if born is None or seen is None or seen < born:
        return []
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return ages([f"{min(years, 999):03d}Y"])


def makers(values: Values) -> Values:
    """Return the maker's name as the list writes it."""
    text = str(values[0]).strip().upper() if values else ""
    return [name for start, name in MANUFACTURERS.items() if text.startswith(start)][:1]


def pointers(values: Values) -> Values:
    """Keep tags of the dictionary, and those in a private group that scanners count by."""
    return values if values and all(map(_is_pointer, values)) else []


def parsed_date(text: str) -> date | None:
    """Return a date of DICOM's form since 1900, ``None`` of anything else."""
    try:
        return datetime.strptime(text, "%Y%m%d").date() if DATE.fullmatch(text) else None
    except ValueError:
        return None


def _moved(text: str, vr: str, patient: Patient) -> str:
    day, rest = parsed_date(text[:8]), re.split(r"[+-]", text[8:])[0]
    is_whole = not rest or (vr == "DT" and TIME.fullmatch(rest))
    if day is None or day.year < FIRST_YEAR or not is_whole:
        return ""
    return f"{patient.moved(day):%Y%m%d}{rest}"


def _is_number(value: Any, vr: str, bound: float) -> bool:
    if vr in ("IS", "DS"):
        text = str(getattr(value, "original_string", value)).strip()
        if not (WHOLE if vr == "IS" else NUMBER).fullmatch(text):
            return False
    if isinstance(value, bool | str | bytes):
        return False
    try:
        size = abs(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
    return size <= bound and (vr != "FD" or size == 0 or size >= LEAST)


def _is_pointer(tag: Any) -> bool:
    try:
        return bool(keyword_for_tag(tag)) or int(tag) >> 16 in PRIVATE_GROUPS
    except (TypeError, ValueError):
        return False
