"""The accuracy benchmark's arm that learns label masks beside the points."""

import importlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from spine_monai.data import write_datalist
from spine_monai.heatmaps import SmoothCoordinateLoss

BENCHMARK = Path(__file__).parents[1] / "benchmark"
SIDE = 10
MASK_AFFINE = np.array([[0, 0, 3, -7], [1.5, 0, 0, 4], [0, 2, 0, 9], [0, 0, 0, 1.0]])
SLICE_AFFINE = np.array([[0, 0, 3.0, -1], [0.3, 1.1, 0, 1], [1.1, -0.3, 0, 14], [0, 0, 0, 1]])


@pytest.fixture
def target(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK))
    return importlib.import_module("mask_target")


def asymmetric_mask():
    """Labels 0 to 3 in 20 x 30 x 5 voxels, no two neighbourhoods alike."""
    return np.random.default_rng(0).integers(0, 4, (20, 30, 5)).astype(np.uint8)


def item_with_mask():
    mask = MetaTensor(torch.from_numpy(asymmetric_mask())[None], affine=torch.eye(4))
    mask.affine = torch.from_numpy(MASK_AFFINE)
    image = MetaTensor(torch.zeros(1, 2 * SIDE, 3 * SIDE), affine=torch.from_numpy(SLICE_AFFINE))
    return {"image": image, "mask": mask, "label": torch.tensor([[0.1, 0.2], [0.3, np.nan]])}


def simpleitk_labels(unknown):
    """Labels by SimpleITK at the centres of 2 x 3 pixels of the slice, row by row."""
    steps = np.linalg.norm(MASK_AFFINE[:3, :3], axis=0)
    volume = sitk.GetImageFromArray(asymmetric_mask().transpose(2, 1, 0))
    volume.SetSpacing(steps.tolist())
    volume.SetDirection((MASK_AFFINE[:3, :3] / steps).flatten().tolist())
    volume.SetOrigin(MASK_AFFINE[:3, 3].tolist())
    pixels = [(2 * row + 0.5, 3 * column + 1.0) for row in range(SIDE) for column in range(SIDE)]
    places = [(SLICE_AFFINE @ [row, column, 0, 1])[:3] for row, column in pixels]
    inside = [volume.TransformPhysicalPointToIndex(place.tolist()) for place in places]
    shape = volume.GetSize()
    known = [all(0 <= i < size for i, size in zip(index, shape, strict=True)) for index in inside]
    return [
        volume.GetPixel(index) if is_known else unknown
        for index, is_known in zip(inside, known, strict=True)
    ]


def test_the_mask_lies_where_simpleitk_puts_it(target):
    label = target.WithMaskd(keys="label", side=SIDE)(item_with_mask())["label"]
    oracle = simpleitk_labels(target.UNKNOWN)
    assert {target.UNKNOWN, 0, 1, 2, 3} == set(oracle)
    assert label[4:].long().tolist() == oracle
    assert label[:3].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_mask_is_found_by_its_case(target, tmp_path):
    nib.save(nib.Nifti1Image(asymmetric_mask(), MASK_AFFINE), tmp_path / "mask.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((20, 30, 5)), MASK_AFFINE), tmp_path / "t2.nii.gz")
    item = {"id": "a", "subject": "a", "image": tmp_path / "t2.nii.gz"}
    item |= {"mask": tmp_path / "mask.nii.gz", "points_lps": {"L1": [0.0, 0.0, 0.0]}}
    write_datalist([item], tmp_path / "datalist.json", "lumbar11")
    load = target.LoadMaskd(keys="id", datalist=str(tmp_path / "datalist.json"))
    assert (load({"id": "a"})["mask"][0].numpy() == asymmetric_mask()).all()


def test_the_second_head_is_there_only_in_training(target):
    network = target.MaskXception(2, width=0.1, input_size=224)
    image = torch.rand(2, 1, 40, 30)
    assert network(image).shape == (2, 4 + target.STRUCTURES * target.SIDE**2)
    assert network.eval()(image).shape == (2, 2, 2)


def test_the_loss_adds_the_masks_and_leaves_out_what_is_unknown(target):
    loss, plain = target.MaskCoordinateLoss(mask_weight=1.0), SmoothCoordinateLoss()
    points, truth = torch.rand(1, 2, 2), torch.rand(1, 2, 2)
    assert loss(points, truth) == plain(points, truth)
    logits = torch.zeros(1, target.STRUCTURES, target.SIDE, target.SIDE)
    structures = torch.full((1, target.SIDE, target.SIDE), float(target.UNKNOWN))
    structures[0, 0, :2] = torch.tensor([1.0, 3.0])
    logits[0, 0, 5, 5] = 100.0  # unknown there

    def rows(values, others):
        return torch.cat([values.flatten(1), others.flatten(1)], 1)

    found = loss(rows(points, logits), rows(truth, structures))
    assert found - plain(points, truth) == pytest.approx(np.log(4), rel=1e-5)
    logits[0, 3, 0, 1] = 100.0
    found = loss(rows(points, logits), rows(truth, structures))
    assert found - plain(points, truth) == pytest.approx(np.log(4) / 2, rel=1e-5)
