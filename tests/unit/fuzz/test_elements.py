"""Mutations of DICOM headers, as pydicom reads what they wrote."""

import io
import warnings
from random import Random

import numpy as np
import pydicom
import pytest
from fuzz.elements import (
    ELEMENT_MUTATIONS,
    change_length,
    change_value,
    find_elements,
    remove_element,
    with_value,
)
from hard_cases import CASES
from pydicom.data import get_testdata_file

FILES = ("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm")


def content_of(name):
    with open(get_testdata_file(name, download=False), "rb") as stream:
        return stream.read()


def parsed(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keyword", ["Rows", "PixelSpacing", "ImagePositionPatient", "PixelData"])
def test_an_attribute_is_found_where_pydicom_finds_it(name, keyword):
    data = content_of(name)
    raw = parsed(data).get_item(keyword)
    places = find_elements(data, [keyword])
    assert (raw.value_tell, raw.length) in [
        (place.value_at, place.length(data)) for place in places
    ]


def test_attributes_of_nested_items_are_found_too(tmp_path):
    case = next(case for case in CASES if case.name == "enhanced")
    (file,) = case.build(tmp_path).path.iterdir()
    assert len(find_elements(file.read_bytes(), ["ImagePositionPatient"])) == 6


@pytest.mark.parametrize("name", FILES)
def test_values_are_changed_and_the_file_stays_whole(name):
    data = content_of(name)
    changed = [change_value(data, Random(seed)) for seed in range(30)]
    assert all(len(parsed(one).PixelData) == 8192 for one in changed)
    assert len(set(changed)) > 20


def test_a_removed_attribute_is_gone():
    removed = {
        keyword
        for seed in range(60)
        for keyword in ("Rows", "PixelSpacing", "EchoTime", "SOPClassUID")
        if keyword not in parsed(remove_element(content_of("MR_small.dcm"), Random(seed)))
    }
    assert len(removed) >= 3


def test_a_length_is_changed_without_moving_anything():
    data = content_of("MR_small.dcm")
    changed = change_length(data, Random(5))
    assert len(changed) == len(data)
    assert 1 <= sum(a != b for a, b in zip(changed, data, strict=True)) <= 4


@pytest.mark.parametrize("mutation", dict.fromkeys(ELEMENT_MUTATIONS), ids=lambda m: m.__name__)
def test_what_is_no_dicom_stays_as_it_is(mutation):
    noise = np.random.default_rng(3).bytes(300).replace(b"\xfe\xff", b"")
    assert mutation(noise, Random(1)) == noise


def test_any_words_can_be_written_as_a_value():
    data = with_value(content_of("MR_small.dcm"), "SeriesInstanceUID", "Doe", vr=b"LO")
    element = parsed(data).get_item("SeriesInstanceUID")
    assert (element.VR, element.value) == ("LO", b"Doe ")
    with pytest.raises(ValueError, match="InversionTime must be in the file"):
        with_value(data, "InversionTime", "1")
