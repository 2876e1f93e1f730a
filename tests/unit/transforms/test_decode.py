"""Network outputs back to patient space; oracles are nibabel and SimpleITK."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from spine_monai.transforms import DecodeCoordinatesd, DecodeHeatmapsd, ProjectPointsd
from spine_monai.transforms.decode import plain

SHAPE = (40, 28)
POINTS_IJ = np.array([[11.3, 7.8], [30.0, 19.4], [np.nan, np.nan]])


def oblique_affine():
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * [1.3, 1.7, 4.0], [-11.0, 62.0, 95.0])


def expected_lps():
    flat = np.column_stack([POINTS_IJ, np.zeros(len(POINTS_IJ))])
    return nib.affines.apply_affine(oblique_affine(), flat) * [-1, -1, 1]


def on_grid(array):
    return MetaTensor(torch.as_tensor(array), affine=torch.from_numpy(oblique_affine()))


def logits_with_peaks():
    """Logits of Gaussian probabilities; nothing at all in the last channel."""
    rows, columns = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    maps = np.zeros((3, *SHAPE))
    for channel, (i, j) in enumerate(POINTS_IJ[:2]):
        maps[channel] = 0.9 * np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * 2.5**2))
    with np.errstate(divide="ignore"):
        return np.log(maps) - np.log1p(-maps)


def test_heatmap_peaks_become_points_in_the_patient():
    item = DecodeHeatmapsd("pred")({"pred": on_grid(logits_with_peaks())})
    np.testing.assert_allclose(item["points"], expected_lps(), atol=1e-3)


def test_edge_fractions_become_points_in_the_patient():
    fractions = torch.from_numpy((POINTS_IJ + 0.5) / SHAPE)
    item = {"image": on_grid(np.zeros((1, *SHAPE))), "pred": MetaTensor(fractions)}
    decoded = DecodeCoordinatesd("pred", output_key="found")(item)
    np.testing.assert_allclose(decoded["found"], expected_lps(), atol=1e-6)


def test_the_centre_of_the_image_is_half_of_it():
    """Fractions go from outer edge to outer edge, so the centre lies between two pixels."""
    item = {"image": on_grid(np.zeros((1, *SHAPE))), "pred": torch.tensor([[0.5, 0.5]])}
    centre = [(SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2, 0]
    expected = nib.affines.apply_affine(oblique_affine(), centre) * [-1, -1, 1]
    np.testing.assert_allclose(DecodeCoordinatesd("pred")(item)["points"][0], expected)


def test_points_fall_at_right_angles_onto_the_plane():
    image = sitk.Image(SHAPE[1], SHAPE[0], 1, sitk.sitkFloat32)
    lps_from_index = np.diag([-1, -1, 1, 1]) @ oblique_affine() @ np.eye(4)[[1, 0, 2, 3]]
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel())
    image.SetOrigin(lps_from_index[:3, 3])
    points_lps = expected_lps() + np.array([3.0, -2.0, 1.0])
    item = {"image": on_grid(np.zeros((1, *SHAPE))), "points_lps": torch.from_numpy(points_lps)}
    projected = ProjectPointsd("points_lps")(item)["reference"].numpy()
    for before, after in zip(points_lps[:2], projected[:2], strict=True):
        column, row, away = image.TransformPhysicalPointToContinuousIndex(before)
        foot = image.TransformContinuousIndexToPhysicalPoint((column, row, 0.0))
        assert abs(away) > 0.1
        np.testing.assert_allclose(after, foot, atol=1e-6)
    assert np.isnan(projected[2]).all()
    np.testing.assert_array_equal(item["points_lps"], points_lps)


def test_a_plain_tensor_has_no_affine_left():
    tensor = on_grid(np.zeros((1, *SHAPE)))
    assert type(plain(tensor)) is torch.Tensor
    bare = torch.zeros(2, 3)
    assert plain(bare) is bare


@pytest.mark.parametrize("transform", [DecodeHeatmapsd, DecodeCoordinatesd, ProjectPointsd])
def test_a_missing_key_is_an_error_unless_allowed(transform):
    item = {"image": on_grid(np.zeros((1, *SHAPE)))}
    assert transform("pred", allow_missing_keys=True)(item).keys() == {"image"}
    with pytest.raises(KeyError, match="pred"):
        transform("pred")(item)
