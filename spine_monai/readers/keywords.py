"""The attributes that index, grouping, geometry and choice need; nothing else is read.

Free text is among them, for the choice alone, and PatientID, to tell patients apart: neither is
ever written anywhere.
"""

import re

from pydicom.tag import Tag

SHARED_GROUPS, FRAME_GROUPS = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
GROUP_KEYWORDS = (SHARED_GROUPS, FRAME_GROUPS)
IDENTITY_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "SeriesNumber", "Modality", "Manufacturer", "PatientID"),
)
SCAN_KEYWORDS = (
    *("EchoNumbers", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
)
GRID_KEYWORDS = (
    *("Rows", "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames"),
)
PIXEL_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
)
CONTRAST_KEYWORDS = (
    *("ImageType", "EchoTime", "RepetitionTime", "InversionTime", "EchoTrainLength", "FlipAngle"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName"),
    *("PulseSequenceName", "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery"),
    *("SpectrallySelectedSuppression", "SpectrallySelectedExcitation", "AcquisitionContrast"),
    *("ComplexImageComponent", "DiffusionBValue"),
)
TEXT_KEYWORDS = ("SeriesDescription", "ProtocolName", "BodyPartExamined")
# What every image must have in a readable form if it is there at all.
NEEDED_KEYWORDS = (*GRID_KEYWORDS, *PIXEL_KEYWORDS, "SOPClassUID", "SeriesInstanceUID")
# What the functional groups of Enhanced MR may say of a frame.
FRAME_KEYWORDS = (*SCAN_KEYWORDS, *GRID_KEYWORDS, *PIXEL_KEYWORDS, *CONTRAST_KEYWORDS)
KEYWORDS = (*IDENTITY_KEYWORDS, *FRAME_KEYWORDS, *TEXT_KEYWORDS)
TAGS = frozenset(Tag(keyword) for keyword in KEYWORDS)
FRAME_TAGS = frozenset(Tag(keyword) for keyword in FRAME_KEYWORDS)
GROUP_TAGS = frozenset(Tag(keyword) for keyword in GROUP_KEYWORDS)
UID_PATTERN = re.compile(r"[0-9.]{1,64}")


def is_uid(value: object) -> bool:
    """Whether a value may be written as a UID; what some programs put there is a name."""
    return bool(UID_PATTERN.fullmatch(str(value)))
