"""How a series lies; planes are those that radiologists name."""

import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.readers.index import index_study
from spine_monai.readers.layout import layout_of, plane_of
from spine_monai.readers.series import Series

SAGITTAL, CORONAL, AXIAL = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("orientation", "plane"), [(SAGITTAL, "sagittal"), (CORONAL, "coronal"), (AXIAL, "axial")]
)
def test_the_plane_is_that_of_the_normal(one_series, orientation, plane):
    layout = layout_of(one_series(ImageOrientationPatient=orientation))
    assert (layout.plane, layout.oblique_deg) == (plane, 0)


@pytest.mark.parametrize(
    ("normal", "expected"),
    [((0.8, 0.6, 0), ("sagittal", 36.87)), ((0, -0.6, 0.8), ("axial", 36.87))],
)
def test_an_oblique_plane_is_named_after_the_nearest(normal, expected):
    plane, angle_deg = plane_of(normal)
    assert (plane, pytest.approx(angle_deg, abs=0.01)) == expected


def test_the_layout_of_a_study_is_the_one_it_was_made_with(tmp_path):
    study = make_study(shape=(30, 20, 4), spacing_mm=(2.5, 1.5, 4.4), oblique_deg=(0, 12, 0))
    study.write_dicom(tmp_path, seed="layout")
    (series,) = index_study(tmp_path)
    layout = layout_of(series)
    assert (layout.matrix, layout.pixel_mm, layout.slices) == ((30, 20), (2.5, 1.5), 4)
    assert layout.oblique_deg == pytest.approx(12)
    assert layout.steps_mm == pytest.approx([4.4] * 3)
    assert layout.extent_mm == pytest.approx((75, 13.2))
    assert layout.is_even


def test_uneven_slices_are_seen(stack):
    images = stack(6)
    layout = layout_of(Series("1.2.3", (*images[:2], *images[3:])))
    assert not layout.is_even
    assert layout.step_range_mm == pytest.approx((4.5, 9.0))


def test_copies_are_counted_once(stack):
    images = stack(3)
    layout = layout_of(Series("1.2.3", (*images, *images)))
    assert (layout.slices, layout.steps_mm) == (3, pytest.approx([4.5, 4.5]))


@pytest.mark.parametrize("keyword", ["ImageOrientationPatient", "ImagePositionPatient"])
def test_an_unreadable_place_leaves_the_plane_open(one_series, keyword):
    layout = layout_of(one_series(**{keyword: None}))
    assert (layout.plane, layout.slices, layout.step_range_mm) == ("", 3, ())
    assert layout.extent_mm == (448 * 0.625, 0)


def test_an_unreadable_pixel_spacing_is_none(one_series):
    layout = layout_of(one_series(PixelSpacing=[0, 1]))
    assert layout.pixel_mm is None
    assert layout.extent_mm == (0, 9)
    assert layout.plane == "sagittal"


def test_one_slice_has_no_distance(one_series):
    layout = layout_of(one_series(1))
    assert (layout.slices, layout.step_range_mm) == (1, ())
