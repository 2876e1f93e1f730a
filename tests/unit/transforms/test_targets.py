"""Targets stay on the image's own landmarks through MONAI's augmentation.

The image carries a bright blob at each landmark; its centre of mass, which no code of ours finds,
says where the landmark went. Elastic transforms are excluded: they do not reach the affine.
"""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor, list_data_collate
from monai.transforms import Compose, RandAffined, RandFlipd, RandSimulateLowResolutiond, Resized

from spine_monai.geometry import points_lps_from_ij
from spine_monai.transforms import (
    DrawHeatmaps,
    EdgeFractionsd,
    PixelPointsd,
    ProjectPointsd,
    RandAffineSliced,
    RandIntensityd,
)
from spine_monai.transforms.intensity import low_resolution

SHAPE, GRID = (150, 110), (128, 96)
POINTS_IJ = np.array([[70.3, 49.8], [92.6, 61.2], [np.nan, np.nan]])
BLOB_PX = 6.0


def oblique_affine():
    """A slice whose rows run down and whose columns run back, oblique, 1.3 x 1.7 mm."""
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * [1.3, 1.7, 4.0], [-11.0, 62.0, 95.0])


def item_with_blobs():
    rows, columns = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    blobs = [
        np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * BLOB_PX**2)) for i, j in POINTS_IJ[:2]
    ]
    image = MetaTensor(torch.tensor(np.stack(blobs)).float(), affine=oblique_affine())
    flat = np.column_stack([POINTS_IJ, np.zeros(len(POINTS_IJ))])
    points_lps = nib.affines.apply_affine(oblique_affine(), flat) * [-1, -1, 1]
    return {"image": image, "points_lps": torch.from_numpy(points_lps)}


def centres_of_mass(maps):
    maps = np.asarray(maps, dtype=np.float64)
    total = maps.sum((-2, -1))
    rows = (maps.sum(-1) * np.arange(maps.shape[-2])).sum(-1) / total
    columns = (maps.sum(-2) * np.arange(maps.shape[-1])).sum(-1) / total
    return np.stack([rows, columns], axis=-1)


RESIZE = Resized("image", spatial_size=GRID, mode="bilinear")
RANGES = {"rotate_range": 0.436, "scale_range": [0.3, 0.3], "translate_range": [10, 9]}
MONAIS_AFFINE = RandAffined("image", prob=1.0, mode="bilinear", padding_mode="zeros", **RANGES)
AFFINE = RandAffineSliced("image", prob=1.0, padding_mode="zeros", **RANGES)
LOW_RESOLUTION = RandIntensityd(
    "image", prob=1.0, change=partial(low_resolution, zoom_range=[0.4, 1.0])
)
AUGMENTATIONS = {
    "none": [],
    "resized": [RESIZE],
    "rows flipped": [RandFlipd("image", prob=1.0, spatial_axis=0), RESIZE],
    "columns flipped": [RESIZE, RandFlipd("image", prob=1.0, spatial_axis=1)],
    "affine": [RESIZE, AFFINE],
    "affine of MONAI": [RESIZE, MONAIS_AFFINE],
    "as trained": [RESIZE, AFFINE, LOW_RESOLUTION],
}


PIXELS = PixelPointsd("points_lps", output_key="label")


def drawn(item, draw=None, **batch):
    """(N, H, W) heatmaps of one item, drawn as the training draws a batch of it."""
    draw = draw or DrawHeatmaps(target_sigma_px=3.0)
    given = list_data_collate([PIXELS(item)]) | batch
    return draw(given, "cpu")[1][0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_heatmaps_stay_on_the_landmarks_of_the_image(name, seed):
    item = Compose(AUGMENTATIONS[name]).set_random_state(seed)(item_with_blobs())
    heatmaps = drawn(item)
    assert heatmaps.shape == (3, *item["image"].shape[-2:])
    expected, got = centres_of_mass(item["image"]), centres_of_mass(heatmaps[:2])
    np.testing.assert_allclose(got, expected, atol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_edge_fractions_stay_on_the_landmarks_of_the_image(seed):
    augment = Compose(AUGMENTATIONS["as trained"]).set_random_state(seed)
    item = EdgeFractionsd("points_lps")(augment(item_with_blobs()))
    expected = (centres_of_mass(item["image"]) + 0.5) / GRID
    np.testing.assert_allclose(item["fractions"][:2], expected, atol=0.1 / min(GRID))


def test_the_low_resolution_of_monai_shifts_the_image_unless_it_is_bilinear():
    """Why ``downsample_mode`` must be given: MONAI's default, ``nearest``, drops to the corner."""
    item = RESIZE(item_with_blobs())
    options = {"prob": 1.0, "zoom_range": [0.4, 0.41], "upsample_mode": "bilinear"}
    low = RandSimulateLowResolutiond("image", **options)(item)["image"]
    assert (centres_of_mass(low) - centres_of_mass(item["image"]) > 0.5).all()


def test_augmentation_moves_the_landmarks_at_all():
    moved = Compose(AUGMENTATIONS["affine"]).set_random_state(0)(item_with_blobs())["image"]
    still = RESIZE(item_with_blobs())["image"]
    assert np.abs(centres_of_mass(moved) - centres_of_mass(still)).max() > 3


def test_a_landmark_beside_a_sheared_stack_is_dropped_at_right_angles():
    """Each slice, 4 mm beside the last, lies 1 mm higher; the point is 8 mm aside."""
    affine = np.array([[0, 0, 4.0, 0], [0, -1.0, 0, 0], [-1.0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    image = MetaTensor(torch.zeros(1, 100, 80), affine=affine)
    item = {"image": image, "points_lps": np.array([[-8.0, 50.0, -60.0], [np.nan] * 3])}
    pixels = PixelPointsd("points_lps")(item)["points_ij"]
    np.testing.assert_allclose(pixels, [[60.0, 50.0], [np.nan] * 2], atol=1e-5)
    fractions = EdgeFractionsd("points_lps")(item)["fractions"]
    np.testing.assert_allclose(fractions[0], [60.5 / 100, 50.5 / 80], atol=1e-6)
    lifted = points_lps_from_ij(pixels, affine)
    measured = ProjectPointsd("points_lps")(item)["reference"]
    np.testing.assert_allclose(lifted, measured, atol=1e-5)


def test_a_landmark_that_is_not_annotated_stays_unknown():
    item = item_with_blobs()
    heatmaps = drawn(item)
    assert torch.isnan(heatmaps).all((-2, -1)).tolist() == [False, False, True]
    assert not torch.isnan(heatmaps[:2]).any()
    for transform in (EdgeFractionsd, PixelPointsd):
        points = transform("points_lps", output_key="label")(item)["label"]
        assert torch.isnan(points).all(-1).tolist() == [False, False, True]


def test_a_landmark_outside_the_image_has_an_empty_map():
    item = item_with_blobs()
    item["points_lps"][0, 2] += 500.0
    assert drawn(item)[0].max() == 0


def test_heatmaps_are_empty_outside_the_view_and_an_unknown_one_stays_unknown():
    item = item_with_blobs()
    whole, view_ij = drawn(item).clone(), torch.tensor([[60, 45], [95, 58]])
    seen = drawn(item, view_ij=view_ij[None])
    expected = torch.zeros_like(whole)
    expected[:, 60:96, 45:59] = whole[:, 60:96, 45:59]
    torch.testing.assert_close(seen[:2], expected[:2], atol=0, rtol=0)
    assert (whole[0] != seen[0]).any()
    assert torch.isnan(seen[2]).all()


def test_the_peak_has_the_given_height_and_width():
    heatmap = drawn(item_with_blobs(), DrawHeatmaps(target_sigma_px=4.0, amplitude=0.5))[0].double()
    area = 0.5 * 2 * np.pi * 4.0**2  # the integral of a Gaussian of that height and width
    assert heatmap.sum().item() == pytest.approx(area, rel=1e-4)
    assert 0.49 < heatmap.max().item() <= 0.5


def batch_of(points_ij):
    image = MetaTensor(torch.rand(len(points_ij), 1, 40, 30), affine=oblique_affine())
    return {"image": image, "label": torch.tensor(points_ij)}


FIRST = batch_of(
    [[[11.2, 7.9], [np.nan] * 2, [30.5, 20.1]], [[5.0, 25.0], [8.5, 3.5], [20.2, 9.9]]]
)
SECOND = batch_of([[[np.nan] * 2, [4.0, 5.0], [6.5, 7.5]], [[9.0, 9.0], [np.nan] * 2, [1.0, 2.0]]])


def test_a_batch_is_drawn_into_the_memory_of_the_last_one_and_nothing_of_it_stays():
    draw, fresh = DrawHeatmaps(target_sigma_px=2.0), DrawHeatmaps(target_sigma_px=2.0)
    first = draw(FIRST, "cpu")[1]
    place, kept = first.data_ptr(), first.clone()
    second = draw(SECOND, "cpu")[1]
    assert second.data_ptr() == place
    torch.testing.assert_close(second, fresh(SECOND, "cpu")[1], equal_nan=True)
    assert not torch.equal(second.nan_to_num(), kept.nan_to_num())


def test_a_last_smaller_batch_has_its_own_size():
    draw = DrawHeatmaps(target_sigma_px=2.0)
    whole = draw(FIRST, "cpu")[1].clone()
    one = draw({key: value[:1] for key, value in FIRST.items()}, "cpu")[1]
    torch.testing.assert_close(one, whole[:1], equal_nan=True)


def test_the_image_goes_to_the_network_as_it_is():
    image = DrawHeatmaps(target_sigma_px=2.0)(FIRST, torch.device("cpu"), False)[0]
    assert isinstance(image, MetaTensor)
    torch.testing.assert_close(image.as_tensor(), FIRST["image"].as_tensor())


@pytest.mark.parametrize("transform", [PixelPointsd, EdgeFractionsd])
def test_a_missing_key_is_an_error_unless_allowed(transform):
    item = {"image": item_with_blobs()["image"]}
    assert transform("points_lps", allow_missing_keys=True)(item).keys() == {"image"}
    with pytest.raises(KeyError, match="points_lps"):
        transform("points_lps")(item)


@pytest.mark.parametrize("name", ["train_heatmap", "train_coordinates"])
def test_no_augmentation_downsamples_by_nearest(name):
    """MONAI's default moves the picture by up to a pixel, and the affine does not follow."""
    config = Path(__file__).parents[3] / "bundles" / "spine_landmarks" / "configs" / f"{name}.yaml"
    steps = yaml.safe_load(config.read_text())["augmentation"]
    assert "RandSimulateLowResolutiond" not in [step["_target_"] for step in steps]
    changes = [step["change"]["_target_"] for step in steps if "change" in step]
    assert "spine_monai.transforms.intensity.low_resolution" in changes
