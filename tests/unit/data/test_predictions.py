"""Stored predictions: what is stored is joined and paired image by image.

The coordinate network sees another grid than the heatmap network: other spacing, other origin, same
plane. SimpleITK says where a pixel of the one lies on the other.
"""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from spine_monai.data.predictions import (
    fusion_items,
    load_predictions,
    store_predictions,
    with_predicted_points,
)

SHAPE, COORDINATES_SHAPE = (12, 10), (32, 20)
POINTS_IJ = np.array([[3.0, 4.5], [10.25, 2.0], [np.nan, np.nan]])
FRACTIONS = np.array([[0.25, 0.5], [0.75, 0.125], [0.5, 0.5]])
WHOLE, LOWER, UPPER = (None, None), (1, None), (None, 0)


class Levels(torch.nn.Module):
    """N heatmaps, each the image times its own factor; not linear in training mode."""

    def __init__(self):
        super().__init__()
        self.factors = torch.nn.Parameter(torch.tensor([1.0, 10.0, -2.0]))

    def forward(self, image):
        scale = 100.0 if self.training else 1.0
        return image * self.factors[:, None, None] * scale


class Coordinates(torch.nn.Module):
    """Edge fractions that depend on the image by its mean."""

    def forward(self, image):
        fractions = torch.from_numpy(FRACTIONS).float()[None]
        return fractions + image.mean((1, 2, 3))[:, None, None] / 1024


def affine_of(number):
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    return nib.affines.from_matvec(turn @ upright * [1.5, 2.5, 4.0], [number, 62.0, 95.0])


def coordinates_affine_of(number):
    """0.9 x 1.75 mm; its first pixel lies 4.25 rows above and 3.5 columns before that one."""
    moved = nib.affines.apply_affine(affine_of(number), [-4.25, -3.5, 0])
    step = affine_of(number)[:3, :3] * [0.6, 0.7, 1.0]
    return nib.affines.from_matvec(step, moved)


def itk_grid(affine, shape):
    """An ITK image with index axes (row, column, slice)."""
    lps_from_index = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    grid = sitk.Image([*shape, 1], sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    grid.SetOrigin(lps_from_index[:3, 3].tolist())
    return grid


def brightness(number, view):
    """Tells each image from the others; whole numbers below 1024 survive half precision."""
    return float(number + 10 * (1 + [WHOLE, LOWER, UPPER].index(view)))


def network_item(number, view=None, *, shape=SHAPE, affine=affine_of):
    """``view=None`` is an item of a data set without views."""
    flat = np.column_stack([POINTS_IJ, np.zeros(3)])
    points_lps = nib.affines.apply_affine(affine_of(number), flat) * [-1, -1, 1]
    value = number if view is None else brightness(number, view)
    return {
        "id": f"case-{number}",
        "subject": f"subject-{number // 2}",
        "image": MetaTensor(torch.full((1, *shape), float(value)), affine=affine(number)),
        "points_lps": torch.from_numpy(points_lps),
    } | ({} if view is None else {"view": view})


def store(network, items, folder, fold):
    path = folder / f"fold-{fold}.npz"
    store_predictions(network, SimpleInferer(), items, torch.device("cpu"), path)
    return path


def store_heatmaps(items, folder, fold):
    return store(Levels(), [network_item(*item) for item in items], folder, fold)


def store_coordinates(items, folder, fold):
    options = {"shape": COORDINATES_SHAPE, "affine": coordinates_affine_of}
    return store(Coordinates(), [network_item(*one, **options) for one in items], folder, fold)


def expected_lps(number, value):
    """Where SimpleITK puts the coordinate network's answer to an image of that brightness."""
    fractions = FRACTIONS + value / 1024
    grid = itk_grid(coordinates_affine_of(number), COORDINATES_SHAPE)
    indices = [[*(row * COORDINATES_SHAPE - 0.5), 0.0] for row in fractions]
    return np.array([grid.TransformContinuousIndexToPhysicalPoint(index) for index in indices])


def expected_ij(number, value):
    grid = itk_grid(affine_of(number), SHAPE)
    points = expected_lps(number, value).tolist()
    return np.array([grid.TransformPhysicalPointToContinuousIndex(point)[:2] for point in points])


@pytest.fixture
def folders(tmp_path):
    """Two folds; the coordinate network's cases stand in another order."""
    store_heatmaps([(1,), (2,)], tmp_path / "heatmap", 0)
    store_heatmaps([(3,)], tmp_path / "heatmap", 1)
    store_coordinates([(3,)], tmp_path / "coordinates", 0)
    store_coordinates([(2,), (1,)], tmp_path / "coordinates", 1)
    return tmp_path / "heatmap", tmp_path / "coordinates"


@pytest.fixture
def cut_folders(tmp_path):
    """Case 1 whole and with two cuts, case 2 whole; other orders for the coordinate network."""
    store_heatmaps([(1, WHOLE), (1, LOWER), (1, UPPER), (2, WHOLE)], tmp_path / "heatmap", 0)
    store_coordinates([(2, WHOLE), (1, UPPER)], tmp_path / "coordinates", 0)
    store_coordinates([(1, LOWER), (1, WHOLE), (2, LOWER)], tmp_path / "coordinates", 1)
    return tmp_path / "heatmap", tmp_path / "coordinates"


def test_a_file_holds_what_the_network_said_in_evaluation_mode(tmp_path):
    path = store(Levels().train(), [network_item(4), network_item(5)], tmp_path, 0)
    with np.load(path, allow_pickle=False) as stored:
        assert stored["ids"].tolist() == ["case-4", "case-5"]
        assert stored["subjects"].tolist() == ["subject-2", "subject-2"]
        assert (stored["outputs"].shape, stored["outputs"].dtype) == ((2, 3, *SHAPE), np.float16)
        assert stored["outputs"][:, :, 0, 0].tolist() == [[4, 40, -8], [5, 50, -10]]
        assert stored["shape"].tolist() == list(SHAPE)
        np.testing.assert_array_equal(stored["ras_from_index"][1], affine_of(5))
        np.testing.assert_array_equal(stored["points_lps"][0], network_item(4)["points_lps"])


def test_a_file_says_to_what_each_image_was_cut(tmp_path):
    items = [(4,), (4, WHOLE), (4, LOWER), (4, UPPER)]
    with np.load(store_heatmaps(items, tmp_path, 0)) as stored:
        assert stored["views"].tolist() == [[-1, -1], [-1, -1], [1, -1], [-1, 0]]


def image_of_rows(number, rows):
    return MetaTensor(torch.ones(1, rows, SHAPE[1]), affine=affine_of(number))


def test_a_file_says_which_landmarks_lie_within_the_image(tmp_path):
    """The points lie in rows 3 and 10.25 of 12; the third is not annotated."""
    items = [network_item(4), network_item(5), network_item(5)]
    items[1]["points_lps"] = items[1]["points_lps"].flip(0)
    items[2]["points_lps"][0, 2] += 100.0  # far above
    with np.load(store(Levels(), items, tmp_path, 0)) as stored:
        assert stored["in_view"].dtype == bool
        expected = [[True, True, False], [False, True, True], [False, True, False]]
        assert stored["in_view"].tolist() == expected


def test_what_is_in_view_is_told_by_the_native_image_where_there_is_one(tmp_path):
    """The network's window may reach beyond the image, and there nothing is to be seen."""
    item = network_item(5) | {"native_image": image_of_rows(5, 9)}
    with np.load(store(Levels(), [item], tmp_path, 0)) as stored:
        assert stored["in_view"].tolist() == [[True, False, False]]
        assert stored["shape"].tolist() == list(SHAPE)


def test_folds_are_joined(folders):
    joined = load_predictions(folders[0])
    assert joined["ids"].tolist() == ["case-1", "case-2", "case-3"]
    assert joined["outputs"].shape == (3, 3, *SHAPE)
    assert joined["views"].shape == (3, 2)
    assert joined["in_view"].tolist() == [[True, True, False]] * 3
    assert joined["shape"].tolist() == list(SHAPE)


def test_no_predictions_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold fold-\*\.npz predictions: got none. Train"):
        load_predictions(tmp_path)


@pytest.mark.parametrize("network", [Levels, Coordinates])
def test_predictions_of_two_grids_are_refused(tmp_path, network):
    store(network(), [network_item(1)], tmp_path, 0)
    store(network(), [network_item(2, shape=(12, 14))], tmp_path, 1)
    with pytest.raises(ValueError, match="must hold predictions of one grid: got several"):
        load_predictions(tmp_path)


def test_both_networks_are_paired_by_case(folders):
    items = fusion_items(*folders)
    assert [item["id"] for item in items] == ["case-1", "case-2", "case-3"]
    for number, item in enumerate(items, start=1):
        assert item["image"][0, 0, 0] == number
        np.testing.assert_allclose(item["predicted_ij"], expected_ij(number, number), atol=0.02)


def test_both_networks_are_paired_by_case_and_view(cut_folders):
    items = fusion_items(*cut_folders)
    images = [(1, WHOLE), (1, LOWER), (1, UPPER), (2, WHOLE)]
    assert [item["id"] for item in items] == [f"case-{number}" for number, _ in images]
    for (number, view), item in zip(images, items, strict=True):
        value = brightness(number, view)
        assert item["image"][0, 0, 0] == value
        np.testing.assert_allclose(item["predicted_ij"], expected_ij(number, value), atol=0.02)


def test_predicted_points_of_one_grid_are_pixels_of_the_other(folders):
    """They would be far off, were the fractions taken to be of the heatmaps' grid."""
    item = fusion_items(*folders)[1]
    naive = (FRACTIONS + 2 / 1024) * SHAPE - 0.5
    assert np.abs(item["predicted_ij"].numpy() - naive).min() > 0.1
    np.testing.assert_allclose(item["predicted_ij"], expected_ij(2, 2), atol=0.02)
    assert item["predicted_ij"].dtype == item["label"].dtype == torch.float32


def test_the_label_of_a_sheared_stack_is_dropped_at_right_angles(tmp_path):
    """The next slice lies 2 rows further down; the landmarks lie half a slice step aside."""
    sheared = affine_of(1) @ np.array([[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    aside = np.column_stack([POINTS_IJ, np.full(3, 0.5)])
    points_lps = nib.affines.apply_affine(affine_of(1), aside) * [-1, -1, 1]
    heatmap_item = network_item(1, affine=lambda _: sheared)
    heatmap_item["points_lps"] = torch.from_numpy(points_lps)
    store(Levels(), [heatmap_item], tmp_path / "heatmap", 0)
    store_coordinates([(1,)], tmp_path / "coordinates", 0)
    (item,) = fusion_items(tmp_path / "heatmap", tmp_path / "coordinates")
    np.testing.assert_allclose(item["label"], POINTS_IJ, atol=1e-4)


def test_the_label_is_the_true_point_on_the_grid(folders):
    item = fusion_items(*folders)[1]
    np.testing.assert_allclose(item["label"], POINTS_IJ, atol=1e-4)
    np.testing.assert_allclose(item["spacing_mm"], [1.5, 2.5], rtol=1e-6)
    np.testing.assert_array_equal(item["ras_from_index"], affine_of(2))
    np.testing.assert_array_equal(item["points_lps"], network_item(2)["points_lps"])
    assert item["in_view"].tolist() == [True, True, False]


def test_images_that_were_cut_may_be_left_out(cut_folders):
    items = fusion_items(*cut_folders, whole_only=True)
    assert [item["id"] for item in items] == ["case-1", "case-2"]
    assert [float(item["image"][0, 0, 0]) for item in items] == [11.0, 12.0]
    for number, item in enumerate(items, start=1):
        expected = expected_ij(number, brightness(number, WHOLE))
        np.testing.assert_allclose(item["predicted_ij"], expected, atol=0.02)


def test_images_without_a_view_count_as_whole(folders):
    assert len(fusion_items(*folders, whole_only=True)) == 3


def test_excluded_subjects_are_left_out(folders):
    items = fusion_items(*folders, exclude=["subject-1"])
    assert [item["id"] for item in items] == ["case-1"]


def test_no_subject_left_is_refused(folders):
    with pytest.raises(ValueError, match=r"other subjects than .*subject-0.*: got none"):
        fusion_items(*folders, exclude=["subject-0", "subject-1"])


@pytest.mark.parametrize("image", [(9,), (1, LOWER)], ids=["a case", "a view"])
def test_an_image_that_the_coordinate_network_did_not_see_is_refused(folders, image):
    store_heatmaps([image], folders[0], 2)
    with pytest.raises(ValueError, match="must hold the same images: got different ones"):
        fusion_items(*folders)


def test_the_coordinate_network_may_have_seen_more(folders):
    store_coordinates([(9,), (1, LOWER)], folders[1], 2)
    items = fusion_items(*folders)
    assert [item["id"] for item in items] == ["case-1", "case-2", "case-3"]


def test_a_case_stored_twice_is_not_paired_with_another(folders):
    """As when a fold is trained again under another name."""
    store_heatmaps([(2,), (1,)], folders[0], "0-again")
    for item in fusion_items(*folders):
        number = int(item["id"][-1])
        assert item["image"][0, 0, 0] == number
        np.testing.assert_allclose(item["predicted_ij"], expected_ij(number, number), atol=0.02)


def test_items_get_the_points_that_were_predicted_in_patient_space(cut_folders):
    images = [(2, LOWER), (1, WHOLE), (1, UPPER), (2,)]
    items = [network_item(*image) for image in images]
    with_points = with_predicted_points(items, cut_folders[1])
    for (number, *view), before, after in zip(images, items, with_points, strict=True):
        assert after.keys() == before.keys() | {"predicted_lps"}
        assert after["image"] is before["image"]
        assert "predicted_lps" not in before
        expected = expected_lps(number, brightness(number, *(view or [WHOLE])))
        assert after["predicted_lps"].shape == (3, 3)
        np.testing.assert_allclose(after["predicted_lps"], expected, atol=0.02)


def test_a_held_out_case_without_predicted_points_is_refused(cut_folders):
    """Also one that was predicted, but not of this view; each case is named once."""
    images = [(1, WHOLE), (7, WHOLE), (2, UPPER), (7, LOWER)]
    items = [network_item(*image) for image in images]
    message = r"predictions of every held-out case: none for case-2, case-7\. Train the coord"
    with pytest.raises(ValueError, match=message):
        with_predicted_points(items, cut_folders[1])


def test_predicted_points_need_predictions(tmp_path):
    with pytest.raises(ValueError, match="predictions: got none"):
        with_predicted_points([network_item(1)], tmp_path)
