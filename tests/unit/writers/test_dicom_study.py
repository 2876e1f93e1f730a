"""How a DICOM result joins the study of its images."""

import logging
import warnings
from copy import deepcopy

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID

from spine_monai.readers import StudyError, locate_study
from spine_monai.writers.dicom_reference import read_header
from spine_monai.writers.dicom_study import (
    building,
    object_arguments,
    quiet,
    reading,
    result_uid,
    save_in_study,
    weights_digest,
)


@pytest.fixture
def dataset():
    """A small object such as highdicom makes, stamped with the moment."""
    with quiet():
        made = pydicom.Dataset()
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "2.25.1"
        made.PatientID = made.PatientName = made.StudyInstanceUID = None
        made.ContentDate, made.ContentTime = "20330102", "030405"
        made.InstanceCreationDate, made.InstanceCreationTime = "20330102", "030405"
        equipment = pydicom.Dataset()
        equipment.Manufacturer, equipment.ContributionDateTime = "someone", "20330102030405"
        made.ContributingEquipmentSequence = [equipment]
        made.SeriesDescription = "ours"
    return made


@pytest.fixture
def saved(dataset, tmp_path):
    """Save the object in the study of the images whose attributes are given."""

    def save(header):
        save_in_study(deepcopy(dataset), header, tmp_path / "saved.dcm")
        return pydicom.dcmread(tmp_path / "saved.dcm")

    return save


@pytest.fixture
def header(dicom_series):
    return read_header(dicom_series.instances[0])


def test_the_same_inputs_give_the_same_uid(record, dicom_series):
    uid = result_uid(record, dicom_series, "sr", "instance")
    assert uid == result_uid(deepcopy(record), dicom_series, "sr", "instance")
    assert UID(uid).is_valid
    assert uid.startswith("2.25.")


def test_the_uid_does_not_depend_on_where_files_lie(record, dicom_series):
    elsewhere = record | {"case": "other", "source": record["source"] | {"path": "/elsewhere"}}
    assert result_uid(elsewhere, dicom_series) == result_uid(record, dicom_series)


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": {"weights_sha256": {"model.pt": "00"}}},
        {"options": {"min_confidence": 0.7}},
        {"software": {"name": "spine_monai", "version": "9"}},
        {"landmark_set": "another"},
        {"slice": {"index": 4}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_input_gives_another_uid(record, dicom_series, change):
    assert result_uid(record | change, dicom_series) != result_uid(record, dicom_series)


def test_another_kind_and_another_series_give_another_uid(record, dicom_series, demo_study):
    own = result_uid(record, dicom_series, "sr")
    assert own != result_uid(record, dicom_series, "sc")
    assert own != result_uid(record, locate_study(demo_study).series, "sr")


def test_a_series_that_grew_gives_another_uid(record, dicom_series, dicom_folder):
    (dicom_folder / "0005.dcm").unlink()
    fewer = locate_study(dicom_folder).series
    assert fewer.uid == dicom_series.uid
    assert result_uid(record, fewer) != result_uid(record, dicom_series)


def test_objects_of_one_result_have_series_of_their_own(record, dicom_series):
    arguments = [object_arguments(kind, record, dicom_series) for kind in ("sr", "sc", "gsps")]
    for keyword in ("series_instance_uid", "sop_instance_uid", "series_number"):
        assert len({one[keyword] for one in arguments}) == 3
    assert all("research only" in one["series_description"] for one in arguments)
    assert all(len(one["series_description"]) <= 64 for one in arguments)


def test_the_weights_have_one_digest(record, make_record, result):
    digest = weights_digest(record)
    assert len(digest) == 64
    assert digest != weights_digest(make_record(result, weights_sha256={"model.pt": "00"}))


def test_identity_is_that_of_the_images(saved, header):
    header.PatientID, header.AccessionNumber, header.PatientSex = "4711", "A-1", "F"
    written = saved(header)
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientSex",
        "AccessionNumber",
        "StudyInstanceUID",
    ):
        assert written[keyword].value == header[keyword].value
    assert "SeriesInstanceUID" not in written
    assert written.SeriesDescription == "ours"


def test_a_name_in_another_script_keeps_its_bytes(saved, header, tmp_path):
    header.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    header.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    header.save_as(tmp_path / "source.dcm")
    source = pydicom.dcmread(tmp_path / "source.dcm")
    written = saved(source)
    assert written.SpecificCharacterSet == ["", "ISO 2022 IR 87"]
    assert written.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert written.PatientName.original_string == source.PatientName.original_string


def test_own_text_beyond_ascii_takes_the_character_set_that_holds_all(dataset, saved, header):
    header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller^Jörg"
    dataset.SeriesDescription = "腰椎"
    written = saved(header)
    assert written.SpecificCharacterSet == "ISO_IR 192"
    assert (written.SeriesDescription, written.PatientName) == ("腰椎", "Müller^Jörg")


def test_a_value_that_is_no_such_value_stays_as_it_is(saved, header, tmp_path):
    """A weight that is no number, a birth date that is no date; nothing is said about either."""
    for tag, vr, value in [(0x00101030, "DS", b"Doe "), (0x00100030, "DA", b"1.1.70 Doe")]:
        header[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    header.save_as(tmp_path / "source.dcm")
    with quiet():
        written = saved(pydicom.dcmread(tmp_path / "source.dcm"))
        assert (written.PatientWeight, written.PatientBirthDate) == ("Doe", "1.1.70 Doe")


def test_an_attribute_that_cannot_be_read_is_left_out(saved, header, tmp_path):
    """A sequence whose bytes are none."""
    tag = Tag("OtherPatientIDsSequence")
    header[tag] = RawDataElement(tag, "SQ", 6, b"nobody", 0, False, True)
    with pytest.raises(OSError, match="No tag to read"):
        header[tag]
    header.PatientID = "4711"
    assert "OtherPatientIDsSequence" not in (written := saved(header))
    assert written.PatientID == "4711"


def test_private_attributes_of_nested_identity_stay_behind(saved, header):
    item = pydicom.Dataset()
    item.PatientID = "4711"
    item.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "secret")
    header.OtherPatientIDsSequence = [item]
    written = saved(header)
    assert written.OtherPatientIDsSequence[0].PatientID == "4711"
    assert "secret" not in str(written)
    assert "secret" in str(header)  # which others may still read


def test_identity_of_another_kind_is_left_out(saved, header):
    header["PatientID"] = pydicom.DataElement(Tag("PatientID"), "SQ", [])
    header["PatientAge"] = pydicom.DataElement(Tag("PatientAge"), "LO", "Doe")
    written = saved(header)
    assert not written.PatientID
    assert "PatientAge" not in written


@pytest.mark.parametrize("error", [KeyError("Doe"), ValueError("Doe"), AttributeError("Doe")])
def test_what_goes_wrong_on_building_is_told_without_the_headers_words(dicom_series, error):
    with (
        pytest.raises(ValueError, match=f"taken over to .*: {type(error).__name__}") as told,
        building(dicom_series),
    ):
        raise error
    assert "Doe" not in str(told.value)
    assert told.value.__suppress_context__  # as the log would show it


@pytest.mark.parametrize("error", [OSError("the disk is full"), StudyError("the zip is damaged")])
def test_what_the_headers_do_not_cause_is_raised_as_it_is(dicom_series, error):
    with pytest.raises(type(error), match="the "), building(dicom_series):
        raise error


def test_private_attributes_and_free_text_stay_behind(saved, header):
    header.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "secret")
    header.PatientComments, header.ImageComments = "secret", "secret"
    assert "secret" not in str(saved(header))


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"ContentDate": "20240305", "ContentTime": "101112.5"}, ("20240305", "101112.5")),
        ({"StudyDate": "20240301", "StudyTime": ""}, ("20240301", "000000")),
        ({"AcquisitionDate": "20240302", "StudyDate": "20240301"}, ("20240302", "000000")),
        ({}, ("19000101", "000000")),
    ],
)
def test_dates_are_those_of_the_images(saved, header, dates, expected):
    for keyword, value in dates.items():
        setattr(header, keyword, value)
    written = saved(header)
    assert (written.ContentDate, written.ContentTime) == expected


def test_a_date_that_is_none_is_passed_over(saved, header):
    with quiet():
        header.ContentDate, header.ContentTime = "01.01.1970 Doe", "noon"
        header.SeriesDate, header.SeriesTime = "20240305", "noon"
        written = saved(header)
    assert (written.ContentDate, written.ContentTime) == ("20240305", "000000")


def test_the_moment_of_writing_is_nowhere(saved, header):
    assert "2033" not in str(saved(header))


def test_the_libraries_are_silent_while_objects_are_built(caplog, capsys):
    before = logging.getLogger("highdicom").level
    with quiet(), caplog.at_level(logging.DEBUG):
        logging.getLogger("highdicom.base").error("Doe")
        logging.getLogger("pydicom").error("Doe")
        warnings.warn("Doe", stacklevel=1)
    assert "Doe" not in caplog.text + capsys.readouterr().err
    assert logging.getLogger("highdicom").level == before


@pytest.mark.parametrize("error", [KeyError("Doe"), ValueError("Doe"), EOFError("Doe")])
def test_what_goes_wrong_on_reading_is_told_without_the_objects_words(tmp_path, error):
    with (
        pytest.raises(ValueError, match=f"x must be a picture: {type(error).__name__}") as told,
        reading(tmp_path / "x", "a picture"),
    ):
        raise error
    assert "Doe" not in str(told.value)
