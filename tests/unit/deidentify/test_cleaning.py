import pydicom
import pytest
from planted_values import TEXT, WORDS, planted_bytes, raw
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from spine_monai.deidentify.cleaning import Cleaner
from spine_monai.deidentify.profile import PROFILE, Action

NAME = "Mustermann"
WITHOUT_VALUES = {
    keyword
    for keyword, action in PROFILE.items()
    if action in (Action.PIXELS, Action.ITEMS, Action.CODES)
}


@pytest.fixture
def clean(patient, again):
    """Clean an object as it is read from a file, and give what is then read back."""

    def call(dataset):
        cleaner = Cleaner(patient, "T2 sagittal")
        cleaned = cleaner.clean(again(dataset))
        cleaned.file_meta = dataset.file_meta
        return again(cleaned, "cleaned.dcm"), cleaner.dropped

    return call


def test_the_patient_is_a_subject_and_the_marks_are_set(image, clean, patient):
    cleaned, _ = clean(image(PatientBirthDate="19610203", StudyDate="20200304", PatientSex="F"))
    assert cleaned.PatientID == cleaned.PatientName == patient.subject
    assert cleaned.PatientIdentityRemoved == "YES"
    assert cleaned.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in cleaned.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert (cleaned.PatientAge, cleaned.PatientSex) == ("059Y", "F")
    assert cleaned.PatientBirthDate == ""
    assert cleaned.StudyDate < "20200304"
    assert cleaned.SeriesDescription == "T2 sagittal"


def test_geometry_and_contrast_stay_to_the_last_digit(image, clean):
    given = image(EchoTime="101.5", RepetitionTime="3500", SequenceName="*tse2d1_15")
    given.ScanOptions, given.WindowCenter = ["FS", NAME.upper(), "PFP"], ["100", "200"]
    given.SpacingBetweenSlices = "4.40000009536743"
    cleaned, dropped = clean(given)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime"):
        assert str(cleaned[keyword].value) == str(given[keyword].value)
    assert str(cleaned.SpacingBetweenSlices) == "4.40000009536743"
    assert cleaned.ScanOptions == ["FS", "PFP"]
    assert cleaned.SequenceName == "*tse2d1_15"
    assert not dropped


def test_uids_agree_wherever_they_stand(image, clean, pseudonyms):
    given, item, code = image(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = given.SOPClassUID, "1.2.3.4"
    item.FrameOfReferenceUID, item.PatientID, item.SeriesDescription = "1.2.9", NAME, NAME
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121311", "DCM", NAME
    item.PurposeOfReferenceCodeSequence = Sequence([code])
    given.ReferencedImageSequence = Sequence([item])
    cleaned, dropped = clean(given)
    (reference,) = cleaned.ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == cleaned.SOPInstanceUID == pseudonyms.uid("1.2.3.4")
    assert reference.FrameOfReferenceUID == cleaned.FrameOfReferenceUID
    assert reference.ReferencedSOPClassUID == given.SOPClassUID
    (known,) = reference.PurposeOfReferenceCodeSequence
    assert (known.CodeValue, known.CodeMeaning) == ("121311", "Localizer")
    assert dropped == {"PatientID": 1, "SeriesDescription": 1}


@pytest.mark.parametrize(
    ("value", "scheme"), [(NAME, "DCM"), ("121311", NAME), ("T-1", "99MUSTER"), ("", "DCM")]
)
def test_an_unknown_code_goes(image, clean, value, scheme):
    given, code = image(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, NAME
    given.AnatomicRegionSequence = Sequence([code])
    cleaned, dropped = clean(given)
    assert "AnatomicRegionSequence" not in cleaned
    assert dropped["AnatomicRegionSequence"] == 1


def test_an_older_code_has_the_meaning_of_the_newer(image, clean):
    given, code = image(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-11503", "SRT", NAME
    given.AnatomicRegionSequence = Sequence([code])
    cleaned, _ = clean(given)
    assert "umbar" in cleaned.AnatomicRegionSequence[0].CodeMeaning


def test_frames_of_enhanced_mr_keep_their_number_and_place(image, clean):
    given = image(NumberOfFrames=3)
    groups = []
    for number in range(3):
        group, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [number, 0, 0]
        content.StackID, content.InStackPositionNumber = "1", number + 1
        content.FrameComments, content.FrameAcquisitionDateTime = NAME, "20200304120000"
        content.DimensionIndexValues = [1, number + 1]
        if number:
            group.PlanePositionSequence = Sequence([position])
            group.FrameContentSequence = Sequence([content])
        groups.append(group)
    given.PerFrameFunctionalGroupsSequence = Sequence(groups)
    cleaned, dropped = clean(given)
    frames = cleaned.PerFrameFunctionalGroupsSequence
    assert [len(frame) for frame in frames] == [0, 2, 2]
    assert frames[2].PlanePositionSequence[0].ImagePositionPatient == [2, 0, 0]
    assert frames[2].FrameContentSequence[0].DimensionIndexValues == [1, 3]
    assert frames[2].FrameContentSequence[0].FrameAcquisitionDateTime < "20200304"
    assert dropped == {"FrameComments": 2}


def test_what_was_dropped_is_counted_by_names_of_dicom_alone(image, clean):
    given = image(PatientComments=NAME, InstitutionName=NAME)
    block = given.private_block(0x0029, NAME, create=True)
    block.add_new(0x10, "LO", NAME)
    given.add_new((0x6000, 0x3000), "OW", b"ab")
    given.add_new((0x0009, 0x0002), "LO", NAME)
    given.add_new((0x0018, 0xFFF0), "LO", NAME)
    _, dropped = clean(given)
    assert dropped == {
        "PatientComments": 1,
        "InstitutionName": 1,
        "private attribute": 3,
        "overlay": 1,
        "unknown attribute": 1,
    }


def test_a_number_that_is_a_name_leaves_an_empty_attribute_of_type_2(image, clean):
    given = image()
    for keyword in ("EchoTime", "SeriesNumber", "SliceThickness"):
        tag = Tag(keyword)
        given._dict[tag] = raw(tag, dictionary_VR(tag), NAME.encode())
    cleaned, dropped = clean(given)
    assert cleaned["EchoTime"].is_empty
    assert cleaned["SeriesNumber"].is_empty
    assert dropped == {"EchoTime": 1, "SeriesNumber": 1, "SliceThickness": 1}


@pytest.mark.parametrize("keyword", sorted(set(PROFILE) - WITHOUT_VALUES))
def test_no_retained_attribute_lets_a_name_pass(image, clean, keyword):
    """Each by itself, with its own VR, another one, and an unknown one."""
    own = dictionary_VR(keyword).split(" or ")[0]
    for vr in (own, "LO", "UN"):
        given, tag = image(), Tag(keyword)
        given._dict[tag] = raw(tag, vr, planted_bytes(own if vr == own else "LO"))
        cleaner = Cleaner(given_patient(clean), "")
        content = repr(cleaner.clean(given)).lower()
        assert not [word for word in WORDS if word.lower() in content], (keyword, vr)


def given_patient(clean):
    from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms

    return Patient("me", Pseudonyms(bytes(32)))


def test_every_text_vr_is_planted():
    """Else the test above could not fail for it."""
    vrs = {dictionary_VR(tag) for tag in keyword_dict.values()}
    text = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC"}
    assert text | {"UI", "UR", "UT"} == set(TEXT)
    assert set(TEXT) <= vrs
    assert pydicom.__version__
