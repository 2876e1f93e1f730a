"""Points as Gaussian heatmaps and back, against torch.distributions and plain formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from spine_monai.heatmaps import (
    CoordinateLoss,
    HeatmapLoss,
    SmoothCoordinateLoss,
    climb,
    decode_argmax,
    decode_heatmaps,
    edge_fractions_from_ij,
    encode_heatmaps,
    ij_from_edge_fractions,
    paper_amplitude,
    refine_log_taylor,
    sigma_px_from_mm,
)

H, W = 24, 37
NAN = torch.nan
POINTS_IJ = torch.tensor(
    [[[5.3, 30.7], [NAN, NAN], [17.0, 3.0]], [[11.45, 12.5], [20.9, 33.1], [2.2, 18.8]]]
)


def oracle(point_ij, sigma_px):
    """One heatmap as a product of two normal densities, scaled to a peak of 1."""
    profiles = [
        Normal(centre, sigma).log_prob(torch.arange(float(size))).exp() * sigma * math.tau**0.5
        for centre, sigma, size in zip(point_ij, sigma_px, (H, W), strict=True)
    ]
    return torch.outer(*profiles)


def test_a_heatmap_is_the_product_of_two_normal_densities():
    heatmaps = encode_heatmaps(POINTS_IJ, (H, W), 1.2)
    assert heatmaps.shape == (2, 3, H, W)
    expected = oracle(POINTS_IJ[1, 0].tolist(), [1.2, 1.2])
    torch.testing.assert_close(heatmaps[1, 0], expected, atol=1e-5, rtol=1e-4)


def test_a_heatmap_on_a_pixel_centre_has_its_peak_there():
    heatmap = encode_heatmaps(torch.tensor([[17.0, 3.0]]), (H, W), 2.0)[0]
    assert heatmap[17, 3] == 1.0
    assert heatmap[17, 5].item() == pytest.approx(math.exp(-0.5))
    assert heatmap[16, 3] == heatmap[18, 3] < 1.0


def test_each_landmark_and_each_axis_has_its_own_sigma():
    sigma = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.5, 1.5]])
    heatmaps = encode_heatmaps(POINTS_IJ, (H, W), sigma)
    for landmark in range(3):
        expected = oracle(POINTS_IJ[1, landmark].tolist(), sigma[landmark].tolist())
        torch.testing.assert_close(heatmaps[1, landmark], expected, atol=1e-5, rtol=1e-4)


def test_a_scalar_sigma_equals_the_same_sigma_for_all():
    scalar = encode_heatmaps(POINTS_IJ, (H, W), 1.7)
    torch.testing.assert_close(scalar, encode_heatmaps(POINTS_IJ, (H, W), torch.full((3, 2), 1.7)))


def test_the_second_form_of_the_paper_scales_the_first():
    """G = alpha / (2 pi sigma) exp(-d^2 / 2 sigma^2), written out at one pixel."""
    sigma, alpha = 1.2, 3.0
    amplitude = paper_amplitude(sigma, alpha)
    heatmap = encode_heatmaps(torch.tensor([[5.0, 7.0]]), (H, W), sigma, amplitude=amplitude)[0]
    expected = 3.0 / (2 * np.pi * 1.2) * np.exp(-(1**2 + 2**2) / (2 * 1.2**2))
    assert heatmap[6, 9].item() == pytest.approx(expected, rel=1e-5)
    assert heatmap[5, 7].item() == pytest.approx(0.3978874, rel=1e-5)


@pytest.mark.parametrize("missing", [[NAN, NAN], [NAN, 4.0], [4.0, NAN]])
def test_a_missing_landmark_has_an_empty_map(missing):
    heatmaps = encode_heatmaps(torch.tensor([missing, [4.0, 4.0]]), (H, W), 1.2)
    assert (heatmaps[0] == 0).all()
    assert heatmaps[1].max() == 1.0


def test_a_point_outside_the_image_gives_the_part_that_reaches_in():
    heatmap = encode_heatmaps(torch.tensor([[-1.0, W + 1.0]]), (H, W), 2.0)[0]
    torch.testing.assert_close(heatmap, oracle([-1.0, W + 1.0], [2.0, 2.0]))
    assert decode_argmax(heatmap).tolist() == [0.0, W - 1.0]


def test_a_point_far_outside_gives_an_empty_map():
    assert (encode_heatmaps(torch.tensor([[500.0, 4.0]]), (H, W), 1.2) == 0).all()


def test_points_that_are_not_pairs_are_refused():
    with pytest.raises(ValueError, match=r"points_ij must have shape \(\.\.\., N, 2\): got \(3, 3"):
        encode_heatmaps(torch.zeros(3, 3), (H, W), 1.2)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, torch.tensor([[1.0, 0.0]])])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma_px must be positive: got"):
        encode_heatmaps(torch.zeros(3, 2), (H, W), sigma)


def test_sigma_in_pixels_follows_the_spacing_of_each_axis():
    spacing_mm = torch.tensor([[0.5, 2.0], [1.0, 4.0]])
    assert sigma_px_from_mm(3.0, spacing_mm).tolist() == [[6.0, 1.5], [3.0, 0.75]]


def test_a_heatmap_of_one_sigma_in_mm_is_round_in_mm():
    spacing_mm = torch.tensor([0.5, 1.0])
    sigma_px = sigma_px_from_mm(2.0, spacing_mm)
    heatmap = encode_heatmaps(torch.tensor([[12.0, 18.0]]), (H, W), sigma_px)[0]
    torch.testing.assert_close(heatmap[12 + 4, 18], heatmap[12, 18 + 2])


@settings(max_examples=30, deadline=None)
@given(
    row=st.floats(0, H - 1, width=32),
    column=st.floats(0, W - 1, width=32),
    sigma=st.floats(0.75, 6, width=32),
)
def test_decoding_undoes_encoding_to_a_thousandth_of_a_pixel(row, column, sigma):
    point_ij = torch.tensor([[row, column]])
    decoded = decode_heatmaps(encode_heatmaps(point_ij, (H, W), sigma))
    torch.testing.assert_close(decoded, point_ij, atol=1e-3, rtol=0)


def test_decoding_a_batch_keeps_order_and_missing_landmarks():
    decoded = decode_heatmaps(encode_heatmaps(POINTS_IJ, (H, W), 1.2))
    torch.testing.assert_close(decoded, POINTS_IJ, atol=1e-3, rtol=0, equal_nan=True)


def test_decoding_does_not_depend_on_the_height_of_the_peak():
    heatmaps = encode_heatmaps(POINTS_IJ, (H, W), 2.0, amplitude=paper_amplitude(2.0, 0.1))
    torch.testing.assert_close(
        decode_heatmaps(heatmaps), POINTS_IJ, atol=1e-3, rtol=0, equal_nan=True
    )


def test_the_argmax_is_row_then_column():
    heatmaps = torch.zeros(2, 3, H, W)
    heatmaps[0, 0, 4, 31] = 1.0
    heatmaps[1, 2, 22, 0] = 1.0
    peaks_ij = decode_argmax(heatmaps)
    assert peaks_ij.shape == (2, 3, 2)
    assert peaks_ij[0, 0].tolist() == [4.0, 31.0]
    assert peaks_ij[1, 2].tolist() == [22.0, 0.0]


@pytest.mark.parametrize("corner", [(0, 0), (0, W - 1), (H - 1, 0), (H - 1, W - 1)])
def test_a_lone_bright_corner_is_decoded_inside_the_image(corner):
    heatmap = torch.zeros(H, W)
    heatmap[corner] = 1.0
    assert decode_heatmaps(heatmap).tolist() == list(map(float, corner))


@pytest.mark.parametrize("point", [[0.0, 0.3], [0.4, W - 1.0], [H - 1.0, 0.0], [H - 1.2, W - 1.4]])
def test_a_peak_at_the_border_is_as_exact_as_one_inside(point):
    decoded = decode_heatmaps(encode_heatmaps(torch.tensor([point]), (H, W), 1.5))
    torch.testing.assert_close(decoded, torch.tensor([point]), atol=1e-3, rtol=0)


def test_a_point_just_outside_is_decoded_at_the_border():
    decoded = decode_heatmaps(encode_heatmaps(torch.tensor([[-0.6, 9.0]]), (H, W), 1.5))
    torch.testing.assert_close(decoded, torch.tensor([[0.0, 9.0]]), atol=1e-3, rtol=0)


def test_refinement_is_exact_on_an_inclined_parabola():
    """Top of -1/2 (x - t)' P (x - t) with correlated axes, so the mixed derivative counts."""
    precision, top = torch.tensor([[0.9, 0.4], [0.4, 0.5]]), torch.tensor([8.3, 20.8])
    grid = torch.meshgrid(torch.arange(float(H)), torch.arange(float(W)), indexing="ij")
    offsets = torch.stack(grid, dim=-1) - top
    log_map = -0.5 * torch.einsum("hwi,ij,hwj->hw", offsets, precision, offsets)
    refined = refine_log_taylor(log_map, torch.tensor([8.0, 21.0]))
    torch.testing.assert_close(refined, top, atol=1e-3, rtol=0)


def test_refinement_leaves_a_peak_without_a_top_where_it_is():
    rows, columns = torch.arange(float(H)), torch.arange(float(W))
    saddle = -((rows[:, None] - 9) ** 2) + (columns - 9.2) ** 2
    valley = (rows[:, None] - 9.3) ** 2 + (columns - 9.2) ** 2
    maps = torch.stack([torch.zeros(H, W), saddle, valley])
    peaks_ij = torch.tensor([[7.0, 9.0], [9.0, 9.0], [9.0, 9.0]])
    assert refine_log_taylor(maps, peaks_ij).tolist() == peaks_ij.tolist()


def test_refinement_moves_no_more_than_a_pixel():
    log_map = torch.zeros(H, W)
    log_map[10, 10:13] = torch.tensor([0.0, 1.0, 1.99])
    log_map[9, 11] = log_map[11, 11] = 0.9
    assert refine_log_taylor(log_map, torch.tensor([10.0, 11.0]))[1] == 12.0


def test_a_map_without_a_positive_value_has_no_point():
    maps = torch.zeros(2, H, W)
    maps[1, 4, 5] = 1e-20
    assert torch.isnan(decode_heatmaps(maps)).tolist() == [[True, True], [False, False]]


def test_edge_fractions_run_from_outer_edge_to_outer_edge():
    points_ij = torch.tensor([[-0.5, -0.5], [H - 0.5, W - 0.5], [(H - 1) / 2, (W - 1) / 2]])
    expected = [[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]
    assert edge_fractions_from_ij(points_ij, (H, W)).tolist() == expected
    assert ij_from_edge_fractions(torch.tensor(expected), (H, W)).tolist() == points_ij.tolist()


def test_an_edge_fraction_means_the_same_place_after_resizing():
    """A blob keeps its edge fractions when torch resizes its image."""
    point_ij = torch.tensor([[7.0, 21.0]])
    image = encode_heatmaps(point_ij, (H, W), 3.0)
    resized = torch.nn.functional.interpolate(image[None], size=(4 * H, 2 * W), mode="bicubic")[0]
    found = decode_argmax(resized)
    expected = ij_from_edge_fractions(edge_fractions_from_ij(point_ij, (H, W)), (4 * H, 2 * W))
    assert (found - expected).abs().max() <= 0.5


def test_edge_fractions_keep_missing_landmarks():
    there = edge_fractions_from_ij(POINTS_IJ, (H, W))
    torch.testing.assert_close(ij_from_edge_fractions(there, (H, W)), POINTS_IJ, equal_nan=True)


def bce(logit, target):
    """Binary cross-entropy of one pixel by its definition."""
    probability = 1 / (1 + math.exp(-logit))
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


def test_the_heatmap_loss_is_the_mean_over_the_known_landmarks():
    logits = torch.tensor([[[[-2.0, 0.5]], [[3.0, 9.0]]]])
    heatmaps = torch.tensor([[[[0.1, 0.9]], [[NAN, NAN]]]])
    expected = (bce(-2.0, 0.1) + bce(0.5, 0.9)) / 2
    assert HeatmapLoss()(logits, heatmaps).item() == pytest.approx(expected, rel=1e-5)


def test_the_heatmap_loss_has_no_gradient_on_unknown_landmarks():
    logits = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    heatmaps = torch.full((2, 3, 5, 7), 0.2)
    heatmaps[1, 2] = NAN
    HeatmapLoss()(logits, heatmaps).backward()
    assert (logits.grad[1, 2] == 0).all()
    assert (logits.grad[0] != 0).all()


def test_heatmaps_hold_no_denormal_profile():
    points = torch.tensor([[3.0, 5.0], [NAN, NAN], [-90.0, 5.0]])
    heatmaps = encode_heatmaps(points, (64, 64), 1.0)
    smallest = torch.finfo(heatmaps.dtype).tiny
    column = heatmaps[0, :, 5]
    assert ((column == 0) | (column >= smallest)).all()
    assert column[16] == pytest.approx(math.exp(-0.5 * 13**2), rel=1e-4)
    assert (heatmaps[1:] == 0).all()


def test_an_empty_map_of_a_known_landmark_counts_as_background():
    loss = HeatmapLoss()(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    assert loss.item() == pytest.approx(math.log(2))


def test_the_coordinate_loss_is_the_mean_square_over_the_known_landmarks():
    predicted = torch.tensor([[[0.5, 0.5], [0.9, 0.9]], [[0.2, 0.4], [0.1, 0.1]]])
    reference = torch.tensor([[[0.4, 0.7], [NAN, NAN]], [[0.2, 0.1], [NAN, NAN]]])
    expected = (0.1**2 + 0.2**2 + 0.0 + 0.3**2) / 4
    assert CoordinateLoss()(predicted, reference).item() == pytest.approx(expected, rel=1e-5)


def test_the_coordinate_loss_has_no_gradient_on_unknown_landmarks():
    predicted = torch.full((2, 3, 2), 0.5, requires_grad=True)
    reference = torch.full((2, 3, 2), 0.25)
    reference[0, 1] = NAN
    CoordinateLoss()(predicted, reference).backward()
    assert (predicted.grad[0, 1] == 0).all()
    assert (predicted.grad[1] > 0).all()


@pytest.mark.parametrize(
    ("loss", "shape"), [(HeatmapLoss(), (2, 3, 5, 7)), (CoordinateLoss(), (2, 3, 2))]
)
def test_a_batch_without_any_known_landmark_has_no_loss(loss, shape):
    output = torch.ones(shape, requires_grad=True)
    value = loss(output, torch.full(shape, NAN))
    value.backward()
    assert value.item() == 0.0
    assert (output.grad == 0).all()


def test_climbing_ends_on_the_top_of_the_hill_or_after_its_steps():
    heatmaps = encode_heatmaps(torch.tensor([[10.0, 17.0], [4.0, 6.0]]), (20, 30), 5.0)
    starts = torch.tensor([[7.0, 15.0], [19.0, 29.0]])
    assert climb(heatmaps, starts, steps=4)[0].tolist() == [10.0, 17.0]
    assert climb(heatmaps, starts, steps=2)[0].tolist() == [9.0, 17.0]
    assert climb(heatmaps, starts, steps=1)[1].tolist() == [17.0, 27.0]  # from inside the edge


def test_a_map_of_nan_has_no_point():
    assert torch.isnan(decode_heatmaps(torch.full((2, 5, 6), torch.nan))).all()


def test_whole_number_points_keep_a_fractional_sigma():
    points = torch.tensor([[3, 5]])
    expected = encode_heatmaps(points.float(), (9, 11), 0.7)
    torch.testing.assert_close(encode_heatmaps(points, (9, 11), 0.7), expected)


def test_pixels_above_256_are_exact_in_reduced_precision():
    heatmaps = torch.zeros(1, 4, 600, dtype=torch.bfloat16)
    heatmaps[0, 2, 509] = 1.0
    assert decode_argmax(heatmaps).tolist() == [[2.0, 509.0]]


def test_drawing_into_given_memory_is_the_same():
    points = torch.tensor([[3.2, 5.1], [torch.nan, 1.0]])
    memory = torch.full((2, 9, 11), 7.0)
    drawn = encode_heatmaps(points, (9, 11), 1.3, out=memory)
    assert drawn is memory
    torch.testing.assert_close(memory, encode_heatmaps(points, (9, 11), 1.3))


def fractions(seed):
    return torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("beta", [0.02, 0.3])
def test_the_smooth_loss_of_known_landmarks_is_that_of_torch(beta):
    predicted, reference = fractions(0), fractions(1)
    reference[0, 0] = predicted[0, 0] + 0.004  # near enough for its square
    expected = torch.nn.functional.smooth_l1_loss(predicted, reference, beta=beta)
    torch.testing.assert_close(SmoothCoordinateLoss(beta)(predicted, reference), expected)


def test_the_smooth_loss_turns_from_squares_to_distances_at_beta():
    """Girshick 2015, equation 3: d^2 / (2 beta) below it, d - beta / 2 beyond."""
    reference = torch.zeros(1, 3, 2)
    for distance, expected in ((0.01, 0.01**2 / 0.04), (0.02, 0.01), (0.3, 0.29), (-0.3, 0.29)):
        loss = SmoothCoordinateLoss()(reference + distance, reference)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_smooth_loss_leaves_unknown_landmarks_out():
    predicted, reference = fractions(0).requires_grad_(), fractions(1)
    reference[0, 1] = reference[1, 2] = NAN
    is_known = torch.tensor([[True, False, True], [True, True, False]])
    loss = SmoothCoordinateLoss()(predicted, reference)
    loss.backward()
    expected = torch.nn.functional.smooth_l1_loss(
        predicted[is_known], reference[is_known], beta=0.02
    )
    torch.testing.assert_close(loss, expected)
    assert (predicted.grad[~is_known] == 0).all()
    assert (predicted.grad[is_known] != 0).all()


def test_the_smooth_loss_of_no_known_landmark_is_zero_with_a_finite_gradient():
    predicted = fractions(0).requires_grad_()
    loss = SmoothCoordinateLoss()(predicted, torch.full((2, 3, 2), NAN))
    loss.backward()
    assert loss.item() == 0.0
    assert (predicted.grad == 0).all()


def test_each_map_can_have_its_own_limit_of_steps():
    heatmaps = encode_heatmaps(torch.tensor([[10.0, 17.0], [10.0, 17.0]]), (20, 30), 5.0)
    starts = torch.tensor([[5.0, 17.0], [5.0, 17.0]])
    ends = climb(heatmaps, starts, steps=4, limits=torch.tensor([2.0, 9.0]))
    assert ends.tolist() == [[7.0, 17.0], [9.0, 17.0]]


def test_climbing_stays_on_a_plateau():
    heatmap = torch.zeros(12, 15)
    heatmap[4:7, 5:9] = 1.0
    assert climb(heatmap, torch.tensor([5.0, 7.0]), steps=5).tolist() == [5.0, 7.0]
