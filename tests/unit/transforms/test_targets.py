"""Targets stay on the image's own landmarks through MONAI's augmentation.

The image carries a bright blob at each landmark; its centre of mass, which no code of ours finds,
says where the landmark went. Elastic transforms are excluded: they do not reach the affine.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandSimulateLowResolutiond,
    Resized,
)

from spine_monai.transforms import DrawHeatmapsd, EdgeFractionsd

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
AFFINE = RandAffined(
    "image",
    prob=1.0,
    rotate_range=0.436,
    scale_range=[0.3, 0.3],
    translate_range=[10, 9],
    mode="bilinear",
    padding_mode="zeros",
)
LOW_RESOLUTION = RandSimulateLowResolutiond(
    "image",
    prob=1.0,
    zoom_range=[0.4, 1.0],
    downsample_mode="bilinear",
    upsample_mode="bilinear",
)
AUGMENTATIONS = {
    "none": [],
    "resized": [RESIZE],
    "rows flipped": [RandFlipd("image", prob=1.0, spatial_axis=0), RESIZE],
    "columns flipped": [RESIZE, RandFlipd("image", prob=1.0, spatial_axis=1)],
    "affine": [RESIZE, AFFINE],
    "as trained": [RESIZE, AFFINE, LOW_RESOLUTION],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_heatmaps_stay_on_the_landmarks_of_the_image(name, seed):
    augment = Compose(AUGMENTATIONS[name]).set_random_state(seed)
    draw = DrawHeatmapsd("points_lps", target_sigma_px=3.0)
    item = draw(augment(item_with_blobs()))
    assert item["heatmaps"].shape == (3, *item["image"].shape[-2:])
    expected, got = centres_of_mass(item["image"]), centres_of_mass(item["heatmaps"][:2])
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


def test_a_landmark_that_is_not_annotated_stays_unknown():
    item = item_with_blobs()
    heatmaps = DrawHeatmapsd("points_lps", target_sigma_px=3.0)(item)["heatmaps"]
    assert torch.isnan(heatmaps).all((-2, -1)).tolist() == [False, False, True]
    assert not torch.isnan(heatmaps[:2]).any()
    fractions = EdgeFractionsd("points_lps")(item)["fractions"]
    assert torch.isnan(fractions).all(-1).tolist() == [False, False, True]


def test_a_landmark_outside_the_image_has_an_empty_map():
    item = item_with_blobs()
    item["points_lps"][0, 2] += 500.0
    heatmaps = DrawHeatmapsd("points_lps", target_sigma_px=3.0)(item)["heatmaps"]
    assert heatmaps[0].max() == 0


def test_the_peak_has_the_given_height_and_width():
    item = item_with_blobs()
    draw = DrawHeatmapsd("points_lps", output_key="label", target_sigma_px=4.0, amplitude=0.5)
    heatmap = draw(item)["label"][0].double()
    area = 0.5 * 2 * np.pi * 4.0**2  # the integral of a Gaussian of that height and width
    assert heatmap.sum().item() == pytest.approx(area, rel=1e-4)
    assert 0.49 < heatmap.max().item() <= 0.5


@pytest.mark.parametrize("transform", [DrawHeatmapsd, EdgeFractionsd])
def test_a_missing_key_is_an_error_unless_allowed(transform):
    options = {"target_sigma_px": 3.0} if transform is DrawHeatmapsd else {}
    item = {"image": item_with_blobs()["image"]}
    assert transform("points_lps", allow_missing_keys=True, **options)(item).keys() == {"image"}
    with pytest.raises(KeyError, match="points_lps"):
        transform("points_lps", **options)(item)


@pytest.mark.parametrize("name", ["train_heatmap", "train_coordinates"])
def test_no_augmentation_downsamples_by_nearest(name):
    """MONAI's default moves the picture by up to a pixel, and the affine does not follow."""
    config = Path(__file__).parents[3] / "bundles" / "spine_landmarks" / "configs" / f"{name}.yaml"
    steps = yaml.safe_load(config.read_text())["augmentation"]
    (low,) = [step for step in steps if step["_target_"] == "RandSimulateLowResolutiond"]
    assert low["downsample_mode"] == "bilinear"
