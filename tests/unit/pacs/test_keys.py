"""Queries in words, wildcards, and UIDs of which paths may be made."""

import pytest
from pydicom import Dataset

from spine_monai.pacs.keys import (
    check_series_keys,
    identifier,
    matches,
    parse_query,
)


def test_a_query_is_keywords_with_values():
    text = "StudyDate=20260101-20260131 ModalitiesInStudy=MR PatientName='Doe^Jane Ann'"
    assert parse_query(text) == {
        "StudyDate": "20260101-20260131",
        "ModalitiesInStudy": "MR",
        "PatientName": "Doe^Jane Ann",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("StudyDat=20260101", "got StudyDat. Did you mean StudyDate?"),
        ("modality=MR", "Did you mean Modality?"),
        ("StudyDate", "its part 1 is none"),
        ("StudyDate=20260101 Kowalski", "its part 2 is none"),
        ("StudyDate=", "its part 1 is none"),
        ("PatientName='Kowalski", "must close each quote"),
        ("", "must have at least one part"),
    ],
)
def test_a_query_that_cannot_be_is_refused_without_its_values(text, reason):
    with pytest.raises(ValueError, match="query") as caught:
        parse_query(text)
    assert reason in str(caught.value)
    assert "Kowalski" not in str(caught.value)


def test_a_question_has_what_it_wants_and_what_must_match():
    question = identifier("STUDY", ["StudyDate", "PatientID"], {"ModalitiesInStudy": "MR\\CT"})
    assert question.ModalitiesInStudy == ["MR", "CT"]
    assert (question.QueryRetrieveLevel, question.StudyDate) == ("STUDY", None)
    assert "SpecificCharacterSet" not in question


def test_a_name_in_other_letters_is_sent_as_unicode():
    question = identifier("STUDY", [], {"PatientName": "Müller"})
    assert question.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_value_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="a value of its kind for SeriesNumber"):
        identifier("SERIES", [], {"SeriesNumber": "many"})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"SeriesDescription": "*T2*sag*"}, True),
        ({"SeriesDescription": "t2"}, False),
        ({"SeriesDescription": "?2*"}, True),
        ({"SeriesDescription": ("*STIR*", "*SAG*")}, True),
        ({"SeriesDescription": "[t]2*"}, False),
        ({"SeriesDescription": "*", "Modality": "CT"}, False),
        ({"SeriesNumber": "4"}, True),
        ({"ProtocolName": "*"}, False),
        ({}, True),
    ],
)
def test_wildcards_are_those_of_dicom(wanted, expected):
    series = Dataset()
    series.Modality, series.SeriesDescription, series.SeriesNumber = "MR", "T2 tse SAG 4", 4
    assert all(matches(series, *one) for one in wanted.items()) is expected


def test_one_of_several_values_is_enough():
    study = Dataset()
    study.ModalitiesInStudy = ["CT", "MR"]
    assert matches(study, "ModalitiesInStudy", "MR")


def test_series_are_told_apart_by_what_is_asked_for():
    check_series_keys(["Modality", "SeriesDescription"])
    with pytest.raises(ValueError, match=r"Did you mean SeriesDescription\?"):
        check_series_keys(["SeriesDescriptio"])
    with pytest.raises(ValueError, match=r"must have keys among .*: got EchoTime"):
        check_series_keys(["EchoTime"])
