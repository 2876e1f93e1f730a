"""Attributes as pydicom converts them from bytes, which it does when they are first asked for.

A value that is no such value is named by its keyword and never quoted: it may name a patient.
"""

from collections.abc import Collection
from functools import lru_cache

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

NUMERIC_VRS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"})
Elements = dict[BaseTag, DataElement]


def convert(dataset: Dataset, wanted: Collection[BaseTag]) -> tuple[Elements, list[BaseTag]]:
    """Return the wanted attributes that can be converted, and the tags of those that cannot."""
    present = [tag for tag in dataset.keys() if tag in wanted]  # noqa: SIM118 - iterates elements
    elements = {tag: _element(dataset, tag) for tag in present}
    found = {tag: element for tag, element in elements.items() if element is not None}
    return found, [tag for tag in present if tag not in found]


def single_number(header: Dataset, keyword: str) -> float:
    """Return an attribute's value; 0 where it is absent, not positive, or has several values."""
    try:
        value = float(header.get(keyword) or 0.0)
    except (TypeError, ValueError):
        return 0.0
    return value if value > 0 else 0.0  # NaN too


def _element(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    raw = dataset.get_item(tag)
    if not isinstance(raw, RawDataElement):
        return raw if _is_valid(raw) else None
    order = (raw.is_implicit_VR, raw.is_little_endian)
    return _from_bytes(raw.tag, raw.VR, raw.value or b"", *order)


@lru_cache(maxsize=1 << 14)
def _from_bytes(
    tag: BaseTag, vr: str | None, value: bytes, is_implicit: bool, is_little_endian: bool
) -> DataElement | None:
    """The element of some bytes; most of them repeat all through a series."""
    raw = RawDataElement(tag, vr, len(value), value, 0, is_implicit, is_little_endian)
    try:
        element = convert_raw_data_element(raw)
    except Exception:  # of any kind, on damaged bytes; its text would quote the value
        return None
    return element if _is_valid(element) else None


def _is_valid(element: DataElement) -> bool:
    """Whether a number is one, a text is text, and a single value is single, as by the dictionary.

    pydicom goes by the VR that the file names, and passes on any text where a number belongs.
    """
    is_multiple = element.VM > 1
    if element.VR == "SQ" or (is_multiple and dictionary_VM(element.tag) == "1"):
        return False
    if element.is_empty:
        return True
    kind = int | float if dictionary_VR(element.tag) in NUMERIC_VRS else str
    values = element.value if is_multiple else [element.value]
    return all(isinstance(value, kind) for value in values)
