"""Expectations of heatmaps, against torch's own distributions."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from spine_monai.heatmaps import encode_heatmaps
from spine_monai.numerical import NormalizedHeatmaps, NumericalCoordinateLoss, decode_expectation

SHAPE = (40, 24)
SIGMA_PX = 2.0
POINTS = torch.tensor([[[12.3, 8.7], [25.0, 15.5]]])


def drawn() -> torch.Tensor:
    return encode_heatmaps(POINTS, SHAPE, SIGMA_PX)


def test_the_expectation_of_a_gaussian_is_its_centre():
    logits = drawn().clamp_min(1e-30).log() + 7.0  # a softmax does not see a constant
    assert torch.allclose(decode_expectation(logits), POINTS, atol=1e-3)


def test_a_perfect_map_is_as_high_as_a_drawn_one_whatever_was_added_to_it():
    network = NormalizedHeatmaps(torch.nn.Identity(), SIGMA_PX)
    maps = drawn()
    logits = maps.clamp_min(1e-30).log() + torch.tensor([7.0, -80.0])[:, None, None]
    odds = network(logits).exp()
    assert torch.allclose(odds, maps, atol=1e-4)
    assert torch.allclose(decode_expectation(network(logits)), POINTS, atol=1e-3)


def test_a_perfect_map_costs_nothing():
    maps = drawn()
    loss = NumericalCoordinateLoss(SIGMA_PX, 0.3)(maps.clamp_min(1e-30).log(), 0.3 * maps)
    assert float(loss) == pytest.approx(0.0, abs=1e-5)


def test_the_loss_is_the_squared_distance_and_the_divergence():
    logits = torch.randn(1, 2, *SHAPE, generator=torch.Generator().manual_seed(3))
    found = Categorical(logits=logits.flatten(-2))
    target = Categorical(probs=drawn().flatten(-2))
    middle = Categorical(probs=(found.probs + target.probs) / 2)
    divergence = (kl_divergence(found, middle) + kl_divergence(target, middle)) / 2
    offsets = (decode_expectation(logits) - POINTS) / torch.tensor([20.0, 12.0])
    expected = (offsets.square().sum(-1) + 0.5 * divergence).mean()
    loss = NumericalCoordinateLoss(SIGMA_PX, divergence_weight=0.5)(logits, drawn())
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)


def test_landmarks_out_of_view_or_not_annotated_are_left_out():
    maps = drawn().expand(2, 2, *SHAPE).clone()
    maps[0, 1] = 0.0
    maps[1, 0] = torch.nan
    logits = torch.randn(2, 2, *SHAPE, requires_grad=True)
    loss = NumericalCoordinateLoss(SIGMA_PX)(logits, maps)
    loss.backward()
    moved = logits.grad.abs().amax((-2, -1)) > 0
    assert torch.isfinite(loss)
    assert moved.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("row", "is_seen"), [(38.0, True), (1.0, True), (42.0, False), (-3, False)]
)
def test_a_tail_that_reaches_into_the_image_is_no_landmark_in_view(row, is_seen):
    maps = encode_heatmaps(torch.tensor([[[row, 8.7], [25.0, 15.5]]]), SHAPE, SIGMA_PX)
    logits = torch.randn(1, 2, *SHAPE, requires_grad=True)
    NumericalCoordinateLoss(SIGMA_PX)(logits, maps).backward()
    moved = logits.grad.abs().amax((-2, -1)) > 0
    assert moved.tolist() == [[is_seen, True]]


def test_a_batch_without_any_landmark_costs_nothing_and_has_a_gradient():
    logits = torch.randn(1, 2, *SHAPE, requires_grad=True)
    loss = NumericalCoordinateLoss(SIGMA_PX)(logits, torch.zeros(1, 2, *SHAPE))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(logits.grad.abs().max()) == 0.0
