"""One physical scale and windows about points; SimpleITK says where everything lies."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from spine_monai.transforms import CropAboutPointsd, PhysicalScaled
from spine_monai.transforms.scale import at_scale, crop_about

SHAPE = (90, 70)
BLOB_IJ = (38.0, 44.0)
SPACING_MM = (1.3, 1.7, 4.0)


def oblique_affine(spacing_mm=SPACING_MM):
    """A slice whose rows run down and whose columns run back, oblique, 1.3 x 1.7 mm."""
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * spacing_mm, [-11.0, 62.0, 95.0])


def image_of(values, affine=None):
    affine = oblique_affine() if affine is None else affine
    return MetaTensor(torch.as_tensor(np.asarray(values)).float()[None], affine=affine)


def blob(sigma_px=5.0):
    rows, columns = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    squares = (rows - BLOB_IJ[0]) ** 2 + (columns - BLOB_IJ[1]) ** 2
    return image_of(np.exp(-squares / (2 * sigma_px**2)))


def noise():
    return image_of(np.random.default_rng(0).uniform(0.5, 1, SHAPE))


def itk(image):
    """The slice as an ITK image with index axes (row, column, slice)."""
    lps_from_index = np.diag([-1, -1, 1, 1]) @ np.asarray(image.affine)
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    picture = sitk.GetImageFromArray(np.asarray(image)[0].T[None])
    picture.SetSpacing(spacing.tolist())
    picture.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    picture.SetOrigin(lps_from_index[:3, 3].tolist())
    return picture


def point_lps(image, i, j):
    return itk(image).TransformContinuousIndexToPhysicalPoint([float(i), float(j), 0.0])


def blob_lps(image):
    """Centre of mass in patient space."""
    values = np.asarray(image)[0].astype(np.float64)
    rows, columns = np.indices(values.shape)
    return point_lps(image, np.average(rows, weights=values), np.average(columns, weights=values))


def resampled(image, grid):
    """The image on another grid, zero beyond its own edge."""
    picture = sitk.Resample(itk(image), itk(grid), sitk.Transform(), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(picture)[0].T


def points_at(image, *points_ij):
    return np.array([point_lps(image, i, j) for i, j in points_ij])


def spacing_mm(image):
    return np.array(itk(image).GetSpacing())[:2]


@pytest.mark.parametrize("scale_mm", [0.7, 1.5, 2.9])
def test_a_blob_keeps_its_place_when_scaled(scale_mm):
    before = blob()
    after = PhysicalScaled("image", spacing_mm=scale_mm)({"image": before})["image"]
    assert after.shape != before.shape
    np.testing.assert_allclose(blob_lps(after), blob_lps(before), atol=0.05)
    np.testing.assert_allclose(blob_lps(before), point_lps(before, *BLOB_IJ), atol=0.01)


@pytest.mark.parametrize("scale_mm", [0.7, 1.5, 2.9])
def test_the_outer_edges_stay_where_they_are(scale_mm):
    before = noise()
    after = at_scale(before, scale_mm)
    for share_i, share_j in ((0, 0), (1, 0), (0, 1), (0.3, 0.8)):
        corners = [
            point_lps(one, share_i * one.shape[1] - 0.5, share_j * one.shape[2] - 0.5)
            for one in (before, after)
        ]
        np.testing.assert_allclose(corners[1], corners[0], atol=1e-4)


@pytest.mark.parametrize("scale_mm", [0.37, 1.2, 1.7, 2.9])
def test_the_spacing_is_right_to_half_a_pixel_over_the_image(scale_mm):
    after = at_scale(noise(), scale_mm)
    extent_mm = np.array(SHAPE) * SPACING_MM[:2]
    shape = np.array(after.shape[1:])
    assert (np.abs(shape * scale_mm - extent_mm) <= scale_mm / 2 + 1e-9).all()
    np.testing.assert_allclose(spacing_mm(after) * shape, extent_mm, rtol=1e-6)


def test_an_image_smaller_than_a_pixel_keeps_one():
    assert at_scale(noise(), 1000.0).shape == (1, 1, 1)


@pytest.mark.parametrize("scale_mm", [0.7, 1.5, 2.9])
def test_the_affine_of_a_slice_stays_four_by_four(scale_mm):
    """Only the in-plane steps change: the step to the next slice and the directions stay."""
    before = noise()
    scaled = at_scale(before, scale_mm)
    cropped = crop_about(before, points_at(before, (3, 4)), (20, 30))
    for after in (scaled, cropped):
        assert (after.affine.shape, after.affine.dtype) == ((4, 4), torch.float64)
        np.testing.assert_allclose(after.affine[:, 2], before.affine[:, 2], atol=1e-9)
        np.testing.assert_allclose(itk(after).GetDirection(), itk(before).GetDirection(), atol=1e-6)


def test_a_checkerboard_of_single_pixels_becomes_grey_when_shrunk():
    """Without smoothing it would alias: 1.3 and 1.7 mm onto 3.3 mm."""
    board = image_of(np.indices(SHAPE).sum(0) % 2)
    inside = at_scale(board, 3.3)[0, 3:-3, 3:-3]
    assert inside.numel() > 500
    np.testing.assert_allclose(inside, 0.5, atol=0.02)


def test_a_plain_image_stays_plain_when_shrunk_but_for_its_outermost_pixels():
    """MONAI smooths with zeros beyond the edge."""
    plain = np.asarray(at_scale(image_of(np.ones(SHAPE)), 3.3))
    np.testing.assert_allclose(plain[:, 1:-1, 1:-1], 1.0, atol=0.01)
    assert plain.min() > 0.8


def test_growing_interpolates_and_does_not_smooth():
    before = noise()
    after = at_scale(before, 0.6)
    inside = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(after[0][inside], resampled(before, after)[inside], atol=1e-4)


@pytest.mark.parametrize("size", [(24, 31), (31, 24), (200, 20), (151, 160)], ids=str)
@pytest.mark.parametrize("centre", [(45, 35), (38.3, 44.8), (2, 3), (88, 67)], ids=str)
def test_a_window_shows_what_lies_there_and_zeros_beyond_the_image(size, centre):
    before = noise()
    crop = CropAboutPointsd("image", points_key="where", size=size)
    after = crop({"image": before, "where": points_at(before, centre)})["image"]
    assert after.shape == (1, *size)
    np.testing.assert_allclose(after[0], resampled(before, after), atol=1e-4)
    middle_lps = point_lps(after, (size[0] - 1) / 2, (size[1] - 1) / 2)
    index = itk(before).TransformPhysicalPointToContinuousIndex(middle_lps)
    assert np.abs(np.array(index[:2]) - centre).max() <= 0.5 + 1e-6


def test_a_window_beyond_the_image_is_zero_there():
    before = noise()
    after = crop_about(before, points_at(before, (5, 66)), (40, 30))
    is_zero = np.asarray(after[0] == 0)
    assert is_zero[:14].all()  # 5 - 39 / 2, rounded, is row -14
    assert is_zero[:, -11:].all()  # 66 + 29 / 2, rounded, is column 80
    assert not is_zero[15:, :-12].any()


def test_a_blob_keeps_its_place_when_cropped():
    before = blob(sigma_px=2.0)
    after = crop_about(before, points_at(before, (44, 38)), (41, 36))
    np.testing.assert_allclose(blob_lps(after), blob_lps(before), atol=0.01)


def test_a_blob_keeps_its_place_when_scaled_and_cropped():
    before = blob(sigma_px=3.0)
    scaled = PhysicalScaled("image", spacing_mm=1.2)({"image": before})
    item = scaled | {"points_lps": torch.from_numpy(points_at(before, (40, 47), (44, 38)))}
    after = CropAboutPointsd("image", size=(64, 150))(item)["image"]
    np.testing.assert_allclose(blob_lps(after), blob_lps(before), atol=0.05)


def test_the_window_is_centred_on_the_mean_of_the_points():
    before = noise()
    points_lps = points_at(before, (20, 30), (40, 31), (36, 44))
    expected = crop_about(before, points_at(before, (32, 35)), (21, 31))
    after = crop_about(before, points_lps, (21, 31))
    assert point_lps(after, 10, 15) == pytest.approx(point_lps(before, 32, 35), abs=1e-4)
    np.testing.assert_array_equal(after, expected)


def test_a_point_beside_the_plane_of_the_slice_counts_by_its_foot():
    before = noise()
    foot = points_at(before, (32, 35))
    normal = np.array(itk(before).GetDirection()).reshape(3, 3)[:, 2]
    after = crop_about(before, foot + 11.0 * normal, (21, 31))
    np.testing.assert_array_equal(after, crop_about(before, foot, (21, 31)))


def test_absent_points_are_left_out():
    before = noise()
    known = points_at(before, (20, 30), (44, 40))
    with_absent = np.insert(known, 1, np.nan, axis=0)
    after = crop_about(before, torch.from_numpy(with_absent), (21, 31))
    np.testing.assert_array_equal(after, crop_about(before, known, (21, 31)))
    np.testing.assert_allclose(after.affine, crop_about(before, known, (21, 31)).affine)


@pytest.mark.parametrize("points_lps", [np.full((3, 3), np.nan), np.zeros((0, 3))])
def test_without_points_the_window_is_centred_on_the_image(points_lps):
    before = noise()
    after = crop_about(before, points_lps, (30, 20))
    expected = point_lps(before, (SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2)
    assert point_lps(after, 14.5, 9.5) == pytest.approx(expected, abs=1e-4)
    assert (after > 0).all()


@pytest.mark.parametrize("far", [(-900, 30), (900, 30), (45, -900), (45, 900), (900, -900)])
def test_a_window_about_points_far_outside_still_touches_the_image(far):
    before = noise()
    after = crop_about(before, points_at(before, far), (21, 31))
    assert after.shape == (1, 21, 31)
    assert (after > 0).any()
    np.testing.assert_allclose(after[0], resampled(before, after), atol=1e-4)


def test_nothing_given_is_changed_in_place():
    before = noise()
    values, affine = before.clone(), before.affine.clone()
    item = {"image": before, "points_lps": points_at(before, (3, 4))}
    PhysicalScaled("image", spacing_mm=2.9)(item)
    CropAboutPointsd("image", size=(120, 30))(item)
    assert item["image"] is before
    assert torch.equal(before, values)
    assert torch.equal(before.affine, affine)


@pytest.mark.parametrize(
    ("transform", "options"),
    [(PhysicalScaled, {"spacing_mm": 2.0}), (CropAboutPointsd, {"size": (9, 8)})],
)
def test_each_key_is_changed_and_a_missing_one_is_an_error_unless_allowed(transform, options):
    before = noise()
    item = {"image": before, "mask": before, "points_lps": points_at(before, (3, 4))}
    after = transform(["image", "mask"], **options)(item)
    np.testing.assert_array_equal(after["image"], after["mask"])
    assert after["image"].shape != before.shape
    allowed = transform(["image", "other"], allow_missing_keys=True, **options)(item)
    assert allowed.keys() == item.keys()
    with pytest.raises(KeyError, match="other"):
        transform(["image", "other"], **options)(item)
