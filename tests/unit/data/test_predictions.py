"""Stored predictions: what is stored is joined and paired case by case."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from spine_monai.data.predictions import fusion_items, load_predictions, store_predictions

SHAPE = (12, 10)
POINTS_IJ = np.array([[3.0, 4.5], [7.25, 2.0], [np.nan, np.nan]])
FRACTIONS = np.array([[0.25, 0.5], [0.75, 0.125], [0.5, 0.5]])


class Levels(torch.nn.Module):
    """N heatmaps, each the image times its own factor; not linear in training mode."""

    def __init__(self):
        super().__init__()
        self.factors = torch.nn.Parameter(torch.tensor([1.0, 10.0, -2.0]))

    def forward(self, image):
        scale = 100.0 if self.training else 1.0
        return image * self.factors[:, None, None] * scale


class Coordinates(torch.nn.Module):
    """Edge fractions that depend on the case by its mean."""

    def forward(self, image):
        fractions = torch.from_numpy(FRACTIONS).float()[None]
        return fractions + image.mean((1, 2, 3))[:, None, None] / 1024


def affine_of(number):
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    return nib.affines.from_matvec(turn @ upright * [1.5, 2.5, 4.0], [number, 62.0, 95.0])


def network_item(number, shape=SHAPE):
    affine = affine_of(number)
    flat = np.column_stack([POINTS_IJ, np.zeros(3)])
    points_lps = nib.affines.apply_affine(affine, flat) * [-1, -1, 1]
    return {
        "id": f"case-{number}",
        "subject": f"subject-{number // 2}",
        "image": MetaTensor(torch.full((1, *shape), float(number)), affine=affine),
        "points_lps": torch.from_numpy(points_lps),
    }


def store(network, numbers, folder, fold, shape=SHAPE):
    dataset = [network_item(number, shape) for number in numbers]
    path = folder / f"fold-{fold}.npz"
    store_predictions(network, SimpleInferer(), dataset, torch.device("cpu"), path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Two folds; the coordinate network's cases stand in another order."""
    store(Levels(), [1, 2], tmp_path / "heatmap", 0)
    store(Levels(), [3], tmp_path / "heatmap", 1)
    store(Coordinates(), [3], tmp_path / "coordinates", 0)
    store(Coordinates(), [2, 1], tmp_path / "coordinates", 1)
    return tmp_path / "heatmap", tmp_path / "coordinates"


def test_a_file_holds_what_the_network_said_in_evaluation_mode(tmp_path):
    path = store(Levels().train(), [4, 5], tmp_path, 0)
    with np.load(path, allow_pickle=False) as stored:
        assert stored["ids"].tolist() == ["case-4", "case-5"]
        assert stored["subjects"].tolist() == ["subject-2", "subject-2"]
        assert (stored["outputs"].shape, stored["outputs"].dtype) == ((2, 3, *SHAPE), np.float16)
        assert stored["outputs"][:, :, 0, 0].tolist() == [[4, 40, -8], [5, 50, -10]]
        assert stored["shape"].tolist() == list(SHAPE)
        np.testing.assert_array_equal(stored["ras_from_index"][1], affine_of(5))
        np.testing.assert_array_equal(stored["points_lps"][0], network_item(4)["points_lps"])


def test_folds_are_joined(folders):
    joined = load_predictions(folders[0])
    assert joined["ids"].tolist() == ["case-1", "case-2", "case-3"]
    assert joined["outputs"].shape == (3, 3, *SHAPE)
    assert joined["shape"].tolist() == list(SHAPE)


def test_no_predictions_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold fold-\*\.npz predictions: got none. Train"):
        load_predictions(tmp_path)


@pytest.mark.parametrize("network", [Levels, Coordinates])
def test_predictions_of_two_grids_are_refused(tmp_path, network):
    store(network(), [1], tmp_path, 0)
    store(network(), [2], tmp_path, 1, shape=(12, 14))
    with pytest.raises(ValueError, match="must hold predictions of one grid: got several"):
        load_predictions(tmp_path)


def test_both_networks_are_paired_by_case(folders):
    items = fusion_items(*folders)
    assert [item["id"] for item in items] == ["case-1", "case-2", "case-3"]
    for number, item in enumerate(items, start=1):
        assert item["image"][0, 0, 0] == number
        expected = (FRACTIONS + number / 1024) * SHAPE - 0.5
        np.testing.assert_allclose(item["predicted_ij"], expected, atol=2e-3)


def test_the_label_is_the_true_point_on_the_grid(folders):
    item = fusion_items(*folders)[1]
    np.testing.assert_allclose(item["label"], POINTS_IJ, atol=1e-4)
    np.testing.assert_allclose(item["spacing_mm"], [1.5, 2.5], rtol=1e-6)
    np.testing.assert_array_equal(item["ras_from_index"], affine_of(2))
    np.testing.assert_array_equal(item["points_lps"], network_item(2)["points_lps"])


def test_excluded_subjects_are_left_out(folders):
    items = fusion_items(*folders, exclude=["subject-1"])
    assert [item["id"] for item in items] == ["case-1"]


def test_no_subject_left_is_refused(folders):
    with pytest.raises(ValueError, match=r"other subjects than .*subject-0.*: got none"):
        fusion_items(*folders, exclude=["subject-0", "subject-1"])


def test_networks_of_different_cases_are_refused(folders):
    store(Coordinates(), [9], folders[1], 2)
    with pytest.raises(ValueError, match="must hold the same cases: got different ones"):
        fusion_items(*folders)
