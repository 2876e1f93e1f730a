"""The rule that each kind of series fails."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from spine_monai.readers.choice import candidates_of
from spine_monai.readers.series import Instance, Series

AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


def candidate(series):
    (one,) = candidates_of([series])
    return one


@pytest.mark.parametrize(
    "sop_class",
    [MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage],
)
def test_a_sagittal_t2_series_passes(one_series, sop_class):
    assert candidate(one_series(SOPClassUID=sop_class)).failed_rule == ""


REFUSED = {
    "CT": ({"SOPClassUID": CTImageStorage}, "it is not an MR image series"),
    "secondary capture": (
        {"SOPClassUID": SecondaryCaptureImageStorage},
        "it is not an MR image series",
    ),
    "localizer by code": ({"ImageType": ["ORIGINAL", "LOCALIZER"]}, "it is a localizer"),
    "localizer by text": ({"SeriesDescription": "t2 haste loc"}, "it is a localizer"),
    "reformat": ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "it is a reformat or projection"),
    "projection": (
        {"ImageType": ["DERIVED", "PROJECTION IMAGE"]},
        "it is a reformat or projection",
    ),
    "reformat by text": (
        {"ImageType": ["DERIVED", "PRIMARY"], "SeriesDescription": "t2_spc MPR sag"},
        "it is a reformat or projection of other images, by its description",
    ),
    "secondary": ({"ImageType": ["DERIVED", "SECONDARY"]}, "its images are SECONDARY: made after"),
    "phase": ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "its images are no magnitude"),
    "real part": ({"ComplexImageComponent": "REAL"}, "its images are no magnitude"),
    "map": ({"ImageType": ["DERIVED", "PRIMARY", "T2 MAP"]}, "it is a map computed"),
    "map by text": ({"SeriesDescription": "T2 map sag"}, "it is a map computed"),
    "fat": ({"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]}, "it is the fat image of Dixon"),
    "fat by text": ({"SeriesDescription": "t2_dixon_F"}, "it is the fat image of Dixon"),
    "opposed phase": ({"ImageType": ["ORIGINAL", "OP"]}, "it is the opposed-phase image of Dixon"),
    "T1": ({"EchoTime": 12, "RepetitionTime": 600}, r"it is not T2-weighted \(TE 12 ms, .*: T1\)"),
    "STIR": (
        {"ScanningSequence": "IR", "InversionTime": 150},
        r"it is not T2-weighted \(inversion recovery, .* TI 150 ms: STIR\)",
    ),
    "fat-suppressed": ({"ScanOptions": "FS"}, r"it is not T2-weighted \(.*: T2 fat-suppressed\)"),
}
UNREADABLE = {
    "axial": ({"ImageOrientationPatient": AXIAL}, "it is not sagittal but axial"),
    "coronal": ({"ImageOrientationPatient": CORONAL}, "it is not sagittal but coronal"),
    "colour": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "in colour, not grey"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "in colour, not grey"),
    "mosaic": ({"ImageType": ["ORIGINAL", "MOSAIC"]}, "its images are mosaics of slices"),
    "no place": (
        {"ImagePositionPatient": None},
        r"slice-0.dcm must have 3 finite values of ImagePositionPatient: got \[\]",
    ),
    "no orientation": (
        {"ImageOrientationPatient": None},
        r"slice-0.dcm must have 6 finite values of ImageOrientationPatient: got \[\]",
    ),
    "no spacing": (
        {"PixelSpacing": None},
        r"slice-0.dcm must have 2 finite values of PixelSpacing: got \[\]",
    ),
    "zero spacing": (
        {"PixelSpacing": [0, 0.7]},
        r"slice-0.dcm must have a positive PixelSpacing: got \[0.0, 0.7\] mm",
    ),
    "frames without place": (
        {"NumberOfFrames": 9},
        "slice-0.dcm has 9 frames and does not say where each of them lies",
    ),
}


@pytest.mark.parametrize(("attributes", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_series_that_can_be_read_fails_a_rule_of_choice(one_series, attributes, rule):
    one = candidate(one_series(**attributes))
    assert re.search(rule, one.failed_rule)
    assert one.unreadable == ""


@pytest.mark.parametrize(("attributes", "rule"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_series_that_cannot_be_read_fails_a_rule_of_reading(one_series, attributes, rule):
    one = candidate(one_series(**attributes))
    assert re.search(rule, one.failed_rule)
    assert one.unreadable == one.failed_rule


def test_uneven_slices_are_refused(stack):
    images = stack(6)
    one = candidate(Series("1.2.3", (*images[:2], *images[3:])))
    assert one.unreadable == (
        "it must have evenly spaced slices: ImagePositionPatient gives distances from 4.50 to "
        "9.00 mm. Is a slice missing?"
    )


def test_one_slice_is_too_few(one_series):
    assert candidate(one_series(1)).unreadable == "it has 1 slice where at least 2 are needed"


def test_an_original_with_the_word_mpr_is_no_reformat(one_series):
    series = one_series(ImageType=["ORIGINAL", "PRIMARY"], SeriesDescription="t2_spc for MPR")
    assert candidate(series).failed_rule == ""


def test_the_in_phase_image_of_dixon_passes(one_series):
    series = one_series(ImageType=["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"])
    assert candidate(series).failed_rule == ""


@pytest.mark.parametrize("keyword", ["PixelSpacing", "PerFrameFunctionalGroupsSequence"])
def test_a_value_that_reading_needs_must_be_one(one_series, keyword):
    series = one_series()
    broken = replace(series.instances[1], unreadable=("EchoTime", keyword))
    series = Series("1.2.3", (series.instances[0], broken, series.instances[2]))
    assert candidate(series).unreadable == f"slice-1.dcm has no valid {keyword}"


def test_a_value_that_reading_does_not_need_may_be_none(one_series):
    series = one_series()
    images = tuple(replace(image, unreadable=("SeriesNumber",)) for image in series.instances)
    assert candidate(Series("1.2.3", images)).failed_rule == ""


def test_a_frame_of_a_file_says_where_it_lies(one_series):
    images = one_series(NumberOfFrames=3).instances
    frames = tuple(Instance(Path("a.dcm"), i.header, frame=k) for k, i in enumerate(images))
    assert candidate(Series("1.2.3", frames)).failed_rule == ""


def test_a_series_in_three_planes_is_a_localizer(one_series):
    parts = [one_series(ImageOrientationPatient=o) for o in (AXIAL, CORONAL)] + [one_series()]
    rules = [one.failed_rule for one in candidates_of(parts)]
    assert rules == ["it is a localizer: its series has slices in three planes"] * 3
    assert candidates_of(parts[1:])[1].failed_rule == ""


def test_a_second_scan_of_the_same_places_is_left_out(one_series):
    series = replace(one_series(), scan=(2, 3))
    assert candidate(series).failed_rule == "it is scan 2 of 3 of the same places"


def test_no_rule_quotes_the_text(one_series):
    for attributes, _ in (REFUSED | UNREADABLE).values():
        text = f"Jane Doe {attributes.get('SeriesDescription', '')}"
        one = candidate(one_series(**attributes | {"SeriesDescription": text}))
        assert "Jane" not in one.failed_rule
