"""A name in every attribute that DICOM has, in each form that its VR can hold, at every depth."""

import struct

import pydicom
from planted import BIRTH, NAME, WORD
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from spine_monai.deidentify.profile import CODE_SEQUENCES, PROFILE, SEQUENCES

WORDS = (NAME, WORD, BIRTH)
# What the image cannot be read without; the rest of the header is planted.
NEEDED = {
    *("SOPClassUID", "PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("ImageType", "BurnedInAnnotation", "ConversionType", "SpecificCharacterSet"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "PatientID"),
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "IssuerOfPatientID"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
}
TEXT = {
    **dict.fromkeys(("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE"), f"{NAME} {WORD}"),
    **dict.fromkeys(("CS",), f"{NAME.upper()}\\{WORD}"),
    **dict.fromkeys(("UR",), f"http://{NAME}/{WORD}"),
    **dict.fromkeys(("UI",), f"{NAME}{WORD}"),
    **dict.fromkeys(("IS", "DS"), f"{NAME}\\{BIRTH}"),
    **dict.fromkeys(("DA", "DT", "TM"), f"{BIRTH}{NAME}"),
    "AS": f"{NAME[:4]}",
}
SIZES = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "AT": 4, "OF": 4, "OL": 4}
SIZES |= {"FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}


def leaves():
    """The attributes that hold values, and whose group a data set may hold."""
    for tag, vr in ((tag, dictionary_VR(tag)) for tag in keyword_dict.values()):
        if 0x0008 <= tag >> 16 < 0x7FE0 and vr not in ("SQ", "OB or OW") and tag & 0xFFFF:
            yield Tag(tag), vr.split(" or ")[0]


def raw(tag, vr, value):
    """An element whose bytes are written as they are."""
    value += b" " if len(value) % 2 else b""
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def planted_bytes(vr):
    """The words, cut to a multiple of the VR's size; as text or as the bytes of numbers."""
    if vr in TEXT:
        return TEXT[vr].encode()
    words = f"{NAME}{WORD}{NAME}".encode()
    return words[: len(words) // SIZES.get(vr, 2) * SIZES.get(vr, 2)]


def plant_values(dataset, elements):
    """Put words into attributes of a data set, and into private blocks and overlays."""
    for tag, vr in elements:
        dataset._dict[tag] = raw(tag, vr, planted_bytes(vr))
    for group in (0x0009, 0x0029, 0x2001):
        creator = f"{NAME} {group:04X}".encode()
        dataset._dict[Tag(group, 0x10)] = raw(Tag(group, 0x10), "LO", creator)
        for number, vr in enumerate(("LO", "UN", "OB", "PN", "DS", "UT")):
            tag = Tag(group, 0x1001 + number)
            dataset._dict[tag] = raw(tag, vr, f"{NAME} {WORD} {BIRTH}".encode())
    for group in (0x6000, 0x6002):
        plant_overlay(dataset, group)


def plant_overlay(dataset, group):
    words = f"{NAME}{WORD}".encode()
    dataset._dict[Tag(group, 0x0010)] = raw(Tag(group, 0x0010), "US", struct.pack("<H", 8))
    dataset._dict[Tag(group, 0x0011)] = raw(Tag(group, 0x0011), "US", struct.pack("<H", 8))
    dataset._dict[Tag(group, 0x0022)] = raw(Tag(group, 0x0022), "LO", words)
    dataset._dict[Tag(group, 0x3000)] = raw(Tag(group, 0x3000), "OW", words)


def item_with():
    """An item full of words: in what may stay of items, and in some of what may not."""
    item = Dataset()
    tags = {Tag(keyword) for keyword in PROFILE}
    plant_values(item, [(tag, vr) for tag, vr in leaves() if tag in tags or tag.group == 0x0010])
    return item


def plant_nested(dataset):
    """Put items full of words, three deep, into each sequence that may stay."""
    deepest = item_with()
    inner = item_with()
    for keyword in SEQUENCES[:1]:
        inner[Tag(keyword)] = DataElement(Tag(keyword), "SQ", [deepest])
    item = item_with()
    for keyword in SEQUENCES[4:5]:
        item[Tag(keyword)] = DataElement(Tag(keyword), "SQ", [inner])
    for keyword in (*SEQUENCES, *CODE_SEQUENCES):
        if keyword not in NEEDED:
            dataset[Tag(keyword)] = DataElement(Tag(keyword), "SQ", [item])


def plant_file(path, *, nested=True):
    """Plant a DICOM file: header, private blocks, overlays, items, meta, preamble, and behind."""
    dataset = pydicom.dcmread(path)
    spared = {Tag(keyword) for keyword in NEEDED}
    plant_values(dataset, [(tag, vr) for tag, vr in leaves() if tag not in spared])
    if nested:
        plant_nested(dataset)
    dataset.PatientID = f"{NAME}-{BIRTH}"
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = NAME
    meta.SendingApplicationEntityTitle = WORD
    meta.ImplementationVersionName = NAME
    meta.PrivateInformationCreatorUID = "1.2.3"
    meta.PrivateInformation = f"{NAME} {WORD}".encode()
    dataset.preamble = f"{NAME} {WORD} {BIRTH}".encode().ljust(128, b"!")
    dataset.save_as(path)
    with path.open("ab") as stream:
        stream.write(f"{NAME} {WORD} {BIRTH} behind the data set".encode())
