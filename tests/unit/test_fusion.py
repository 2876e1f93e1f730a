"""Heatmap times Gaussian, against the plain product in double precision and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from spine_monai.fusion import BeliefLoss, FusionModel, credible_radius_mm, log_belief, log_product
from spine_monai.heatmaps import decode_argmax

B, N, H, W = 2, 3, 26, 41
SPACING_MM = torch.tensor([[0.8, 1.5], [1.2, 0.7]])
SIGMA_MM = torch.tensor([[4.0, 9.0], [6.0, 5.0], [12.0, 3.0]])
NAN = math.nan


def random_case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, N, H, W, generator=generator)
    predicted_ij = torch.rand(B, N, 2, generator=generator) * torch.tensor([H - 1.0, W - 1.0])
    return logits, predicted_ij


def gaussian_logits(centre_ij, covariance_mm2, spacing_mm, shape=(H, W)):
    """(1, 1, H, W) logits whose sigmoid is, far below one half, a Gaussian in mm."""
    axes = [torch.arange(float(n)) * s for n, s in zip(shape, spacing_mm[0].tolist(), strict=True)]
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    normal = MultivariateNormal(torch.as_tensor(centre_ij) * spacing_mm[0], covariance_mm2)
    return (normal.log_prob(positions) - 30)[None, None]


def plain_product(logits, predicted_ij, sigma_mm, spacing_mm, dtype=np.float64):
    """The paper's product of one map, without logarithms."""
    rows, columns = np.indices(logits.shape).astype(dtype)
    down = (rows - predicted_ij[0]) * spacing_mm[0] / sigma_mm[0]
    along = (columns - predicted_ij[1]) * spacing_mm[1] / sigma_mm[1]
    prior = np.exp((-(down**2 + along**2) / 2).astype(dtype))
    sigmoid = np.exp(-np.logaddexp(0, -logits.astype(dtype)))
    return sigmoid * prior


def model_without_floor(**options):
    model = FusionModel(1, prior_sigma_mm=200.0, **options)
    with torch.no_grad():
        model.background_floor.fill_(0.0)
    return model


def test_the_product_is_the_plain_one_of_the_paper():
    logits, predicted_ij = random_case()
    ours = log_product(logits, predicted_ij, SIGMA_MM, SPACING_MM).numpy()
    for b in range(B):
        for n in range(N):
            plain = plain_product(
                logits[b, n].numpy(),
                predicted_ij[b, n].numpy(),
                SIGMA_MM[n].numpy(),
                SPACING_MM[b].numpy(),
            )
            np.testing.assert_allclose(ours[b, n], np.log(plain), atol=1e-3, rtol=1e-4)
            assert ours[b, n].argmax() == plain.argmax()


def test_a_scalar_sigma_is_the_sigma_of_all_landmarks_and_axes():
    logits, predicted_ij = random_case()
    scalar = log_product(logits, predicted_ij, 7.0, SPACING_MM)
    spread = log_product(logits, predicted_ij, torch.full((N, 2), 7.0), SPACING_MM)
    torch.testing.assert_close(scalar, spread)


@pytest.mark.parametrize("sigma", [0.0, -2.0, NAN, torch.tensor([[1.0, 1], [1, 1], [1, -1]])])
def test_a_prior_sigma_that_is_not_positive_is_refused(sigma):
    with pytest.raises(ValueError, match="prior_sigma_mm must be positive: got"):
        log_product(*random_case(), sigma, SPACING_MM)


def test_a_prior_far_from_the_heatmap_does_not_underflow():
    """Top of two Gaussians' product: the mean weighted with their precisions."""
    shape, spacing_mm, prior_mm = (12, 400), torch.tensor([[1.0, 1.0]]), 15.0
    logits = gaussian_logits([6.0, 350.0], 9.0 * torch.eye(2), spacing_mm, shape)
    predicted_ij = torch.tensor([[[6.0, 20.0]]])
    plain = plain_product(
        logits[0, 0].numpy(), [6.0, 20.0], (prior_mm, prior_mm), (1.0, 1.0), np.float32
    )
    assert (plain == 0).all()
    points_ij = FusionModel(1, prior_sigma_mm=prior_mm).decode(logits, predicted_ij, spacing_mm)[0]
    top = (350 / 9 + 20 / 225) / (1 / 9 + 1 / 225)
    torch.testing.assert_close(points_ij, torch.tensor([[[6.0, top]]]), atol=0.01, rtol=0)


def test_the_prior_chooses_between_two_equal_peaks():
    spacing_mm = SPACING_MM[:1]
    peaks = [gaussian_logits(p, 4.0 * torch.eye(2), spacing_mm) for p in ([5.0, 6.0], [20.0, 33.0])]
    logits = torch.maximum(*peaks)
    for index, predicted in enumerate(([8.0, 10.0], [17.0, 28.0])):
        log_map = log_product(logits, torch.tensor([[predicted]]), 15.0, spacing_mm)
        nearest = decode_argmax(log_map)[0, 0] - torch.tensor([[5.0, 6.0], [20.0, 33.0]])[index]
        assert nearest.abs().max() <= 1


def test_the_belief_sums_to_one():
    log_map = log_product(*random_case(), SIGMA_MM, SPACING_MM)
    for temperature, floor in ((1.0, 0.0), (0.3, 0.01), (5.0, 0.4), (1.0, 1.0)):
        total = log_belief(log_map, temperature, floor).exp().sum((-2, -1))
        torch.testing.assert_close(total, torch.ones(B, N))


def test_the_belief_is_tempered_and_mixed_with_a_floor():
    log_map = torch.tensor([[0.0, -1.0, -3.0], [-2.0, -50.0, -4.0]])
    powers = np.exp(log_map.numpy().astype(np.float64)) ** (1 / 2.5)
    expected = 0.8 * powers / powers.sum() + 0.2 / 6
    np.testing.assert_allclose(log_belief(log_map, 2.5, 0.2).exp(), expected, rtol=1e-5)


def test_the_floor_keeps_the_belief_from_vanishing_anywhere():
    log_map = torch.tensor([[0.0, -1e4]])
    assert log_belief(log_map, 1.0, 0.02)[0, 1].item() == pytest.approx(math.log(0.01))


def test_only_the_fitted_values_are_in_the_state_dict():
    state = FusionModel(N).state_dict()
    names = ["background_floor", "conformal_quantile", "prior_sigma_mm", "temperature"]
    assert sorted(state) == names
    assert state["prior_sigma_mm"].shape == (N, 2)


def test_the_model_applies_its_own_weights():
    logits, predicted_ij = random_case()
    model = FusionModel(N)
    with torch.no_grad():
        model.prior_sigma_mm.copy_(SIGMA_MM)
        model.temperature.fill_(1.7)
        model.background_floor.fill_(0.05)
    log_map = log_product(logits, predicted_ij, SIGMA_MM, SPACING_MM)
    expected = log_belief(log_map, 1.7, 0.05)
    torch.testing.assert_close(model(logits, predicted_ij, SPACING_MM), expected)


def test_weights_that_a_step_threw_out_of_range_are_put_back_to_its_edge():
    model = FusionModel(N).train()
    with torch.no_grad():
        model.prior_sigma_mm.fill_(-3.0)
        model.temperature.fill_(0.0)
        model.background_floor.fill_(2.0)
    model(*random_case(), SPACING_MM).sum().backward()
    assert model.prior_sigma_mm.detach().unique().tolist() == [1.0]
    assert model.temperature.item() == pytest.approx(0.01)
    assert model.background_floor.item() == 0.5
    assert model.background_floor.grad is not None


def test_outside_training_the_weights_are_left_alone():
    model = FusionModel(N, prior_sigma_mm=0.5).eval()
    model(*random_case(), SPACING_MM)
    assert model.prior_sigma_mm.detach().unique().tolist() == [0.5]


def test_a_rough_prediction_does_not_pull_the_point_off_its_peak():
    centre, spacing_mm = [11.3, 25.6], SPACING_MM[1:]
    logits = gaussian_logits(centre, torch.diag(torch.tensor([9.0, 4.0])), spacing_mm)
    off = torch.tensor([[[14.0, 22.0]]])
    fused = FusionModel(1, prior_sigma_mm=8.0).decode(logits, off, spacing_mm)
    torch.testing.assert_close(fused.points_ij[0, 0], torch.tensor(centre), atol=2e-3, rtol=0)


def test_the_prediction_chooses_between_two_peaks():
    spacing_mm = torch.tensor([[1.0, 1.0]])
    low = gaussian_logits([12.0, 8.0], 2.0 * torch.eye(2), spacing_mm) - 1.0
    high = gaussian_logits([12.0, 32.0], 2.0 * torch.eye(2), spacing_mm)
    model = FusionModel(1, prior_sigma_mm=6.0)
    fused = model.decode(torch.maximum(low, high), torch.tensor([[[14.0, 12.0]]]), spacing_mm)
    torch.testing.assert_close(fused.points_ij[0, 0], torch.tensor([12.0, 8.0]), atol=1e-2, rtol=0)


def test_without_a_peak_in_reach_the_products_argmax_stands():
    spacing_mm = torch.tensor([[1.0, 1.0]])
    slope = torch.linspace(-20, -10, W).expand(1, 1, H, W).contiguous()
    fused = FusionModel(1, prior_sigma_mm=3.0).decode(
        slope, torch.tensor([[[9.0, 14.2]]]), spacing_mm
    )
    row, column = fused.points_ij[0, 0].tolist()
    assert row == pytest.approx(9.0, abs=0.05)
    assert column == pytest.approx(14.2 + 9.0 * 10 / (W - 1), abs=0.05)


def test_shrinkage_charges_for_sigmas_that_differ():
    logits, predicted_ij = random_case()
    model = FusionModel(N)
    points_ij = torch.full((B, N, 2), 5.0)
    log_beliefs = model(logits, predicted_ij, SPACING_MM).detach()
    plain = BeliefLoss()(log_beliefs, points_ij)
    assert BeliefLoss(model, shrinkage=2.0)(log_beliefs, points_ij) == plain
    with torch.no_grad():
        model.prior_sigma_mm[0] *= math.e
    expected = plain + 2.0 * np.var([1.0, 0.0, 0.0])
    torch.testing.assert_close(BeliefLoss(model, shrinkage=2.0)(log_beliefs, points_ij), expected)


def test_decoding_finds_the_peak_below_the_pixel():
    centre, spacing_mm = [11.3, 25.6], SPACING_MM[1:]
    logits = gaussian_logits(centre, torch.diag(torch.tensor([9.0, 4.0])), spacing_mm)
    fused = model_without_floor().decode(logits, torch.tensor([[centre]]), spacing_mm)
    torch.testing.assert_close(fused.points_ij[0, 0], torch.tensor(centre), atol=2e-3, rtol=0)


def test_decoding_leaves_no_gradient():
    assert not FusionModel(N).decode(*random_case(), SPACING_MM).points_ij.requires_grad


def test_confidence_is_the_belief_within_eight_millimetres():
    logits, predicted_ij = random_case()
    model = FusionModel(N, prior_sigma_mm=9.0)
    fused = model.decode(logits, predicted_ij, SPACING_MM)
    belief = model(logits, predicted_ij, SPACING_MM).detach().exp().numpy()
    for b in range(B):
        offsets = np.indices((H, W)).transpose(1, 2, 0) - fused.points_ij[b, 1].numpy()
        is_near = np.linalg.norm(offsets * SPACING_MM[b].numpy(), axis=-1) <= 8
        assert fused.confidence[b, 1].item() == pytest.approx(belief[b, 1][is_near].sum(), rel=1e-4)


def test_confidence_is_near_one_for_a_sharp_peak():
    logits = gaussian_logits([12.0, 20.0], 2.0 * torch.eye(2), SPACING_MM[:1])
    fused = FusionModel(1).decode(logits, torch.tensor([[[12.0, 20.0]]]), SPACING_MM[:1])
    assert 0.985 < fused.confidence.item() <= 1.0


def test_confidence_halves_with_a_second_equal_peak_far_away():
    spacing_mm = torch.tensor([[0.8, 1.5]])
    peaks = [
        gaussian_logits(p, 2.0 * torch.eye(2), spacing_mm) for p in ([12.0, 8.0], [12.0, 32.0])
    ]
    predicted_ij = torch.tensor([[[12.0, 20.0]]])
    fused = model_without_floor().decode(torch.maximum(*peaks), predicted_ij, spacing_mm)
    assert fused.confidence.item() == pytest.approx(0.5, abs=1e-3)


def test_the_covariance_of_a_gaussian_is_found_in_square_millimetres():
    spacing_mm = torch.tensor([[0.8, 0.5]])
    truth = torch.tensor([[6.0, 2.5], [2.5, 4.0]])
    logits = gaussian_logits([24.0, 38.0], truth, spacing_mm, (49, 77))
    model = model_without_floor(target_sigma_mm=10.0)
    fused = model.decode(logits, torch.tensor([[[24.0, 38.0]]]), spacing_mm)
    with_pixel = truth + torch.diag(spacing_mm[0] ** 2 / 12)
    torch.testing.assert_close(fused.covariance_mm2[0, 0], with_pixel, atol=0.03, rtol=0)


def test_the_covariance_sees_only_three_target_sigmas():
    spacing_mm = torch.tensor([[0.8, 1.5]])
    near = gaussian_logits([12.0, 8.0], 2.0 * torch.eye(2), spacing_mm)
    far = gaussian_logits([12.0, 32.0], 2.0 * torch.eye(2), spacing_mm)
    predicted_ij = torch.tensor([[[12.0, 20.0]]])
    model = model_without_floor(target_sigma_mm=3.5)
    alone = model.decode(near, predicted_ij, spacing_mm)
    both = model.decode(torch.maximum(near, far), predicted_ij, spacing_mm)
    torch.testing.assert_close(both.covariance_mm2, alone.covariance_mm2, atol=1e-2, rtol=0)


def test_the_covariance_sees_the_doubt_beside_a_narrow_peak():
    spacing_mm = torch.tensor([[0.8, 1.5]])
    peaks = [gaussian_logits(p, torch.eye(2), spacing_mm) for p in ([12.0, 8.0], [12.0, 13.0])]
    case = torch.maximum(*peaks), torch.tensor([[[12.0, 8.0]]]), spacing_mm
    wide, narrow = (model_without_floor(target_sigma_mm=s).decode(*case) for s in (3.6, 1.2))
    assert narrow.covariance_mm2[0, 0, 1, 1] > 5
    torch.testing.assert_close(narrow.covariance_mm2, wide.covariance_mm2)


def test_the_radius_of_a_round_gaussian_is_the_chi_squared_quantile():
    covariance = torch.stack([9.0 * torch.eye(2), torch.eye(2)]).double()
    radius = credible_radius_mm(covariance)
    np.testing.assert_allclose(radius, [3 * math.sqrt(5.991464547), math.sqrt(5.991464547)])
    assert credible_radius_mm(covariance, 0.5)[1].item() == pytest.approx(1.177410023)


def test_the_radius_of_an_inclined_gaussian_is_that_of_its_widest_direction():
    turn = torch.tensor([[math.cos(0.6), -math.sin(0.6)], [math.sin(0.6), math.cos(0.6)]])
    covariance = turn @ torch.diag(torch.tensor([16.0, 1.0])) @ turn.T
    assert credible_radius_mm(covariance).item() == pytest.approx(4 * 2.4477468, rel=1e-5)


def test_a_fitted_quantile_scales_the_radius_and_makes_the_model_calibrated():
    logits, predicted_ij = random_case()
    model = FusionModel(N)
    before = model.decode(logits, predicted_ij, SPACING_MM)
    assert not model.is_calibrated
    torch.testing.assert_close(before.radius95_mm, credible_radius_mm(before.covariance_mm2))
    model.conformal_quantile.fill_(1.5)
    assert model.is_calibrated
    after = model.decode(logits, predicted_ij, SPACING_MM)
    torch.testing.assert_close(after.radius95_mm, 1.5 * before.radius95_mm)


def test_the_belief_loss_is_the_mean_over_known_points_on_the_grid():
    log_beliefs = random_case()[0].flatten(-2).log_softmax(-1).view(B, N, H, W)
    points_ij = torch.tensor(
        [[[3.4, 30.6], [NAN, NAN], [-0.6, 5.0]], [[25.4, 40.4], [25.6, 3.0], [7.0, 41.0]]]
    )
    expected = -(log_beliefs[0, 0, 3, 31] + log_beliefs[1, 0, 25, 40]) / 2
    torch.testing.assert_close(BeliefLoss()(log_beliefs, points_ij), expected)


def test_the_belief_loss_has_no_gradient_on_unknown_points():
    log_beliefs = torch.full((B, N, H, W), -3.0, requires_grad=True)
    points_ij = torch.full((B, N, 2), 5.0)
    points_ij[0, 1] = NAN
    points_ij[1, 2] = -9.0
    BeliefLoss()(log_beliefs, points_ij).backward()
    is_reached = (log_beliefs.grad != 0).any(-1).any(-1)
    assert is_reached.tolist() == [[True, False, True], [True, True, False]]


def test_a_batch_without_a_known_point_has_no_belief_loss():
    assert BeliefLoss()(torch.zeros(B, N, H, W), torch.full((B, N, 2), NAN)).item() == 0.0


def test_the_spread_of_the_predicted_points_is_learned():
    """With flat heatmaps the belief is the prior, and its best sigma the root mean square."""
    generator = torch.Generator().manual_seed(3)
    cases, spacing = 40, torch.tensor([1.0, 1.5])
    truth_mm = torch.tensor([[3.0, 5.0], [2.0, 4.0]])
    offsets_mm = torch.randn(cases, 2, 2, generator=generator) * truth_mm
    points_ij = torch.tensor([16.0, 20.0]).expand(cases, 2, 2)
    spacing_mm, logits = spacing.expand(cases, 2), torch.zeros(cases, 2, 33, 41)
    model = FusionModel(2, prior_sigma_mm=7.0)
    optimizer = torch.optim.Adam([model.prior_sigma_mm], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        belief = model(logits, points_ij + offsets_mm / spacing, spacing_mm)
        BeliefLoss()(belief, points_ij).backward()
        optimizer.step()
    fitted = model.prior_sigma_mm.detach()
    torch.testing.assert_close(fitted, offsets_mm.square().mean(0).sqrt(), atol=0.2, rtol=0.05)


def test_temperature_and_floor_are_learned_too():
    model = FusionModel(N)
    points_ij = torch.full((B, N, 2), 6.0)
    BeliefLoss()(model(*random_case(), SPACING_MM), points_ij).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_fusion_commutes_with_translation():
    step, spacing_mm = torch.tensor([5.0, -7.0]), torch.tensor([[0.8, 0.5]])
    covariance, centre = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([20.3, 40.6])
    model, shape = FusionModel(1, prior_sigma_mm=6.0), (46, 81)
    fused = [
        model.decode(
            gaussian_logits(centre + move, covariance, spacing_mm, shape),
            (centre + move + torch.tensor([2.0, 3.0]))[None, None],
            spacing_mm,
        )
        for move in (torch.zeros(2), step)
    ]
    torch.testing.assert_close(fused[1].points_ij, fused[0].points_ij + step, atol=1e-3, rtol=0)
    torch.testing.assert_close(fused[1].confidence, fused[0].confidence, atol=1e-3, rtol=0)
    torch.testing.assert_close(fused[1].covariance_mm2, fused[0].covariance_mm2, atol=0.02, rtol=0)


def test_fusion_commutes_with_exchanging_rows_and_columns():
    logits, predicted_ij = random_case()
    model, turned = FusionModel(N), FusionModel(N)
    with torch.no_grad():
        model.prior_sigma_mm.copy_(SIGMA_MM)
        turned.prior_sigma_mm.copy_(SIGMA_MM.flip(-1))
    one = model.decode(logits, predicted_ij, SPACING_MM)
    other = turned.decode(logits.mT, predicted_ij.flip(-1), SPACING_MM.flip(-1))
    torch.testing.assert_close(other.points_ij, one.points_ij.flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.confidence, one.confidence)
    torch.testing.assert_close(
        other.covariance_mm2, one.covariance_mm2.flip(-1, -2), atol=1e-3, rtol=1e-4
    )


@pytest.mark.parametrize("spoilt", ["logits", "coordinates"])
def test_what_is_no_number_gives_no_landmark(spoilt):
    logits, predicted_ij = random_case()
    (logits if spoilt == "logits" else predicted_ij)[1, 2] = torch.nan
    fused = FusionModel(N).decode(logits, predicted_ij, SPACING_MM)
    for values in (fused.points_ij.sum(-1), fused.confidence, fused.radius95_mm):
        assert torch.isnan(values[1, 2])
        assert torch.isfinite(values).sum() == B * N - 1


def test_a_flat_heatmap_leaves_the_place_to_the_prediction():
    flat = torch.full((1, 1, H, W), -2.0)
    fused = FusionModel(1, prior_sigma_mm=6.0).decode(
        flat, torch.tensor([[[3.2, 3.4]]]), SPACING_MM[:1]
    )
    torch.testing.assert_close(fused.points_ij[0, 0], torch.tensor([3.2, 3.4]), atol=0.05, rtol=0)


def test_the_covariance_is_as_exact_far_from_the_first_pixel():
    spacing_mm = torch.ones(1, 2)
    truth = 1.44 * torch.eye(2)
    logits = gaussian_logits([500.0, 300.0], truth, spacing_mm, (512, 512))
    model = model_without_floor()
    fused = model.decode(logits, torch.tensor([[[500.0, 300.0]]]), spacing_mm)
    with_pixel = truth + torch.eye(2) / 12
    torch.testing.assert_close(fused.covariance_mm2[0, 0], with_pixel, atol=0.02, rtol=0)
