import pydicom
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    MRSpectroscopyStorage,
    RawDataStorage,
    SecondaryCaptureImageStorage,
)

from spine_monai.deidentify.refusal import RefusedError, check_is_exported, kind_refused


@pytest.mark.parametrize(
    ("uid", "reason"),
    [
        (BasicTextSRStorage, "structured report"),
        (Comprehensive3DSRStorage, "structured report"),
        (GrayscaleSoftcopyPresentationStateStorage, "presentation state"),
        (SecondaryCaptureImageStorage, "secondary capture"),
        (EncapsulatedPDFStorage, "encapsulated document"),
        (RawDataStorage, "raw data"),
        (MRSpectroscopyStorage, "no MR image"),
        ("1.2.3", "no MR image"),
        ("", "no MR image"),
    ],
)
def test_other_kinds_are_refused_by_name(image, uid, reason):
    assert reason in kind_refused(str(uid))
    with pytest.raises(RefusedError, match=reason):
        check_is_exported(image(SOPClassUID=uid))


@pytest.mark.parametrize("uid", [MRImageStorage, EnhancedMRImageStorage])
def test_mr_images_are_exported(image, uid):
    assert kind_refused(str(uid)) == ""
    check_is_exported(image(SOPClassUID=uid, BurnedInAnnotation="NO"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"BurnedInAnnotation": "Mustermann"}, "BurnedInAnnotation"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"]}, "SECONDARY"),
        ({"ImageType": ["DERIVED", "PRIMARY", "SCREEN SAVE"]}, "screen shot"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "secondary"]}, "SECONDARY"),
        ({"ConversionType": "WSD"}, "ConversionType"),
        ({"SamplesPerPixel": 3}, "not grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not grey"),
    ],
)
def test_what_may_show_a_name_is_refused(image, change, reason):
    with pytest.raises(RefusedError, match=reason) as caught:
        check_is_exported(image(**change))
    assert "Mustermann" not in str(caught.value)


def test_an_overlay_in_the_pixels_is_refused(image):
    dataset = image()
    dataset.add_new((0x6000, 0x0102), "US", 12)
    with pytest.raises(RefusedError, match="overlay"):
        check_is_exported(dataset)
    dataset.add_new((0x6000, 0x3000), "OW", b"\0\0")
    check_is_exported(dataset)


def test_values_that_cannot_be_read_are_refused(image, again):
    dataset = image()
    dataset._dict[pydicom.tag.Tag("SamplesPerPixel")] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("SamplesPerPixel"), "US", 3, b"abc", 0, False, True
    )
    with pytest.raises(RefusedError, match="not grey"):
        check_is_exported(dataset)
