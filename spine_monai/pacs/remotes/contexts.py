"""What we talk about with other nodes: SOP classes, transfer syntaxes, roles."""

from typing import Any

from pynetdicom import build_context, build_role
from pynetdicom import sop_class as classes
from pynetdicom.presentation import PresentationContext

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE
)
TRANSFER_SYNTAXES = [EXPLICIT, IMPLICIT, *COMPRESSED, "1.2.840.10008.1.2.1.99"]
IMAGES = (
    *("MRImageStorage", "EnhancedMRImageStorage", "EnhancedMRColorImageStorage"),
    "LegacyConvertedEnhancedMRImageStorage",
    *("CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage"),
    *("SecondaryCaptureImageStorage", "MultiFrameTrueColorSecondaryCaptureImageStorage"),
)
OTHERS = (
    *("BasicTextSRStorage", "EnhancedSRStorage", "ComprehensiveSRStorage"),
    *("Comprehensive3DSRStorage", "GrayscaleSoftcopyPresentationStateStorage"),
    *("SegmentationStorage", "KeyObjectSelectionDocumentStorage"),
)
RESULTS = (
    *("Comprehensive3DSRStorage", "SecondaryCaptureImageStorage"),
    "GrayscaleSoftcopyPresentationStateStorage",
)


def storage_classes() -> list[str]:
    """Return the UIDs of the objects that we fetch."""
    return [_uid(name) for name in (*IMAGES, *OTHERS)]


def get_contexts() -> list[PresentationContext]:
    """Return what C-GET asks for: one context for each compression, so that objects come as kept.

    They must be at most 128.
    """
    contexts = [build_context(classes.StudyRootQueryRetrieveInformationModelGet)]
    contexts += [build_context(name, [EXPLICIT, IMPLICIT]) for name in storage_classes()]
    for name in map(_uid, IMAGES):
        contexts += [build_context(name, syntax) for syntax in COMPRESSED]
    return contexts


def get_roles() -> list[Any]:
    """Return that the other side sends us objects on the association that we asked for."""
    return [build_role(name, scp_role=True) for name in storage_classes()]


def result_contexts() -> list[tuple[str, str]]:
    """Return the classes and transfer syntaxes of our own results."""
    return [(_uid(name), EXPLICIT) for name in RESULTS]


def _uid(name: str) -> str:
    return str(getattr(classes, name))
