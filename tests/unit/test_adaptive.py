"""Targets that sharpen: what they are, and when they do."""

import pytest
import torch

from spine_monai.adaptive import AdaptiveHeatmapLoss
from spine_monai.heatmaps import HeatmapLoss, encode_heatmaps

SHAPE = (48, 32)
POINTS = torch.tensor([[[20.3, 8.7], [25.0, 15.5]], [[11.0, 20.2], [30.0, 9.0]]])


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, *SHAPE, generator=generator, requires_grad=True)


def drawn(sigma_px=5.0):
    return encode_heatmaps(POINTS, SHAPE, sigma_px)


def make(**options):
    return AdaptiveHeatmapLoss(2, drawn_px=5.0, interval=1, **options)


def test_at_first_it_is_the_plain_loss(logits):
    assert make()(logits, drawn()).item() == pytest.approx(HeatmapLoss()(logits, drawn()).item())


def test_a_sharper_width_is_that_of_maps_drawn_so(logits):
    loss = make()
    loss.sigma_px.copy_(torch.tensor([2.0, 3.0]))
    sharp = torch.stack([drawn(2.0)[:, 0], drawn(3.0)[:, 1]], 1)
    expected = HeatmapLoss()(logits, sharp).item()
    assert loss(logits, drawn()).item() == pytest.approx(expected, rel=1e-5)


def test_a_landmark_that_is_not_annotated_is_left_out(logits):
    unknown = drawn()
    unknown[0, 1] = torch.nan
    value = make()(logits, unknown)
    assert value.item() == pytest.approx(HeatmapLoss()(logits, unknown).item())
    value.backward()
    assert logits.grad[0, 1].abs().max() == 0


def run(loss, losses):
    """Call it with logits whose cross-entropy goes as is said, the same for each landmark."""
    for one in losses:
        logits = torch.full((1, 2, *SHAPE), torch.logit(torch.tensor(one)).item())
        loss(logits.requires_grad_(), torch.zeros(1, 2, *SHAPE))
    return loss.sigma_px


def test_it_sharpens_where_the_loss_comes_to_rest():
    assert run(make(), [0.9, 0.6, 0.4, 0.35, 0.34, 0.338]).max() < 5.0


def test_it_does_not_while_the_loss_still_falls_faster():
    assert (run(make(), [0.9, 0.89, 0.87, 0.8, 0.65, 0.3]) == 5.0).all()


def test_its_width_stays_between_its_limits():
    rest = [0.5 + 0.4 * 0.7**n for n in range(80)]
    assert run(make(least_px=2.0), rest).tolist() == [2.0, 2.0]


def test_a_step_is_no_longer_than_said():
    loss, before = make(rate_px=0.25), 5.0
    for n in range(20):
        after = run(loss, [0.5 + 0.4 * (-0.5) ** n])[0].item()
        assert abs(after - before) <= 0.25 + 1e-6
        before = after


def test_a_validation_does_not_count(logits):
    loss = make()
    with torch.no_grad():
        for _ in range(9):
            loss(logits, drawn())
    assert (int(loss.calls), loss.sigma_px.tolist()) == (0, [5.0, 5.0])


def test_a_training_goes_on_where_it_was():
    first, second = make(), make()
    run(first, [0.9, 0.6, 0.4, 0.35])
    second.load_state_dict(first.state_dict())
    ends = [run(loss, [0.345, 0.343, 0.342]).tolist() for loss in (first, second)]
    assert ends[0] == ends[1] != [5.0, 5.0]
