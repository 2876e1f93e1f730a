"""Slices cut from one landmark to another; nibabel and SimpleITK say where everything lies."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from spine_monai.transforms import CutViewd
from spine_monai.transforms.views import corners_lps, cut_view, is_in_view

SHAPE = (100, 60)
# Half-way rows: 18.2 (18), 33.0, 51.3 (51), 72.4 (72).
POINTS_IJ = np.array([[10.4, 20.0], [26.0, 22.5], [40.0, 26.0], [62.6, 31.0], [82.2, 28.0]])
CUTS = {
    (None, None): (0, 100),
    (1, None): (18, 100),
    (3, None): (51, 100),
    (None, 3): (0, 72),
    (None, 0): (0, 18),
    (1, 2): (18, 51),
    (2, 2): (33, 51),
}


def oblique_affine():
    """A slice whose rows run down and whose columns run back, oblique, 1.3 x 1.7 mm."""
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * [1.3, 1.7, 4.0], [-11.0, 62.0, 95.0])


def image():
    values = np.random.default_rng(0).uniform(0.5, 1, SHAPE)
    return MetaTensor(torch.from_numpy(values).float()[None], affine=oblique_affine())


def lps(points_ij, off_plane=0.0):
    """``off_plane`` in slice steps: landmarks seldom lie in the plane of the slice."""
    flat = np.column_stack([points_ij, np.full(len(points_ij), off_plane)])
    return nib.affines.apply_affine(oblique_affine(), flat) * [-1, -1, 1]


def itk(slice_):
    """The slice as an ITK image with index axes (row, column, slice)."""
    lps_from_index = np.diag([-1, -1, 1, 1]) @ np.asarray(slice_.affine)
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    picture = sitk.GetImageFromArray(np.asarray(slice_)[0].T[None])
    picture.SetSpacing(spacing.tolist())
    picture.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    picture.SetOrigin(lps_from_index[:3, 3].tolist())
    return picture


def is_in_itk(slice_, points_lps):
    """Whether SimpleITK finds the feet of the points between the outer edges of the slice."""
    picture = itk(slice_)
    indices = [picture.TransformPhysicalPointToContinuousIndex(p) for p in points_lps.tolist()]
    last = np.array(picture.GetSize()[:2]) - 0.5
    places = np.array(indices)[:, :2]
    return ((places >= -0.5) & (places <= last)).all(-1).tolist()


@pytest.mark.parametrize("off_plane", [0.0, 0.6])
@pytest.mark.parametrize(("view", "rows"), CUTS.items(), ids=str)
def test_a_view_ends_half_way_to_the_neighbours_outside_it(view, rows, off_plane):
    before = image()
    item = {"image": before, "points_lps": torch.from_numpy(lps(POINTS_IJ, off_plane))}
    after = CutViewd("image")(item | {"view": view})["image"]
    np.testing.assert_array_equal(after, before[:, rows[0] : rows[1]])
    assert after.affine.shape == (4, 4)


@pytest.mark.parametrize("view", CUTS, ids=str)
def test_what_is_left_keeps_its_place(view):
    before = image()
    after = cut_view(before, lps(POINTS_IJ), *view)
    picture = sitk.Resample(itk(before), itk(after), sitk.Transform(), sitk.sitkLinear, 0.0)
    np.testing.assert_allclose(after[0], sitk.GetArrayFromImage(picture)[0].T, atol=1e-4)


@pytest.mark.parametrize("view", CUTS, ids=str)
def test_just_the_landmarks_of_the_view_are_in_view(view):
    first, last = view
    after = cut_view(image(), lps(POINTS_IJ), first, last)
    first, last = (0 if first is None else first), (4 if last is None else last)
    expected = [first <= number <= last for number in range(5)]
    got = is_in_view(lps(POINTS_IJ), after)
    assert got.dtype == bool
    assert got.tolist() == expected == is_in_itk(after, lps(POINTS_IJ))


@pytest.mark.parametrize("view", [(0, None), (None, 4), (0, 4), (0, 2)], ids=str)
def test_the_outermost_landmarks_of_all_may_bound_a_view(view):
    """They have no neighbour half-way to which to cut, but they stay in view as asked for."""
    first, last = view
    after = cut_view(image(), lps(POINTS_IJ), first, last)
    kept = is_in_view(lps(POINTS_IJ), after)
    assert kept[: (4 if last is None else last) + 1].all()


def test_the_view_does_not_depend_on_the_slice_step():
    """Sheared: the slices beside this one lie 3 rows further down and 2 columns further back."""
    straight, points_lps = image(), lps(POINTS_IJ, off_plane=4.0)
    shear = np.eye(4)
    shear[:2, 2] = [3.0, 2.0]
    sheared = MetaTensor(straight.as_tensor(), affine=oblique_affine() @ shear)
    for view in CUTS:
        cut, expected = (cut_view(one, points_lps, *view) for one in (sheared, straight))
        np.testing.assert_array_equal(cut, expected)
        assert is_in_view(points_lps, cut).tolist() == is_in_view(points_lps, expected).tolist()


def test_all_keys_are_cut_alike():
    item = {"image": image(), "native_image": image(), "points_lps": lps(POINTS_IJ)}
    after = CutViewd(["image", "native_image"])(item | {"view": (1, 3)})
    assert after["image"].shape == (1, 72 - 18, 60)
    np.testing.assert_array_equal(after["image"], after["native_image"])
    np.testing.assert_array_equal(after["image"].affine, after["native_image"].affine)


def test_the_view_and_the_points_may_have_keys_of_their_own():
    item = {"image": image(), "where": lps(POINTS_IJ), "levels": (None, 2)}
    after = CutViewd("image", view_key="levels", points_key="where")(item)
    assert after["image"].shape == (1, 51, 60)


def test_an_item_without_a_view_is_left_whole():
    item = {"image": image(), "points_lps": lps(POINTS_IJ)}
    after = CutViewd("image")(item)["image"]
    np.testing.assert_array_equal(after, item["image"])
    np.testing.assert_array_equal(after.affine, item["image"].affine)


def test_absent_landmarks_elsewhere_do_not_matter():
    points_lps = lps(POINTS_IJ)
    points_lps[[0, 3, 4]] = np.nan
    after = cut_view(image(), points_lps, 2, None)
    assert after.shape == (1, 100 - 33, 60)


@pytest.mark.parametrize(("absent", "view"), [(1, (2, None)), (2, (2, None)), (3, (None, 2))])
def test_a_cut_next_to_an_absent_landmark_is_refused_by_its_name(absent, view):
    """There is no half-way to what is not annotated."""
    points_lps = lps(POINTS_IJ)
    points_lps[absent] = np.nan
    with pytest.raises(ValueError, match=r"view|landmark"):
        cut_view(image(), points_lps, *view)


def test_the_given_image_is_not_changed():
    item = {"image": image(), "points_lps": lps(POINTS_IJ), "view": (1, 3)}
    CutViewd("image")(item)
    np.testing.assert_array_equal(item["image"], image())
    np.testing.assert_array_equal(item["image"].affine, oblique_affine())


@pytest.mark.parametrize("missing", ["image", "points_lps"])
def test_a_missing_key_is_an_error(missing):
    item = {"image": image(), "points_lps": lps(POINTS_IJ), "view": (1, 3)}
    del item[missing]
    with pytest.raises(KeyError, match=missing):
        CutViewd("image")(item)


def test_a_missing_image_may_be_allowed():
    assert CutViewd("image", allow_missing_keys=True)({"view": (1, 3)}) == {"view": (1, 3)}


def test_the_edges_of_the_outer_pixels_bound_what_is_in_view():
    points_ij = np.array(
        [
            *([-0.49, 30.0], [-0.51, 30.0], [99.49, 30.0], [99.51, 30.0]),
            *([50.0, -0.49], [50.0, -0.51], [50.0, 59.49], [50.0, 59.51]),
        ]
    )
    got = is_in_view(lps(points_ij), image())
    assert got.tolist() == [True, False] * 4 == is_in_itk(image(), lps(points_ij))


def test_a_point_beside_the_plane_is_in_view_by_its_foot():
    points_ij = np.array([[50.0, 30.0], [120.0, 30.0]])
    assert is_in_view(lps(points_ij, off_plane=3.0), image()).tolist() == [True, False]


def test_an_absent_landmark_is_not_in_view():
    points_lps = lps(POINTS_IJ)
    points_lps[1] = np.nan
    points_lps[3, 2] = np.nan
    assert is_in_view(torch.from_numpy(points_lps), image()).tolist() == [True, False] * 2 + [True]


def test_the_corners_are_the_places_of_the_first_and_the_last_pixel():
    after = cut_view(image(), lps(POINTS_IJ), 1, 3)
    picture = itk(after)
    indices = [[0, 0, 0], [72 - 18 - 1, 59, 0]]
    expected = [picture.TransformIndexToPhysicalPoint(index) for index in indices]
    np.testing.assert_allclose(corners_lps(after), expected, atol=1e-4)
