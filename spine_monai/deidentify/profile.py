"""The allow-list: which attributes of an MR image stay, and in which form. All others go.

It follows the Basic Application Level Confidentiality Profile of DICOM PS3.15 with two options,
Retain Longitudinal Temporal Information With Modified Dates and Retain Patient Characteristics.
``docs/reference/deidentification.md`` is made from it.
"""

import re
from enum import Enum

from pydicom.tag import BaseTag, Tag

from spine_monai.deidentify.words import WORDS

PROFILE_VERSION = 1
METHOD = f"spine_monai allow-list, profile {PROFILE_VERSION}"
# Code, meaning (PS3.16 CID 7050).
OPTIONS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
OLDEST = 89  # years; who is older is written as this old


class Action(Enum):
    """What is done with an attribute, in words."""

    NUMBER = "kept where it is a number within bounds"
    WORD = "kept where its words are in the list of the standard or of vendors"
    PATTERN = "kept where it has the form that scanners write"
    UID = "replaced by HMAC"
    CLASS = "kept where it is a class that DICOM defines"
    DATE = "moved by the patient's number of days"
    TIME = "kept where it is a time of day"
    AGE = f"kept, {OLDEST} years where it is more; from the birth date where it is absent"
    MAKER = "written as one of a list of makers, else left empty"
    POINTER = "kept where it points to an attribute that stays in a header"
    CODES = "kept where pydicom's dictionary knows the code, with the dictionary's meaning"
    ITEMS = "kept, its items cleaned by this same list"
    EMPTY = "present and empty"
    DUMMY = "REMOVED where it was there"
    PIXELS = "kept as stored, cut to the length of the image; comments in JPEG frames are removed"


NUMBERS = (
    *("InstanceNumber", "SeriesNumber", "AcquisitionNumber", "EchoNumbers", "ImagesInAcquisition"),
    *("TemporalPositionIdentifier", "NumberOfTemporalPositions", "TemporalPositionIndex"),
    *("PatientSize", "PatientWeight"),
    *("Rows", "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceLocation", "NumberOfFrames"),
    *("SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("PixelAspectRatio", "LossyImageCompressionRatio"),
    *("EchoTime", "EffectiveEchoTime", "RepetitionTime", "InversionTime", "InversionTimes"),
    *("EchoTrainLength", "FlipAngle", "NumberOfAverages", "ImagingFrequency"),
    *("MagneticFieldStrength", "NumberOfPhaseEncodingSteps", "PercentSampling"),
    *("PercentPhaseFieldOfView", "PixelBandwidth", "ReconstructionDiameter", "AcquisitionMatrix"),
    *("SAR", "dBdt", "TriggerTime", "AcquisitionDuration", "FrameAcquisitionDuration"),
    *("RFEchoTrainLength", "GradientEchoTrainLength", "GradientOutput", "TransmitterFrequency"),
    *("SpecificAbsorptionRateValue", "MRAcquisitionFrequencyEncodingSteps"),
    *("MRAcquisitionPhaseEncodingStepsInPlane", "MRAcquisitionPhaseEncodingStepsOutOfPlane"),
    *("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"),
    *(
        "ParallelReductionFactorSecondInPlane",
        "NumberOfKSpaceTrajectories",
        "ChemicalShiftReference",
    ),
    *("DiffusionBValue", "DiffusionGradientOrientation", "SlabThickness", "SlabOrientation"),
    *("MidSlabPosition", "TagSpacingFirstDimension", "TagThickness"),
    *("FrameAcquisitionNumber", "InStackPositionNumber", "DimensionIndexValues"),
    *("ReferencedFrameNumber", "InConcatenationNumber", "InConcatenationTotalNumber"),
    *(
        "ConcatenationFrameOffsetNumber",
        "NominalCardiacTriggerDelayTime",
        "TemporalPositionTimeOffset",
    ),
)
UIDS = (
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("SynchronizationFrameOfReferenceUID", "ReferencedSOPInstanceUID", "ConcatenationUID"),
    *("ReferencedFrameOfReferenceUID", "DimensionOrganizationUID"),
    "SOPInstanceUIDOfConcatenationSource",
)
DATES = (
    *("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"),
    *("FrameAcquisitionDateTime", "FrameReferenceDateTime"),
)
CODE_SEQUENCES = (
    *("AnatomicRegionSequence", "PurposeOfReferenceCodeSequence", "DerivationCodeSequence"),
    "ViewCodeSequence",
)
SEQUENCES = (
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence"),
    *("FrameContentSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence"),
    *("FrameAnatomySequence", "MRImageFrameTypeSequence", "MREchoSequence", "MRModifierSequence"),
    *("MRTimingAndRelatedParametersSequence", "MRAveragesSequence", "MRFOVGeometrySequence"),
    *("MRImagingModifierSequence", "MRReceiveCoilSequence", "MRTransmitCoilSequence"),
    *("MRSpatialSaturationSequence", "MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    *("OperatingModeSequence", "SpecificAbsorptionRateSequence", "TemporalPositionSequence"),
    *("CardiacSynchronizationSequence", "DimensionOrganizationSequence", "DimensionIndexSequence"),
    *("UnassignedSharedConvertedAttributesSequence", "ConversionSourceAttributesSequence"),
    *("UnassignedPerFrameConvertedAttributesSequence", "ReferencedImageSequence"),
    *("SourceImageSequence", "DerivationImageSequence", "ReferencedSeriesSequence"),
    *("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageEvidenceSequence"),
    *("SourceImageEvidenceSequence", "StudiesContainingOtherReferencedInstancesSequence"),
)
# A few stems and numbers, so that no name has the form: *tse2d1_15.
STEMS = "se|tse|tir|ir|fl|fi|fq|ep|tfl|me|spc|spcR|qfl"
SEQUENCE = rf"\*?h?({STEMS})(2d|3d)\d{{0,3}}(_\d{{1,3}})?"
PATTERNS = {
    **dict.fromkeys(("SequenceName", "PulseSequenceName"), SEQUENCE),
    "StackID": r"\d{1,4}",
}
DUMMIES = (
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "ReceiveCoilName"),
    *("ReceiveCoilManufacturerName", "TransmitCoilName", "TransmitCoilManufacturerName"),
)
# Type 2 of the patient, study, series and MR image: they must be there, with a value or without.
ALWAYS_THERE = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "SeriesNumber", "Manufacturer", "InstanceNumber"),
    "PositionReferenceIndicator",
)
# Of type 2 too, but only in some kinds of images: empty where they were there with another value.
EMPTY_IF_DROPPED = (
    *("ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength", "PatientPosition"),
    *("Laterality", "SeriesNumber", "SliceThickness", "SpacingBetweenSlices"),
)
EMPTY = (
    *("PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "PositionReferenceIndicator",
)
# Added to every object; its own values go.
SET = (
    *("PatientName", "PatientID", "PatientIdentityRemoved", "DeidentificationMethod", "Modality"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
    "SeriesDescription",
)
PROFILE: dict[str, Action] = {
    **dict.fromkeys(NUMBERS, Action.NUMBER),
    **dict.fromkeys(WORDS, Action.WORD),
    **dict.fromkeys(PATTERNS, Action.PATTERN),
    **dict.fromkeys(UIDS, Action.UID),
    **dict.fromkeys(("SOPClassUID", "ReferencedSOPClassUID"), Action.CLASS),
    **dict.fromkeys(DATES, Action.DATE),
    **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), Action.TIME),
    **dict.fromkeys(("DimensionIndexPointer", "FunctionalGroupPointer"), Action.POINTER),
    **dict.fromkeys(CODE_SEQUENCES, Action.CODES),
    **dict.fromkeys(SEQUENCES, Action.ITEMS),
    **dict.fromkeys(DUMMIES, Action.DUMMY),
    **dict.fromkeys(EMPTY, Action.EMPTY),
    "PatientAge": Action.AGE,
    "Manufacturer": Action.MAKER,
    "PixelData": Action.PIXELS,
}
# Where the root alone may hold them.
ROOT_ONLY = frozenset({Action.AGE, Action.EMPTY, Action.MAKER, Action.PIXELS})
ACTIONS: dict[BaseTag, Action] = {Tag(keyword): action for keyword, action in PROFILE.items()}
FORMS = {keyword: re.compile(pattern) for keyword, pattern in PATTERNS.items()}
