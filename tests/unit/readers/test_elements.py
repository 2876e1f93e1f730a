"""Attributes that pydicom can convert, and those that it passes on as they are."""

import warnings

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from spine_monai.readers.elements import convert, single_number


def raw(keyword, vr, value, *, little=True):
    return RawDataElement(Tag(keyword), vr, len(value), value, 0, False, little)


def converted(*elements):
    dataset = Dataset({element.tag: element for element in elements})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, unreadable = convert(dataset, {element.tag for element in elements})
    return {element.keyword: element.value for element in found.values()}, unreadable


@pytest.mark.parametrize(
    ("element", "value"),
    [
        (raw("Rows", "US", b"\x00\x02"), 512),
        (raw("Rows", "US", b"\x02\x00", little=False), 512),
        (raw("PixelSpacing", "DS", b"0.5\\0.75 "), [0.5, 0.75]),
        (raw("EchoTime", "DS", b""), None),
        (raw("ImageType", "CS", b"ORIGINAL\\PRIMARY"), ["ORIGINAL", "PRIMARY"]),
    ],
)
def test_values_are_converted(element, value):
    assert converted(element) == ({keyword_for_tag(element.tag): value}, [])


@pytest.mark.parametrize(
    "element",
    [
        raw("Rows", "US", b"abc"),
        raw("Rows", "US", b"\x01\x00\x02\x00"),
        raw("Rows", "LO", b"many"),
        raw("PixelSpacing", "DS", b"Doe\\0.75"),
        raw("NumberOfFrames", "IS", b"x"),
        raw("ImageType", "US", b"\x01\x00"),
        raw("ScanningSequence", "OB", b"SE"),
        raw("SeriesDescription", "FD", b"12345678"),
        DataElement(Tag("Rows"), "SQ", Sequence()),
        DataElement(Tag("SeriesDescription"), "SQ", Sequence()),
    ],
    ids=lambda element: f"{element.VR} {element.value}",
)
def test_what_is_no_such_value_is_told_by_its_tag(element):
    assert converted(element) == ({}, [element.tag])


def test_only_the_wanted_attributes_are_looked_at():
    dataset = Dataset({tag: raw(tag, "LO", b"x") for tag in (Tag("PatientID"),)})
    assert convert(dataset, {Tag("Rows")}) == ({}, [])


@pytest.mark.parametrize("value", [None, -3, 0, [80, 90]])
def test_a_value_that_is_no_single_positive_number_is_unknown(one_image, value):
    assert single_number(one_image(FlipAngle=value).header, "FlipAngle") == 0


def test_a_text_is_no_number(one_image):
    assert single_number(one_image(ScanningSequence="SE").header, "ScanningSequence") == 0
