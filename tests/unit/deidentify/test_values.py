import struct
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.valuerep import IS, DSfloat

from spine_monai.deidentify import values
from spine_monai.deidentify.words import WORDS

NAME = "Mustermann"


@pytest.mark.parametrize(
    ("vr", "value", "stays"),
    [
        ("DS", DSfloat("0.47"), True),
        ("DS", DSfloat("-1.5e-3"), True),
        ("DS", DSfloat("-2.051034e-10"), True),
        ("DS", DSfloat("19610203"), False),  # a date
        ("DS", DSfloat("00491701234567"), False),  # a telephone number
        ("DS", NAME, False),
        ("IS", IS("7"), True),
        ("IS", IS("19610203"), False),
        ("US", 512, True),
        ("US", int.from_bytes(b"Mu", "little"), False),
        ("UL", int.from_bytes(b"Must", "little"), False),
        ("UL", 3, True),
        ("FD", 102.5, True),
        ("FD", 0.0, True),
        ("FD", float("nan"), False),
        ("FD", float("inf"), False),
        ("FD", True, False),
        ("FL", 1.0, False),
        ("US", None, False),
        ("US", "12", False),
    ],
)
def test_only_numbers_are_numbers(vr, value, stays):
    assert bool(values.numbers(vr, [value])) is stays
    assert not values.numbers(vr, [value, NAME])


@given(st.text(st.sampled_from(ascii_letters), min_size=8, max_size=8).map(str.encode))
def test_text_read_as_a_number_is_none(text):
    """Whoever misuses a number for letters finds none of it in the export."""
    (number,) = struct.unpack("<d", text)
    assert not values.numbers("FD", [number])
    assert not values.numbers("US", list(struct.unpack("<4H", text)))
    assert not values.numbers("UL", list(struct.unpack("<2I", text)))


@pytest.mark.parametrize("keyword", sorted(set(WORDS) - {"ImageType", "FrameType"}))
def test_a_name_is_no_word_of_any_list(keyword):
    known = sorted(WORDS[keyword])
    assert values.words(keyword, [known[0], NAME.upper(), "SMITH"]) == [known[0]]


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        (["ORIGINAL", "PRIMARY", "M", "DIS2D"], ["ORIGINAL", "PRIMARY", "M", "DIS2D"]),
        (["ORIGINAL", "PRIMARY", NAME.upper(), "M"], ["ORIGINAL", "PRIMARY", "OTHER", "M"]),
        ([NAME.upper(), "PRIMARY", "M"], []),
        (["ORIGINAL", NAME.upper()], []),
        (["ORIGINAL"], []),
    ],
)
def test_an_unknown_word_of_image_type_keeps_its_place_but_not_itself(given, stays):
    assert values.words("ImageType", given) == stays


@pytest.mark.parametrize("text", ["*tse2d1_15", "se2d1", "*spc3d1_101", "fl3d1", "*tir2d1_9"])
def test_the_form_of_a_sequence_name_stays(text):
    assert values.patterns("SequenceName", [text]) == [text]


@pytest.mark.parametrize("text", [NAME, "tse", "Erika2d1", "*tse2d1_Erika", "tse2d1\\x", "2d"])
def test_another_form_goes(text):
    assert values.patterns("SequenceName", [text]) == []
    assert values.patterns("StackID", ["Erika"]) == []


@pytest.mark.parametrize("text", ["", "24", "2400", "12:30", f"12{NAME}", "120000.1234567"])
def test_a_time_must_be_one(text):
    assert values.times(["120000.25"]) == ["120000.25"]
    assert values.times([text]) == []


def test_dates_move_by_the_patients_days(patient):
    (moved,) = values.dates("DA", ["20200304"], patient)
    assert moved == f"{patient.moved(values.parsed_date('20200304')):%Y%m%d}"
    (with_time,) = values.dates("DT", ["20200304120000.5+0100"], patient)
    assert with_time == f"{moved}120000.5"


@pytest.mark.parametrize(
    "text",
    ["", "2020", "2020.03.04", "20201304", "18500101", f"20200304{NAME}", NAME, "20200304120000"],
)
def test_what_is_no_date_goes(text, patient):
    assert values.dates("DA", [text], patient) == []
    assert values.dates("DA", ["20200304", text], patient) == []


def test_a_date_with_a_time_must_have_one(patient):
    assert values.dates("DT", [f"20200304{NAME}"], patient) == []


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        *(("062Y", "062Y"), ("089Y", "089Y"), ("090Y", "089Y"), ("103Y", "089Y")),
        *(("005D", "005D"), ("999M", "999M"), ("999W", "999W"), ("018M", "018M")),
        *(("Must", None), ("62", None), ("62Y", None)),
    ],
)
def test_an_age_is_at_most_89_years(text, stays):
    assert values.ages([text]) == ([stays] if stays else [])


@pytest.mark.parametrize(
    ("birth", "study", "age"),
    [
        ("19610203", "20200202", "058Y"),
        ("19610203", "20200203", "059Y"),
        ("19100101", "20200203", "089Y"),
        ("20210203", "20200203", None),
        (NAME, "20200203", None),
    ],
)
def test_an_age_follows_from_the_dates(birth, study, age):
    assert values.age_at(birth, study) == ([age] if age else [])


def test_a_maker_is_one_of_a_list():
    assert values.makers(["Siemens Healthineers"]) == ["SIEMENS"]
    assert values.makers(["Philips Medical Systems"]) == ["Philips"]
    assert values.makers([NAME]) == []
    assert values.makers([]) == []


def test_classes_and_pointers_are_those_of_dicom():
    assert values.classes(["1.2.840.10008.5.1.4.1.1.4"])
    assert not values.classes(["1.2.3"])
    assert values.pointers([0x00209056])
    assert values.pointers([0x2005140F])
    assert not values.pointers([int.from_bytes(b"Must", "little")])
    assert not values.pointers([NAME])
