"""Both networks' outputs become landmarks in the patient; the oracle of the place is SimpleITK."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from spine_monai.fusion import FusionModel
from spine_monai.joint import JointFusion
from spine_monai.landmarks import LUMBAR11
from spine_monai.transforms import FuseHeatmapsd

SHAPE = (60, 44)
THREE = """
name: three
landmarks:
  - {name: L3, kind: vertebra}
  - {name: L3-L4, kind: disc}
  - {name: L4, kind: vertebra}
"""


@pytest.fixture
def three(tmp_path):
    (tmp_path / "three.yaml").write_text(THREE)
    return str(tmp_path / "three.yaml")


def affine_of(spacing):
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * [*spacing, 4.0], [-11.0, 62.0, 95.0])


def grid_as_itk(affine):
    image = sitk.Image(SHAPE[1], SHAPE[0], 1, sitk.sitkFloat32)
    lps_from_index = np.diag([-1, -1, 1, 1]) @ affine @ np.eye(4)[[1, 0, 2, 3]]
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel())
    image.SetOrigin(lps_from_index[:3, 3])
    return image


def item_with_peaks(peaks_ij, spacing=(1.3, 1.7), predicted_ij=None):
    """Logits with one bright pixel for each peak of a landmark, and what the other network says."""
    logits = torch.full((len(peaks_ij), *SHAPE), -12.0)
    for channel, peaks in enumerate(peaks_ij):
        for i, j in peaks:
            logits[channel, i, j] = 8.0
    predicted = np.array(predicted_ij or [peaks[0] for peaks in peaks_ij], float)
    affine = torch.from_numpy(affine_of(spacing))
    return {
        "heatmaps": MetaTensor(logits, affine=affine),
        "coordinates": torch.from_numpy((predicted + 0.5) / SHAPE).float(),
        "image": MetaTensor(torch.zeros(1, *SHAPE), affine=affine),
    }


def fuse(item, landmark_set, **options):
    fusion = options.pop("fusion", None) or FusionModel(len(item["heatmaps"]))
    options = {"reported_set": landmark_set} | options
    transform = FuseHeatmapsd("heatmaps", fusion=fusion, landmark_set=landmark_set, **options)
    return transform(item)["landmarks"]


def test_a_peak_becomes_a_point_in_the_patient(three):
    peaks = [(9, 30), (28, 21), (47, 12)]
    found = fuse(item_with_peaks([[peak] for peak in peaks]), three)
    image = grid_as_itk(affine_of((1.3, 1.7)))
    expected = [image.TransformIndexToPhysicalPoint((j, i, 0)) for i, j in peaks]
    np.testing.assert_allclose(found.points_lps, expected, atol=0.02)
    assert found.registry.names == ("L3", "L3-L4", "L4")
    assert found.statuses == ("found", "found", "found")


def test_of_two_peaks_the_one_near_the_coordinates_is_taken(three):
    peaks = [[(9, 30), (25, 30)], [(28, 21)], [(47, 12)]]
    item = item_with_peaks(peaks, predicted_ij=[(24, 31), (28, 21), (47, 12)])
    image = grid_as_itk(affine_of((1.3, 1.7)))
    expected = image.TransformIndexToPhysicalPoint((30, 25, 0))
    np.testing.assert_allclose(fuse(item, three).points_lps[0], expected, atol=0.05)


def test_near_means_near_in_millimetres(three):
    """Six rows of 1 mm are nearer than four columns of 4 mm."""
    peaks = [[(26, 20), (20, 24)], [(28, 21)], [(47, 12)]]
    item = item_with_peaks(peaks, (1.0, 4.0), [(20, 20), (28, 21), (47, 12)])
    image = grid_as_itk(affine_of((1.0, 4.0)))
    expected = image.TransformIndexToPhysicalPoint((20, 26, 0))
    np.testing.assert_allclose(fuse(item, three).points_lps[0], expected, atol=0.1)


def test_a_landmark_of_low_confidence_is_uncertain(three):
    item = item_with_peaks([[(9, 30)], [(28, 21)], [(47, 12)]])
    item["heatmaps"][1] = -12.0
    found = fuse(item, three, min_confidence=0.6)
    assert found.statuses == ("found", "uncertain", "found")
    assert found.min_confidence == 0.6
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert found.radius95_mm[1] > found.radius95_mm[0] > 0


def test_landmarks_are_calibrated_if_the_fusion_is(three):
    item = item_with_peaks([[(9, 30)], [(28, 21)], [(47, 12)]])
    fusion = FusionModel(3)
    raw = fuse(item, three, fusion=fusion)
    fusion.conformal_quantile.fill_(2.0)
    calibrated = fuse(item, three, fusion=fusion)
    assert (raw.calibrated, calibrated.calibrated) == (False, True)
    np.testing.assert_allclose(calibrated.radius95_mm, 2 * raw.radius95_mm)


def test_heatmaps_of_another_landmark_set_are_refused():
    item = item_with_peaks([[(9, 30)], [(28, 21)], [(47, 12)]])
    with pytest.raises(ValueError, match="each landmark of lumbar11: expected 11, got 3"):
        fuse(item, LUMBAR11.name)


def test_a_missing_key_is_an_error_unless_allowed(three):
    options = {"fusion": FusionModel(3), "landmark_set": three, "reported_set": three}
    assert FuseHeatmapsd("heatmaps", allow_missing_keys=True, **options)({"id": 1}) == {"id": 1}
    with pytest.raises(KeyError, match="heatmaps"):
        FuseHeatmapsd("heatmaps", **options)({"id": 1})


def test_the_coordinates_may_be_given_on_another_grid(three):
    """A canvas of half the resolution, shifted: the same place in the patient is meant."""
    peaks = [[(9, 30), (25, 30)], [(28, 21)], [(47, 12)]]
    item = item_with_peaks(peaks, predicted_ij=[(24, 31), (28, 21), (47, 12)])
    coarse = np.diag([2.0, 2.0, 1.0, 1.0])
    coarse[:2, 3] = [-7.0, -3.0]
    canvas = (50, 30)
    affine = affine_of((1.3, 1.7)) @ coarse
    on_canvas = (np.array([(24, 31), (28, 21), (47, 12)]) - coarse[:2, 3]) / 2
    item["coordinates"] = torch.from_numpy((on_canvas + 0.5) / canvas).float()
    item["image"] = MetaTensor(torch.zeros(1, *canvas), affine=torch.from_numpy(affine))
    expected = grid_as_itk(affine_of((1.3, 1.7))).TransformIndexToPhysicalPoint((30, 25, 0))
    np.testing.assert_allclose(fuse(item, three).points_lps[0], expected, atol=0.05)


def test_only_the_reported_landmarks_are_reported(three, tmp_path):
    (tmp_path / "two.yaml").write_text(
        THREE.replace("name: three", "name: two", 1).replace("  - {name: L3, kind: vertebra}\n", "")
    )
    item = item_with_peaks([[(9, 30)], [(28, 21)], [(47, 12)]])
    found = fuse(item, three, reported_set=str(tmp_path / "two.yaml"))
    assert found.registry.names == ("L3-L4", "L4")
    np.testing.assert_allclose(found.points_lps, fuse(item, three).points_lps[1:])


def test_a_reported_landmark_that_no_channel_has_is_refused(three):
    item = item_with_peaks([[(9, 30)], [(28, 21)], [(47, 12)]])
    with pytest.raises(ValueError, match="reported_set must be a part of three: T12-L1"):
        fuse(item, three, reported_set="lumbar11")


@pytest.mark.parametrize(("height", "is_doubtful"), [(0.0, True), (-6.0, False)])
def test_the_level_is_in_doubt_where_the_last_landmark_shows_at_another_one(
    three, height, is_doubtful
):
    peaks = [(9, 30), (28, 21), (47, 12)]
    item = item_with_peaks([[peak] for peak in peaks])
    item["heatmaps"][2, 9, 30] = height  # where L3 is, a vertebra like L4
    fusion = JointFusion((1, 0, 1))
    steps_mm = (torch.tensor(peaks) * torch.tensor([1.3, 1.7])).diff(dim=0)
    fusion.chain.chain_mean_mm.copy_(steps_mm)
    fusion.chain.chain_cov_mm2.copy_(4 * torch.eye(2).expand(2, 2, 2))
    assert fuse(item, three, fusion=fusion).level_in_doubt is is_doubtful
