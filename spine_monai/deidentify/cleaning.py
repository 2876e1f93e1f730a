"""A header by the allow-list: what stays of each attribute, in nested sequences too."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from spine_monai.deidentify import values
from spine_monai.deidentify.profile import (
    ACTIONS,
    ALWAYS_THERE,
    EMPTY_IF_DROPPED,
    METHOD,
    OPTIONS,
    ROOT_ONLY,
    SET,
    Action,
)
from spine_monai.deidentify.pseudonyms import Patient

REMOVED = "REMOVED"
GROUPS_OF_FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
OVERLAYS = range(0x6000, 0x6100)


class Cleaner:
    """Cleans the headers of one patient's objects and counts what goes.

    Args:
        patient: whose they are.
        description: of the series, in our words.
    """

    def __init__(self, patient: Patient, description: str) -> None:
        self.patient, self.description = patient, description
        self.dropped: Counter[str] = Counter()

    def clean(self, dataset: Dataset) -> Dataset:
        """Return what may stay of an object, with the marks of de-identification, without pixels.

        Args:
            dataset: as it was read; its values are converted in it.
        """
        cleaned = self._items(dataset, is_root=True)
        for keyword in ALWAYS_THERE:
            if keyword not in cleaned:
                setattr(cleaned, keyword, None)
        if not cleaned.get("PatientAge"):
            _put(cleaned, "PatientAge", _age_of(dataset))
        self._mark(cleaned)
        return cleaned

    def _mark(self, cleaned: Dataset) -> None:
        cleaned.PatientName = cleaned.PatientID = self.patient.subject
        cleaned.Modality = "MR"
        cleaned.SeriesDescription = self.description
        cleaned.PatientIdentityRemoved = "YES"
        cleaned.DeidentificationMethod = METHOD
        cleaned.DeidentificationMethodCodeSequence = [
            _code(code, "DCM", meaning) for code, meaning in OPTIONS.items()
        ]
        cleaned.LongitudinalTemporalInformationModified = "MODIFIED"

    def _items(self, dataset: Dataset, *, is_root: bool = False) -> Dataset:
        cleaned = Dataset()
        for tag in list(dataset.keys()):
            action, keyword = ACTIONS.get(tag), _name(tag)
            if is_root and (keyword in SET or action is Action.PIXELS):
                continue
            element = None
            if action and (is_root or action not in ROOT_ONLY):
                element = self._element(dataset, tag, action)
            if element is not None:
                cleaned.add(element)
            else:
                self.dropped[keyword] += 1
                if is_root and keyword in EMPTY_IF_DROPPED:
                    cleaned.add(_empty(tag))
        return cleaned

    def _element(self, dataset: Dataset, tag: BaseTag, action: Action) -> DataElement | None:
        """What stays of an attribute, if anything."""
        if action is Action.EMPTY:
            return _empty(tag)
        element = _converted(dataset, tag)
        if element is None:
            return None
        if element.is_empty:
            return _empty(tag)
        if action in (Action.ITEMS, Action.CODES):
            items = self._sequence(element, action)
            return DataElement(tag, "SQ", items) if items else None
        found = self._values(keyword_for_tag(tag), element, action)
        if not found:
            return None
        value = found[0] if len(found) == 1 else found
        return DataElement(tag, element.VR, value, validation_mode=config.IGNORE)

    def _values(self, keyword: str, element: DataElement, action: Action) -> list[Any]:
        given = list(element.value) if element.VM > 1 else [element.value]
        if not _is_many_enough(element.tag, len(given)):
            return []
        by_action = {
            Action.NUMBER: lambda: values.numbers(element.VR, given),
            Action.WORD: lambda: values.words(keyword, given),
            Action.PATTERN: lambda: values.patterns(keyword, given),
            Action.UID: lambda: [self.patient.pseudonyms.uid(str(uid)) for uid in given],
            Action.CLASS: lambda: values.classes(given),
            Action.DATE: lambda: values.dates(element.VR, given, self.patient),
            Action.TIME: lambda: values.times(given),
            Action.AGE: lambda: values.ages(given),
            Action.MAKER: lambda: values.makers(given),
            Action.POINTER: lambda: values.pointers(given),
            Action.DUMMY: lambda: [REMOVED],
        }
        return by_action[action]()

    def _sequence(self, element: DataElement, action: Action) -> list[Dataset]:
        if action is Action.CODES:
            codes = [_known_code(item) for item in element.value]
            return [code for code in codes if code is not None]
        items = [self._items(item) for item in element.value]
        is_kept = any(items) or element.keyword in GROUPS_OF_FRAMES
        return items if is_kept else []


def _converted(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """The element with its values, if it has the VR of the dictionary and they are such values."""
    try:
        element = dataset[tag]
    except Exception:  # of any kind, on damaged bytes; its text would quote the value
        return None
    return element if _vr(tag) == element.VR else None


@cache
def _vr(tag: BaseTag) -> str:
    return str(dictionary_VR(tag))


@cache
def _name(tag: BaseTag) -> str:
    """How the manifest calls an attribute: nothing that a file can choose."""
    if tag.is_private:
        return "private attribute"
    if tag.group in OVERLAYS:
        return "overlay"
    return keyword_for_tag(tag) or "unknown attribute"


@cache
def _is_many_enough(tag: BaseTag, count: int) -> bool:
    multiplicity = str(dictionary_VM(tag))
    return not multiplicity.isdigit() or count == int(multiplicity)


def _empty(tag: BaseTag) -> DataElement:
    return DataElement(tag, _vr(tag), [] if _vr(tag) == "SQ" else None)


def _put(dataset: Dataset, keyword: str, found: Sequence[Any]) -> None:
    if found:
        setattr(dataset, keyword, found[0])


def _age_of(dataset: Dataset) -> list[Any]:
    birth, study = (_converted(dataset, Tag(f"{name}Date")) for name in ("PatientBirth", "Study"))
    if birth is None or study is None:
        return []
    return values.age_at(str(birth.value), str(study.value))


def _known_code(item: pydicom.Dataset) -> Dataset | None:
    """The code with the meaning of pydicom's dictionary; what the file says it means goes."""
    value, scheme = (
        _converted(item, Tag(keyword)) for keyword in ("CodeValue", "CodingSchemeDesignator")
    )
    if value is None or scheme is None:
        return None
    meaning = _meanings().get((str(scheme.value), str(value.value)))
    return None if meaning is None else _code(str(value.value), str(scheme.value), meaning)


@cache
def _meanings() -> dict[tuple[str, str], str]:
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    found = {
        (scheme, code): meaning
        for scheme, keywords in concepts.items()
        for codes in keywords.values()
        for code, (meaning, _) in codes.items()
    }
    older = {
        ("SRT", old): found["SCT", new]
        for old, new in mapping["SRT"].items()
        if ("SCT", new) in found
    }
    return found | older


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
