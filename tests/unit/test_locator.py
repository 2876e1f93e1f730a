"""The one module from image to points: equal to the engine's way, which moves affines, not pixels.

The oracle of the window is numpy, that of the canvas MONAI, that of the points the bundle's engine.
"""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import EnsembleEvaluator
from monai.transforms import ResizeWithPadOrCrop

from spine_monai.chain import IMPOSSIBLE, transitions
from spine_monai.fusion import FusionModel
from spine_monai.geometry import points_ijk_from_lps
from spine_monai.joint import JointFusion
from spine_monai.locator import CoarseToFineLocator, WholeImageLocator, cut, with_logarithms
from spine_monai.transforms import FuseHeatmapsd
from spine_monai.workflows.coarse_to_fine import CoarseToFine

CANVAS, WINDOW = (96, 80), (72, 40)
SIZES = [(90, 66), (91, 67), (121, 74), (60, 103)]  # within the canvas, odd, too high, too wide
SPACING = (1.21, 1.34)
THREE = """
name: three
landmarks:
  - {name: L3, kind: vertebra}
  - {name: L3-L4, kind: disc}
  - {name: L4, kind: vertebra}
"""


class BrightestOfThirds(torch.nn.Module):
    """Edge fractions of the brightest pixel of the upper, middle and lower third of an image."""

    def forward(self, image):
        height, width = image.shape[-2:]
        points = []
        for third in range(3):
            start = third * (height // 3)
            flat = image[:, 0, start : start + height // 3].flatten(1).argmax(1)
            points.append(torch.stack([start + flat // width, flat % width], -1))
        size = torch.tensor([height, width])
        return (torch.stack(points, 1) + 0.5) / size + 0.013


class Blurred(torch.nn.Module):
    """Three heatmaps: the image, blurred a little more for each landmark."""

    def forward(self, image):
        maps = [image]
        for _ in range(3):
            maps.append(torch.nn.functional.avg_pool2d(maps[-1], 5, 1, 2, count_include_pad=True))
        return 14 * torch.cat(maps[1:], 1) - 7


def affine():
    turn = nib.eulerangles.euler2mat(z=0.2, y=-0.1, x=0.15)
    upright = np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]])
    return nib.affines.from_matvec(turn @ upright * [*SPACING, 4.0], [-11.0, 62.0, 95.0])


def images(size, count=2):
    rng = np.random.default_rng(size[0])
    values = torch.from_numpy(rng.random((count, 1, *size))).float()
    return torch.nn.functional.avg_pool2d(values, 9, 1, 4) * 2


def spacing(count=2):
    return torch.tensor(SPACING).repeat(count, 1)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    file = tmp_path_factory.mktemp("registry") / "three.yaml"
    file.write_text(THREE)
    return str(file)


@pytest.fixture(scope="module")
def joint():
    model = JointFusion((1, 0, 1), target_sigma_mm=4.0)
    with torch.no_grad():
        model.chain.chain_mean_mm.copy_(torch.tensor([[28.0, -1.0], [30.0, 2.0]]))
        model.chain.chain_cov_mm2.copy_(torch.eye(2).mul(30.0).expand(2, 2, 2))
    return model.eval()


def by_the_engine(stack, fusion, registry, iteration):
    """LandmarkSets of the bundle's way: an Ignite engine and the post-transform."""
    items = [{"image": MetaTensor(image, affine=affine())} for image in stack]
    evaluator = EnsembleEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=len(items)),
        networks=[BrightestOfThirds(), Blurred()],
        pred_keys=["coordinates", "heatmaps"],
        iteration_update=iteration,
        postprocessing=FuseHeatmapsd(
            "heatmaps", fusion=fusion, landmark_set=registry, reported_set=registry
        ),
    )
    evaluator.run()
    return [output["landmarks"] for output in evaluator.state.output]


def assert_same(located, expected):
    for number, landmarks in enumerate(expected):
        points_ij = points_ijk_from_lps(landmarks.points_lps, affine())[:, :2]
        np.testing.assert_allclose(located.points_ij[number], points_ij, atol=1e-3)
        np.testing.assert_allclose(located.confidence[number], landmarks.confidence, atol=1e-4)
        np.testing.assert_allclose(located.radius95_mm[number], landmarks.radius95_mm, atol=1e-2)


def coarse_to_fine(fusion, rows=(0, 1, 2)):
    parts = (BrightestOfThirds(), Blurred(), fusion, rows)
    return CoarseToFineLocator(*parts, canvas_size=CANVAS, window_size=WINDOW).eval()


@pytest.mark.parametrize("size", SIZES)
def test_it_finds_what_the_engine_finds(size, joint, three):
    found = coarse_to_fine(joint)(images(size), spacing())
    assert_same(found, by_the_engine(images(size), joint, three, CoarseToFine(CANVAS, WINDOW)))
    assert torch.isfinite(found.points_ij).any()


def test_the_papers_fusion_is_found_alike_and_has_no_rivals(three):
    fusion = FusionModel(3, target_sigma_mm=4.0).eval()
    found = coarse_to_fine(fusion)(images((90, 66)), spacing())
    expected = by_the_engine(images((90, 66)), fusion, three, CoarseToFine(CANVAS, WINDOW))
    assert_same(found, expected)
    assert torch.isnan(found.rival_heat).all()


def test_whole_images_are_found_alike(joint, three):
    stack = images((90, 66))
    parts = (BrightestOfThirds(), Blurred(), joint, (0, 1, 2))
    found = WholeImageLocator(*parts).eval()(stack, spacing())
    assert_same(found, by_the_engine(stack, joint, three, None))


def test_an_image_in_a_batch_is_found_as_alone(joint):
    stack, locator = images((121, 74), 5), coarse_to_fine(joint)
    together = locator(stack, spacing(5))
    for number in range(5):
        alone = locator(stack[number : number + 1], spacing(1))
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_of_them[number], equal_nan=True)


def test_reported_landmarks_come_in_their_own_order(joint):
    stack = images((90, 66))
    every, some = coarse_to_fine(joint), coarse_to_fine(joint, (2, 0))
    expected = every(stack, spacing()).points_ij[:, [2, 0]]
    torch.testing.assert_close(some(stack, spacing()).points_ij, expected, equal_nan=True)


def test_doubt_is_that_of_the_networks_last_landmark(joint):
    stack = images((90, 66))
    with torch.no_grad():
        shown = coarse_to_fine(joint, (0,))(stack, spacing()).rival_heat
    assert shown.shape == (2,)
    torch.testing.assert_close(shown, coarse_to_fine(joint)(stack, spacing()).rival_heat)


@pytest.mark.parametrize("start", [(5, 7), (-9, 3), (60, 40), (-30, 64), (300, -200)])
def test_a_window_is_cut_as_numpy_cuts_it_from_a_padded_image(start):
    image = images((70, 52), 1)
    padded = np.pad(image[0, 0].numpy(), 400)
    row, column = start[0] + 400, start[1] + 400
    expected = padded[row : row + 33, column : column + 24]
    found = cut(image, torch.tensor([start], dtype=torch.float32), (33, 24))
    np.testing.assert_array_equal(found[0, 0], expected)


def test_each_image_has_a_window_of_its_own():
    stack = images((70, 52), 2)
    found = cut(stack, torch.tensor([[4.0, 9.0], [30.0, -2.0]]), (20, 15))
    torch.testing.assert_close(found[0, 0], stack[0, 0, 4:24, 9:24])
    torch.testing.assert_close(found[1, 0, :, 2:], stack[1, 0, 30:50, :13])
    assert (found[1, 0, :, :2] == 0).all()


class Remembers(torch.nn.Module):
    """Keeps what it was shown, and points at places that are given."""

    def __init__(self, fractions):
        super().__init__()
        self.fractions = torch.tensor(fractions)

    def forward(self, image):
        self.seen = image
        return self.fractions.expand(len(image), 3, 2)


@pytest.mark.parametrize("size", SIZES)
def test_the_canvas_is_monais(size, joint):
    network = Remembers([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]])
    parts = (network, Blurred(), joint, (0, 1, 2))
    CoarseToFineLocator(*parts, canvas_size=CANVAS, window_size=WINDOW)(images(size), spacing())
    expected = torch.stack([ResizeWithPadOrCrop(CANVAS)(image) for image in images(size)])
    torch.testing.assert_close(network.seen, expected)


@pytest.mark.parametrize("size", SIZES)
def test_without_finite_coordinates_nothing_is_found(size, joint):
    parts = (Remembers([[torch.nan, 0.5]] * 3), Blurred(), joint, (0, 1, 2))
    locator = CoarseToFineLocator(*parts, canvas_size=CANVAS, window_size=WINDOW)
    found = locator(images(size), spacing())
    assert torch.isnan(found.points_ij).all()
    assert torch.isnan(found.confidence).all()


@pytest.mark.parametrize("spread", [1.0, 40.0, 400.0])
def test_sums_of_logarithms_are_the_chains_own_beliefs(joint, spread):
    """The chain sums in double precision; in single precision scores so low are 0."""
    generator = torch.Generator().manual_seed(2)
    states = -spread * torch.rand((2, 2, 3, 7), generator=generator)
    states[:, 0, :, -1] = states[:, 0, -1, -2] = states[:, 1, -1, :-1] = IMPOSSIBLE
    moves = transitions(-spread * torch.rand((2, 25, 2, 5, 5), generator=generator))
    expected = joint.chain.decide(states, moves)
    found = with_logarithms(joint).chain.decide(states, moves)
    torch.testing.assert_close(found.probabilities, expected.probabilities, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.states, expected.states)
