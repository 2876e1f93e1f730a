"""Studies in which words are planted that must not get out: in sound files and in broken ones.

Every text attribute holds one, and so do nested sequences and private blocks.
"""

import json
import warnings
from importlib.resources import files as package_files

import pydicom
from fuzz.elements import with_value
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from spine_monai.data.dicom import write_dicom_series

# Planted where the patient and the study are described, and everywhere else.
NAME, WORD, BIRTH = "Mustermann", "Geheimnis", "19610203"
SECRETS = (NAME, WORD, BIRTH, "062Y", "61020")
TEXT_VRS = {"PN", "LO", "LT", "SH", "ST", "UT", "UC", "AE"}
FREE_TEXT = {"PatientComments", "AdditionalPatientHistory", "Occupation", "ReasonForVisit"}
MODULES = ("patient", "general-study", "patient-study", "clinical-trial-subject")
MODULES += ("clinical-trial-study",)


def identity_keywords():
    """The attributes of the patient and the study, as highdicom has them from the standard."""
    source = package_files("highdicom") / "_standard" / "module_attribute_map.json"
    modules = json.loads(source.read_text())
    return {one["keyword"] for name in MODULES for one in modules[name] if not one["path"]}


# Two of the patient's are retired.
IDENTITY = identity_keywords() - FREE_TEXT | {"OtherPatientIDs", "EthnicGroup"}


def plant(dataset, *, is_root=True):
    """Put a word in every text attribute there is, in a sequence and in private blocks."""
    for keyword, tag in keyword_dict.items():
        if 0x0008 < tag >> 16 < 0x5000 and dictionary_VR(tag) in TEXT_VRS:
            setattr(dataset, keyword, NAME if keyword in IDENTITY and is_root else WORD)
    dataset.PatientName, dataset.PatientID = f"{NAME}^Erika=", "61020-77"
    dataset.PatientBirthDate, dataset.PatientAge = BIRTH, "062Y"
    dataset.SeriesDescription = f"{WORD} t2 sag"
    block = dataset.private_block(0x0029, WORD, create=True)
    block.add_new(0x10, "OB", f"{WORD}_".encode())
    block.add_new(0x11, "LO", f"{NAME} {BIRTH}")
    block.add_new(0x13, "UN", f"{NAME}, {WORD}".encode())
    if is_root:
        dataset.RequestAttributesSequence = Sequence([inner_item()])
        dataset.OtherPatientIDsSequence = Sequence([identity_item()])
        block.add_new(0x12, "SQ", Sequence([inner_item()]))
        for element in (element for element in dataset if element.VR == "SQ"):
            element.is_undefined_length = True


def inner_item():
    """A nested item full of the words; of undefined length, so that its values can be replaced."""
    item = Dataset()
    plant(item, is_root=False)
    item.is_undefined_length_sequence_item = True
    return item


def identity_item():
    """Another ID of the patient, with something private beside it."""
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = NAME, NAME
    item.private_block(0x0029, WORD, create=True).add_new(0x10, "LO", WORD)
    item.is_undefined_length_sequence_item = True
    return item


def put(file, keyword, value, *, vr=b""):
    """Write any words as an attribute's value, in nested items too, and say another VR."""
    file.write_bytes(with_value(file.read_bytes(), keyword, value, vr=vr))


def leave(files):
    pass


def spoil_dates(files):
    for file in files:
        for keyword in ("PatientBirthDate", "StudyDate", "ContentDate", "StudyTime"):
            put(file, keyword, f"01.01.1970 {NAME}")


def spoil_numbers(files):
    for file in files:
        for keyword in ("SeriesNumber", "InstanceNumber", "SliceThickness", "EchoTrainLength"):
            put(file, keyword, NAME)
        put(file, "SpacingBetweenSlices", f"{NAME}^{WORD}")


def spoil_needed_numbers(files):
    for file in files:
        put(file, "PixelSpacing", f"{NAME}\\{WORD}")


def spoil_positions(files):
    put(files[2], "ImagePositionPatient", f"1\\2\\{NAME}")


def spoil_uids(files):
    for file in files:
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            put(file, keyword, f"{NAME}^Erika")


def spoil_series_uid(files):
    for file in files:
        put(file, "SeriesInstanceUID", f"{NAME}^Erika")


def spoil_syntax(files):
    for file in files:
        put(file, "TransferSyntaxUID", f"1.2.840.{NAME}")


def spoil_classes(files):
    for file in files:
        put(file, "SOPClassUID", f"1.2.840.{NAME}")


def spoil_codes(files):
    for file in files:
        put(file, "ImageType", f"ORIGINAL\\PRIMARY\\{NAME.upper()}")
        put(file, "Modality", NAME)


def spoil_grey(files):
    put(files[3], "PhotometricInterpretation", f"{NAME.upper()} {WORD}")


def spoil_weighting(files):
    for file in files:
        put(file, "EchoTime", NAME)
        put(file, "ScanningSequence", WORD)


def spoil_character_set(files):
    for file in files:
        put(file, "SpecificCharacterSet", NAME)


def spoil_vrs(files):
    for file in files:
        put(file, "PatientName", f"{NAME}^Erika", vr=b"DS")
        put(file, "PatientID", NAME, vr=b"IS")
        put(file, "PatientBirthDate", NAME, vr=b"FD")
        put(file, "SeriesDescription", WORD, vr=b"UI")
        put(file, "StudyDate", f"{NAME}", vr=b"US")


def cut_header(files):
    files[4].write_bytes(files[4].read_bytes()[:900])


def cut_pixels(files):
    files[1].write_bytes(files[1].read_bytes()[:-700])


SPOILS = {
    spoil.__name__: spoil
    for spoil in (
        *(leave, spoil_dates, spoil_numbers, spoil_needed_numbers, spoil_positions, spoil_uids),
        *(spoil_series_uid, spoil_syntax, spoil_classes, spoil_codes, spoil_grey),
        *(spoil_weighting, spoil_character_set, spoil_vrs, cut_header, cut_pixels),
    )
}


def write_planted(folder, volume, ras_from_index, spoil):
    """Write a study full of the words, and spoil it."""
    attributes = {"EchoTime": "100", "RepetitionTime": "3000", "ImageType": ["ORIGINAL", "PRIMARY"]}
    paths = write_dicom_series(
        volume, ras_from_index, folder, seed=folder.name, attributes=attributes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            dataset = pydicom.dcmread(path)
            plant(dataset)
            dataset.SpecificCharacterSet = "ISO_IR 192"
            dataset.StudyDate = dataset.ContentDate = "20200304"
            dataset.save_as(path)
    assert all(path.read_bytes().count(WORD.encode()) > 300 for path in paths)
    spoil(paths)
