"""The canvas draws what ``encode_heatmaps`` draws, whatever was drawn on it before."""

import pytest
import torch

from spine_monai import canvas as module
from spine_monai.canvas import Canvas
from spine_monai.heatmaps import encode_heatmaps

NAN = torch.nan
SHAPE = (40, 31)
POINTS_IJ = torch.tensor(
    [
        [[11.2, 7.9], [NAN, NAN], [38.5, 29.6]],
        [[-9.0, 4.0], [20.0, 400.0], [0.0, -0.4]],
    ]
)


@pytest.fixture(autouse=True, params=[0, module.MANY_PIXELS], ids=["in boxes", "whole"])
def both_ways(request, monkeypatch):
    """Maps as small as these are drawn whole; large ones, around each point alone."""
    monkeypatch.setattr(module, "MANY_PIXELS", request.param)


def expected(points_ij, sigma_px, shape=SHAPE):
    unknown = torch.isnan(points_ij).any(-1)[..., None, None]
    return encode_heatmaps(points_ij, shape, sigma_px).masked_fill(unknown, NAN)


@pytest.mark.parametrize("sigma_px", [0.4, 1.2, 3.0, 9.0])
def test_it_draws_what_a_whole_drawing_gives(sigma_px):
    drawn = Canvas().draw(POINTS_IJ, SHAPE, sigma_px)
    torch.testing.assert_close(drawn, expected(POINTS_IJ, sigma_px), atol=0, rtol=0, equal_nan=True)


def test_nothing_of_the_last_batch_stays():
    canvas = Canvas()
    for points_ij in (POINTS_IJ, POINTS_IJ.flip(1), POINTS_IJ + 3.3, POINTS_IJ):
        drawn = canvas.draw(points_ij, SHAPE, 1.5)
        torch.testing.assert_close(drawn, expected(points_ij, 1.5), atol=0, rtol=0, equal_nan=True)


def test_another_size_has_memory_of_its_own():
    canvas = Canvas()
    canvas.draw(POINTS_IJ, SHAPE, 1.5)
    for points_ij, shape in ((POINTS_IJ, (12, 50)), (POINTS_IJ[:1], SHAPE)):
        drawn = canvas.draw(points_ij, shape, 1.5)
        torch.testing.assert_close(
            drawn, expected(points_ij, 1.5, shape), atol=0, rtol=0, equal_nan=True
        )


def test_maps_are_empty_outside_the_view():
    views_ij = torch.tensor([[[9, 6], [12, 20]], [[0, 0], [2, 1]]])
    drawn = Canvas().draw(POINTS_IJ, SHAPE, 2.0, views_ij=views_ij)
    whole = expected(POINTS_IJ, 2.0)
    seen = torch.zeros_like(whole)
    seen[0, :, 9:13, 6:21], seen[1, :, :3, :2] = whole[0, :, 9:13, 6:21], whole[1, :, :3, :2]
    seen[0, 1] = NAN
    torch.testing.assert_close(drawn, seen, atol=0, rtol=0, equal_nan=True)
    assert drawn[0, 0].max() > 0
    assert drawn[1, 2].max() > 0


def test_the_amplitude_is_the_height_of_the_peak():
    drawn = Canvas().draw(torch.tensor([[[10.0, 12.0]]]), SHAPE, 2.0, amplitude=0.25)
    assert drawn.max().item() == 0.25
