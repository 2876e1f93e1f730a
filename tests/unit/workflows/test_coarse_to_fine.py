"""Two looks at one slice in a real Ignite engine; the oracle of every place is SimpleITK."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import EnsembleEvaluator
from monai.transforms import ResizeWithPadOrCrop

from spine_monai.geometry import points_lps_from_ij
from spine_monai.networks import PlainInferer
from spine_monai.transforms.decode import points_lps_from_fractions
from spine_monai.transforms.scale import crop_about
from spine_monai.workflows.coarse_to_fine import CoarseToFine

SHAPE, SPOT = (90, 66), (31, 44)
CANVAS, WINDOW = (128, 112), (32, 24)


class FindsTheSpot(torch.nn.Module):
    """Edge fractions of the brightest pixel, for two landmarks."""

    def forward(self, image):
        height, width = image.shape[-2:]
        flat = image.flatten(1).argmax(1)
        rows, columns = (flat // width + 0.5) / height, (flat % width + 0.5) / width
        return torch.stack([rows, columns], -1)[:, None].expand(-1, 2, -1)


class ShowsTheImage(torch.nn.Module):
    """Two heatmaps: the image, and the image upside down in brightness."""

    def forward(self, image):
        assert not self.training
        return torch.cat([image, -image], 1)


def affine():
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    return nib.affines.from_matvec(turn @ upright * [1.2, 1.3, 4.0], [7.0, 62.0, 95.0])


def place_of_the_spot():
    """LPS point of the bright pixel, by SimpleITK."""
    lps_from_index = np.diag([-1, -1, 1, 1]) @ affine()
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    grid = sitk.Image([*SHAPE, 1], sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    grid.SetOrigin(lps_from_index[:3, 3].tolist())
    return np.array(grid.TransformIndexToPhysicalPoint((*SPOT, 0)))


@pytest.fixture(scope="module")
def output():
    image = torch.full((1, *SHAPE), 0.25)
    image[0, SPOT[0], SPOT[1]] = 1.0
    evaluator = EnsembleEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader([{"image": MetaTensor(image, affine=affine())}], batch_size=1),
        networks=[FindsTheSpot(), ShowsTheImage()],
        pred_keys=["coordinates", "heatmaps"],
        iteration_update=CoarseToFine(CANVAS, WINDOW),
    )
    evaluator.run()
    return evaluator.state.output[0]


def test_both_looks_have_their_sizes(output):
    assert output["image"].shape == (1, *CANVAS)
    assert output["coordinates"].shape == (2, 2)
    assert output["heatmaps"].shape == (2, *WINDOW)


def test_the_window_lies_about_the_coordinates_and_knows_its_place(output):
    row, column = divmod(int(output["heatmaps"][0].argmax()), WINDOW[1])
    found = points_lps_from_ij([row, column], output["heatmaps"].affine)
    np.testing.assert_allclose(found, place_of_the_spot(), atol=1e-4)
    assert abs(row - WINDOW[0] / 2) <= 1
    assert abs(column - WINDOW[1] / 2) <= 1


def test_the_canvas_knows_its_place(output):
    row, column = divmod(int(output["image"][0].argmax()), CANVAS[1])
    found = points_lps_from_ij([row, column], output["image"].affine)
    np.testing.assert_allclose(found, place_of_the_spot(), atol=1e-4)


def test_the_corners_are_the_slices_own_not_the_canvas(output):
    expected = points_lps_from_ij(np.array([[0, 0], [89, 65]]), affine())
    np.testing.assert_allclose(output["corners_lps"], expected, atol=1e-4)


class Points(torch.nn.Module):
    """Says what it was told, one set of points an image."""

    def __init__(self, fractions):
        super().__init__()
        self.fractions = torch.as_tensor(fractions, dtype=torch.float32)

    def forward(self, images):
        return self.fractions


def slices_of(shape, count):
    generator = torch.Generator().manual_seed(3)
    for number in range(count):
        place = affine()
        place[:3, 3] += 4.0 * number * place[:3, 2]
        image = torch.rand((1, *shape), generator=generator)
        yield MetaTensor(image, affine=place, meta={"name": f"slice {number}"})


@pytest.mark.parametrize("inferer", [None, PlainInferer()])
@pytest.mark.parametrize("shape", [(90, 66), (131, 40), (60, 151), (128, 112)])
def test_each_slice_is_cut_as_monais_transforms_cut_it(shape, inferer):
    slices = list(slices_of(shape, 3))
    fractions = [
        [[0.3, 0.4], [0.6, 0.5]],
        [[0.01, 0.02], [0.02, 0.99]],
        [[float("nan"), 0.5], [0.99, 0.97]],
    ]
    evaluator = EnsembleEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader([{"image": image} for image in slices], batch_size=3),
        networks=[Points(fractions), ShowsTheImage()],
        pred_keys=["coordinates", "heatmaps"],
        iteration_update=CoarseToFine(CANVAS, WINDOW),
        **({"inferer": inferer} if inferer else {}),
    )
    evaluator.run()
    for image, points, found in zip(slices, fractions, evaluator.state.output, strict=True):
        canvas = ResizeWithPadOrCrop(CANVAS)(image)
        points_lps = points_lps_from_fractions(torch.tensor(points), canvas)
        window = crop_about(image, points_lps, WINDOW)
        for ours, theirs in ((found["image"], canvas), (found["heatmaps"][:1], window)):
            assert torch.equal(ours.as_tensor(), theirs.as_tensor())
            np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)
        assert found["heatmaps"].meta["name"] == image.meta["name"]


def test_without_a_known_point_the_window_lies_about_the_middle():
    (image,) = slices_of((90, 66), 1)
    evaluator = EnsembleEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader([{"image": image}], batch_size=1),
        networks=[Points([[[float("nan")] * 2] * 2]), ShowsTheImage()],
        pred_keys=["coordinates", "heatmaps"],
        iteration_update=CoarseToFine(CANVAS, WINDOW),
    )
    evaluator.run()
    window = crop_about(image, np.full((2, 3), np.nan), WINDOW)
    assert torch.equal(evaluator.state.output[0]["heatmaps"][:1].as_tensor(), window.as_tensor())
