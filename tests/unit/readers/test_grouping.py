"""Images to series; each case is one in which folders are read wrongly by other programs."""

import random

import numpy as np
import pytest

from spine_monai.readers.grouping import group_series
from spine_monai.readers.series import Instance

AXIAL = [1, 0, 0, 0, 1, 0]


def shuffled(images):
    return random.Random(1).sample(images, len(images))


def names(series):
    return [path.stem for path in series.files]


def parts(images):
    return [names(series) for series in group_series(shuffled(images))]


def slices(name, *numbers):
    return [f"{name}-{number}" for number in numbers]


def turned(angle_deg):
    """A sagittal orientation turned about the patient's long axis."""
    angle = np.radians(angle_deg)
    return [float(np.sin(angle)), float(np.cos(angle)), 0, 0, 0, -1]


def test_one_grid_is_one_series_in_order(stack):
    (series,) = group_series(shuffled(stack(5)))
    assert names(series) == slices("slice", 0, 1, 2, 3, 4)
    assert (series.part, series.scan) == ((1, 1), (1, 1))


def test_series_are_told_apart_by_their_uid(stack):
    images = stack(2, "a", SeriesInstanceUID="1.1") + stack(2, "b", SeriesInstanceUID="1.2")
    assert [series.uid for series in group_series(images)] == ["1.1", "1.2"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 512},
        {"Columns": 512},
        {"PixelSpacing": [0.625, 0.76]},
        {"ImageOrientationPatient": AXIAL},
        {"ImageOrientationPatient": turned(1.0)},
        {"EchoTime": 12},
        {"SamplesPerPixel": 3},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageType": ["DERIVED", "PRIMARY"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ComplexImageComponent": "PHASE"},
    ],
    ids=str,
)
def test_a_series_is_split_by_grid_echo_and_kind(stack, attributes):
    other = stack(2, "other", **attributes)
    found = group_series(shuffled(stack(3) + other))
    assert sorted(map(sorted, map(names, found))) == [
        slices("other", 0, 1),
        slices("slice", 0, 1, 2),
    ]
    assert sorted(series.part for series in found) == [(1, 2), (2, 2)]
    assert len({series.name for series in found}) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelSpacing": [0.6251, 0.7499]},
        {"ImageOrientationPatient": turned(0.3)},
        {"EchoTime": 100.2},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]},
        {"AcquisitionNumber": 2},
        {"InstanceNumber": 77},
        {"SliceThickness": 9},
    ],
    ids=str,
)
def test_rounding_and_what_says_nothing_of_the_grid_split_nothing(stack, attributes):
    plain = {"ImageType": ["ORIGINAL", "PRIMARY"], "AcquisitionNumber": 1, "SliceThickness": 4}
    other = stack(2, "other", start_mm=10 - 3 * 4.5, **(plain | attributes))
    (series,) = group_series(shuffled(stack(3, **plain) + other))
    assert names(series) == slices("slice", 0, 1, 2) + slices("other", 0, 1)


def test_an_image_without_place_spoils_the_series_that_it_may_belong_to(stack, one_image):
    lost = one_image("lost.dcm", ImageOrientationPatient=None)
    (series,) = group_series([*stack(3), lost])
    assert names(series) == [*slices("slice", 0, 1, 2), "lost"]


def test_a_picture_of_another_size_without_place_spoils_nothing(stack, one_image):
    picture = one_image("picture.dcm", ImageOrientationPatient=None, Rows=600)
    assert sorted(parts([*stack(3), picture])) == [["picture"], slices("slice", 0, 1, 2)]


def test_parts_are_numbered_by_their_content(stack):
    images = stack(2, "b", EchoTime=90) + stack(2, "a", EchoTime=15) + stack(2, "c", Rows=9)
    expected = [names(series) for series in group_series(images)]
    assert expected[0] == slices("a", 0, 1)
    for seed in range(5):
        again = random.Random(seed).sample(images, len(images))
        assert [names(series) for series in group_series(again)] == expected


def test_a_localizer_of_three_planes_is_three_series(stack):
    planes = ([0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], AXIAL)
    images = [
        image
        for number, plane in enumerate(planes)
        for image in stack(3, f"plane{number}", ImageOrientationPatient=plane)
    ]
    assert sorted(len(part) for part in parts(images)) == [3, 3, 3]


@pytest.mark.parametrize(
    "keyword", ["EchoNumbers", "AcquisitionNumber", "TemporalPositionIdentifier"]
)
def test_scans_of_the_same_places_are_told_apart_by_number(stack, keyword):
    images = stack(3, "second", **{keyword: 2}) + stack(3, "first", **{keyword: 1})
    one, two = group_series(shuffled(images))
    assert (names(one), one.scan) == (slices("first", 0, 1, 2), (1, 2))
    assert (names(two), two.scan) == (slices("second", 0, 1, 2), (2, 2))


def test_a_second_scan_may_be_a_little_beside_the_first(stack):
    images = stack(3, "a", AcquisitionNumber=1)
    images += stack(3, "b", start_mm=10.03, AcquisitionNumber=2)
    assert parts(images) == [slices("a", 0, 1, 2), slices("b", 0, 1, 2)]


def test_the_fuller_scan_comes_first(stack):
    aborted = stack(2, "aborted", AcquisitionNumber=1)
    assert parts(aborted + stack(5, "whole", AcquisitionNumber=2)) == [
        slices("whole", 0, 1, 2, 3, 4),
        slices("aborted", 0, 1),
    ]


def test_odd_and_even_slices_of_two_acquisitions_are_one_scan(one_image):
    images = [
        one_image(
            f"{repeat}-{number}.dcm",
            ImagePositionPatient=[-4.5 * number, 0, 0],
            AcquisitionNumber=1 + 2 * repeat + number % 2,
        )
        for repeat in (0, 1)
        for number in range(4)
    ]
    assert parts(images) == [slices("0", 0, 1, 2, 3), slices("1", 0, 1, 2, 3)]


@pytest.mark.parametrize(
    "times",
    [
        [{"AcquisitionTime": "101500.25"}, {"AcquisitionTime": "101900.5"}],
        [{"AcquisitionDateTime": "20200101101500"}, {"AcquisitionDateTime": "20200101101900"}],
        [
            {"AcquisitionDate": "20200101", "AcquisitionTime": "235900"},
            {"AcquisitionDate": "20200102", "AcquisitionTime": "000300"},
        ],
    ],
    ids=["time", "date and time", "over midnight"],
)
def test_scans_without_numbers_are_told_apart_by_time(stack, times):
    first, second = times
    images = stack(3, "second", **second) + stack(3, "first", **first)
    assert parts(images) == [slices("first", 0, 1, 2), slices("second", 0, 1, 2)]


def test_scans_that_nothing_tells_apart_stay_together(stack):
    (part,) = parts(stack(2, "a") + stack(2, "b"))
    assert sorted(part) == ["a-0", "a-1", "b-0", "b-1"]


def test_times_do_not_mix_scans_of_unequal_length(stack):
    images = stack(2, "a", AcquisitionTime="101500") + stack(3, "b", AcquisitionTime="101900")
    assert len(parts(images)) == 1


def test_a_copy_of_a_file_stays_beside_it(stack):
    images = stack(3)
    copies = [Instance(one.path.with_name(f"copy-{one.path.name}"), one.header) for one in images]
    (series,) = group_series(images + copies)
    assert names(series) == [
        name for number in range(3) for name in (f"slice-{number}", f"copy-slice-{number}")
    ]


def test_copies_of_two_scans_stay_with_their_scan(stack):
    images = stack(2, "a", AcquisitionNumber=1) + stack(2, "b", AcquisitionNumber=2)
    copy = Instance(images[0].path.with_name("copy.dcm"), images[0].header)
    assert parts([*images, copy])[0] in (["a-0", "copy", "a-1"], ["copy", "a-0", "a-1"])


def test_files_that_share_a_uid_but_not_a_place_are_no_copies(stack):
    (series,) = group_series(shuffled(stack(3, SOPInstanceUID="1.2.3.4")))
    assert names(series) == slices("slice", 0, 1, 2)


def test_two_stacks_beside_each_other_are_two_series(one_image):
    """As of the neck and the back, scanned at the same distances from the middle."""
    images = [
        one_image(f"{name}-{number}.dcm", ImagePositionPatient=[-4.5 * number, 0, z_mm])
        for name, z_mm in (("neck", 300), ("back", 0))
        for number in range(3)
    ]
    assert sorted(parts(images)) == [slices("back", 0, 1, 2), slices("neck", 0, 1, 2)]


def test_a_sheared_stack_is_one_series(one_image):
    images = [
        one_image(f"slice-{n}.dcm", ImagePositionPatient=[-4.5 * n, 3.0 * n, 2.0 * n])
        for n in range(12)
    ]
    assert parts(images) == [slices("slice", *range(12))]


def test_order_does_not_suffer_from_jitter_far_from_the_isocentre(one_image):
    images = [
        one_image(
            f"slice-{n}.dcm",
            ImagePositionPatient=[-1.0 * n, 900, -700],
            ImageOrientationPatient=turned(0.1 * (-1) ** n),
        )
        for n in range(6)
    ]
    assert parts(images) == [slices("slice", *range(6))]
