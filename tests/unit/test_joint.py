"""Both networks' outputs decided together, on drawn columns whose landmarks are known."""

import copy
import math

import pytest
import torch

from spine_monai import joint as joint_module
from spine_monai.candidates import Candidates
from spine_monai.chain import IMPOSSIBLE
from spine_monai.joint import Evidence, JointFusion, fit_chain, gather_evidence

B, N, H, W = 2, 5, 130, 56
GROUPS = (0, 1, 0, 1, 0)
SPACING_MM = torch.tensor([[1.5, 1.0], [1.5, 1.0]])
STEP_IJ = torch.tensor([12.0, 2.0])  # 18 mm down, 2 mm along
LEVEL_IJ = 2 * STEP_IJ  # to the next landmark of the same kind
COLUMNS_IJ = torch.stack(
    [start + torch.arange(N)[:, None] * STEP_IJ for start in torch.tensor([[30.0, 20], [27, 25]])]
)
NAN = math.nan


def fitted_joint():
    joint = JointFusion(GROUPS).eval()
    joint.chain.chain_mean_mm.copy_((STEP_IJ * SPACING_MM[0]).expand(N - 1, 2))
    joint.chain.chain_cov_mm2.copy_(torch.tensor([[4.0, 1.0], [1.0, 3.0]]).expand(N - 1, 2, 2))
    return joint


def draw(*columns, shape=(H, W)):
    """(B, N, H, W) logits with a bump for each landmark of each ``(points_ij, heights)``."""
    rows, columns_j = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    grid = torch.stack([rows, columns_j], -1)
    logits = torch.full((B, N, *shape), -9.0)
    for points_ij, heights in columns:
        squares = (grid - points_ij[:, :, None, None]).square().sum(-1)
        tops = torch.as_tensor(heights).expand(B, N)[..., None, None]
        logits = torch.maximum(logits, tops - squares / 18)
    return logits


def two_columns(own, wrong):
    """The true column, and the same one a level below."""
    return draw((COLUMNS_IJ, own), (COLUMNS_IJ + LEVEL_IJ, wrong))


def worst_px(points_ij, expected_ij):
    return (points_ij - expected_ij).abs().max().item()


def random_logits(seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(B, N, 60, 44, generator=generator)
    return torch.nn.functional.avg_pool2d(noise, 5, 1, 2) * 12 - 3


def planted_evidence(images=6, seed=0):
    """Three candidates a landmark: the true one, and two that lie and shine worse by chance."""
    generator = torch.Generator().manual_seed(seed)
    true_ij = 20 + torch.arange(N)[:, None] * STEP_IJ
    true_ij = true_ij + torch.randn(images, N, 2, generator=generator)
    decoys = [true_ij + move for move in (LEVEL_IJ, -LEVEL_IJ + 3)]
    points_ij = torch.stack([true_ij, *decoys], 2)
    log_heat = -6 * torch.rand(images, N, 3, generator=generator)
    log_heat[..., 0] += 2.0
    allowed = torch.zeros(images, N, 5, dtype=torch.bool)
    allowed[..., 0] = True
    return Evidence(
        Candidates(points_ij, log_heat, torch.ones(images, N, 3, dtype=torch.bool)),
        true_ij + 6 * torch.randn(images, N, 2, generator=generator),
        SPACING_MM[:1].expand(images, 2),
        allowed,
    )


def parts(evidence, *sizes):
    """The same evidence in pieces of so many images."""
    candidates = zip(*(values.split(sizes) for values in evidence.candidates), strict=True)
    others = zip(*(values.split(sizes) for values in evidence[1:4]), strict=True)
    return [Evidence(Candidates(*c), *o) for c, o in zip(candidates, others, strict=True)]


@torch.no_grad()
def log_likelihoods(joint, evidence):
    chain, sigma_mm = joint.chain, joint.fusion.prior_sigma_mm
    candidates, predicted_ij, spacing_mm, allowed, _ = evidence
    states, steps = chain.scores(candidates, predicted_ij, sigma_mm, spacing_mm)
    true = states.masked_fill(~allowed[:, None], IMPOSSIBLE)
    return chain.log_partition(true, steps) - chain.log_partition(states, steps)


def evidence_of(points_ij, in_view=None, logits=None):
    in_view = torch.isfinite(points_ij).all(-1) if in_view is None else in_view
    logits = draw((COLUMNS_IJ, 1.0)) if logits is None else logits
    chain = fitted_joint().chain
    return gather_evidence(
        chain.candidates(logits, SPACING_MM), COLUMNS_IJ, SPACING_MM, points_ij, in_view
    )


def test_a_column_is_found_below_the_pixel():
    truth = COLUMNS_IJ + torch.tensor([0.3, -0.4])
    fused = fitted_joint().decode(draw((truth, 1.0)), COLUMNS_IJ + 4.0, SPACING_MM)
    assert worst_px(fused.points_ij, truth) < 0.05
    assert (fused.confidence > 0.95).all()
    assert (fused.radius95_mm > 0).all()


def test_one_landmark_that_shines_at_the_wrong_level_is_put_right():
    own, wrong = torch.ones(N), torch.zeros(N)
    wrong[2] = 1.3
    joint, logits, between = fitted_joint(), two_columns(own, wrong), COLUMNS_IJ + LEVEL_IJ / 2
    alone = joint.fusion.decode(logits, between, SPACING_MM).points_ij
    assert worst_px(alone[:, 2], COLUMNS_IJ[:, 2] + LEVEL_IJ) < 0.1
    assert worst_px(joint.decode(logits, between, SPACING_MM).points_ij, COLUMNS_IJ) < 0.1


@pytest.mark.parametrize(("lean", "levels"), [(0.2, 0), (0.8, 1)])
def test_the_coordinates_decide_between_two_equal_columns(lean, levels):
    predicted_ij = COLUMNS_IJ + lean * LEVEL_IJ
    fused = fitted_joint().decode(two_columns(1.0, 1.0), predicted_ij, SPACING_MM)
    assert worst_px(fused.points_ij, COLUMNS_IJ + levels * LEVEL_IJ) < 0.1


def test_confidence_halves_between_two_equal_columns():
    between = COLUMNS_IJ + LEVEL_IJ / 2
    fused = fitted_joint().decode(two_columns(1.0, 1.0), between, SPACING_MM)
    torch.testing.assert_close(fused.confidence, torch.full((B, N), 0.5), atol=0.05, rtol=0)


@pytest.mark.parametrize("end", ["above", "below"])
@pytest.mark.parametrize(("score", "is_absent"), [(-1.0, True), (-1000.0, False)])
def test_a_landmark_out_of_view_is_absent_where_its_score_says_so(end, score, is_absent):
    joint = fitted_joint()
    with torch.no_grad():
        joint.chain.absent_above.fill_(score)
        joint.chain.absent_below.fill_(score)
    shape = (H, W) if end == "above" else (70, W)
    move = torch.tensor([-36.0, 0.0]) if end == "above" else torch.zeros(2)
    hidden = 0 if end == "above" else N - 1
    columns = COLUMNS_IJ + move
    heights = torch.ones(N)
    heights[hidden] = -20.0
    fused = joint.decode(draw((columns, heights), shape=shape), columns, SPACING_MM)
    expected = torch.zeros(B, N, dtype=torch.bool)
    expected[:, hidden] = is_absent
    for values in (fused.points_ij.sum(-1), fused.confidence, fused.radius95_mm):
        assert torch.equal(torch.isnan(values), expected)
    if is_absent:
        seen = [n for n in range(N) if n != hidden]
        assert worst_px(fused.points_ij[:, seen], columns[:, seen]) < 0.1


@pytest.mark.parametrize("spoilt", ["logits", "coordinates"])
@pytest.mark.parametrize("value", [NAN, math.inf])
def test_what_is_no_number_gives_no_points_for_that_image_only(spoilt, value):
    joint, logits, predicted_ij = fitted_joint(), draw((COLUMNS_IJ, 1.0)), COLUMNS_IJ + 2.0
    plain = joint.decode(logits, predicted_ij, SPACING_MM)
    (logits[1, 2, 50] if spoilt == "logits" else predicted_ij[1, 2])[0] = value
    fused = joint.decode(logits, predicted_ij, SPACING_MM)
    for values, expected in zip(fused, plain, strict=True):
        assert torch.isnan(values[1]).all()
        torch.testing.assert_close(values[0], expected[0])


def test_confidence_is_a_probability():
    joint = fitted_joint()
    for seed in range(8):
        predicted_ij = 20 + COLUMNS_IJ / 4
        fused = joint.decode(random_logits(seed), predicted_ij, SPACING_MM)
        known = torch.isfinite(fused.points_ij).all(-1)
        assert torch.equal(torch.isfinite(fused.confidence), known)
        assert (fused.confidence[known] >= 0).all()
        assert (fused.confidence[known] <= 1).all()


def test_certain_landmarks_are_not_surer_than_sure():
    """Float32 probabilities of several candidates in reach sum to a little more than one."""
    joint, side = fitted_joint(), torch.tensor([0.0, 7.0])
    with torch.no_grad():
        joint.chain.heatmap_weight.fill_(2.0)
        joint.chain.absent_above.fill_(-60.0)
        joint.chain.absent_below.fill_(-60.0)
    logits = draw((COLUMNS_IJ, 1.0), (COLUMNS_IJ + side, 0.9), (COLUMNS_IJ - side, 0.95))
    for step in range(10):
        predicted_ij = COLUMNS_IJ + side * step / 10
        confidence = joint.decode(logits, predicted_ij, SPACING_MM).confidence
        assert (confidence <= 1.0).all()
        assert (confidence > 0.99).all()


def test_decoding_commutes_with_a_shift_of_everything():
    move, joint = torch.tensor([7.0, -5.0]), fitted_joint()
    heights = torch.tensor([1.0, 0.5, 2.0, -1.0, 0.0])
    one, other = (
        joint.decode(draw((columns, heights), (columns + LEVEL_IJ, 0.8)), columns + 5.3, SPACING_MM)
        for columns in (COLUMNS_IJ, COLUMNS_IJ + move)
    )
    torch.testing.assert_close(other.points_ij, one.points_ij + move, atol=1e-3, rtol=0)
    torch.testing.assert_close(other.confidence, one.confidence, atol=1e-3, rtol=0)


def test_an_image_is_decoded_as_if_it_were_alone():
    joint, logits = fitted_joint(), two_columns(1.0, 0.7)
    predicted_ij = COLUMNS_IJ + torch.tensor([[3.0, 5.0], [15.0, 1.0]])[:, None]
    together = joint.decode(logits, predicted_ij, SPACING_MM)
    for image in range(B):
        one = slice(image, image + 1)
        alone = joint.decode(logits[one], predicted_ij[one], SPACING_MM[one])
        for values, expected in zip(alone, together, strict=True):
            torch.testing.assert_close(values, expected[one], rtol=1e-4, atol=1e-4)


def test_decoding_leaves_its_arguments_and_no_gradient():
    logits, predicted_ij = draw((COLUMNS_IJ, 1.0)), COLUMNS_IJ.clone()
    logits[0, 0, 0, 0] = NAN
    before = logits.clone()
    fused = fitted_joint().decode(logits, predicted_ij, SPACING_MM)
    torch.testing.assert_close(logits, before, equal_nan=True)
    assert not fused.confidence.requires_grad


def test_decoding_without_the_steps_statistics_is_refused():
    with pytest.raises(ValueError, match="statistics must be known: got NaN"):
        JointFusion(GROUPS).decode(draw((COLUMNS_IJ, 1.0)), COLUMNS_IJ, SPACING_MM)


def test_forward_is_the_belief_of_each_landmark_by_itself():
    joint, logits = fitted_joint(), draw((COLUMNS_IJ, 1.0))
    expected = joint.fusion(logits, COLUMNS_IJ, SPACING_MM)
    torch.testing.assert_close(joint(logits, COLUMNS_IJ, SPACING_MM), expected)


def test_the_fitted_file_gives_the_same_landmarks_back():
    joint, again = fitted_joint(), JointFusion(GROUPS)
    with torch.no_grad():
        joint.chain.chain_weight.fill_(0.8)
    again.load_state_dict(joint.state_dict())
    logits, predicted_ij = two_columns(1.0, 0.7), COLUMNS_IJ + 9.0
    one, other = (j.decode(logits, predicted_ij, SPACING_MM) for j in (joint, again))
    for values, expected in zip(other, one, strict=True):
        torch.testing.assert_close(values, expected)


def test_the_own_candidate_is_the_one_that_may_be_true():
    evidence = evidence_of(COLUMNS_IJ + torch.tensor([2.0, 3.0]))
    assert (evidence.allowed.sum(-1) == 1).all()
    assert not evidence.allowed[..., -2:].any()
    index = evidence.allowed.float().argmax(-1)[..., None, None].expand(B, N, 1, 2)
    chosen_ij = evidence.candidates.points_ij.gather(2, index)[:, :, 0]
    torch.testing.assert_close(chosen_ij, COLUMNS_IJ)


def test_without_an_own_candidate_every_candidate_may_be_true():
    points_ij = COLUMNS_IJ.clone()
    points_ij[1, 3] += torch.tensor([0.0, 9.0])
    allowed = evidence_of(points_ij).allowed
    assert allowed[1, 3, :-2].all()
    assert not allowed[1, 3, -2:].any()
    assert (allowed.sum(-1) == 1).sum() == B * N - 1


def test_out_of_view_a_landmark_is_absent_above_or_below():
    in_view = torch.tensor([[False, False, True, True, True], [True, True, True, False, False]])
    evidence = evidence_of(COLUMNS_IJ, in_view)
    assert (evidence.allowed.sum(-1) == 1).all()
    above, below = evidence.allowed[..., -2], evidence.allowed[..., -1]
    assert torch.equal(above, ~in_view & torch.tensor([[True], [False]]))
    assert torch.equal(below, ~in_view & torch.tensor([[False], [True]]))


def test_a_landmark_that_is_not_annotated_may_be_anywhere_or_absent():
    points_ij = COLUMNS_IJ.clone()
    points_ij[0, 0] = points_ij[1, 2] = points_ij[1, 4] = NAN
    allowed = evidence_of(points_ij).allowed
    for image, landmark, absent in ((0, 0, [True, False]), (1, 4, [False, True])):
        assert allowed[image, landmark, :-2].all()
        assert allowed[image, landmark, -2:].tolist() == absent
    assert allowed[1, 2, :-2].all()
    assert not allowed[1, 2, -2:].any()


def test_a_landmark_out_of_view_between_others_does_not_make_the_truth_impossible():
    in_view = torch.tensor([[True, True, False, True, True], [False, True, True, False, True]])
    evidence = evidence_of(COLUMNS_IJ, in_view)
    assert (log_likelihoods(fitted_joint(), evidence) > -100).all()


def test_an_image_without_a_landmark_teaches_nothing():
    """The chain knows only paths with at least one landmark in view."""
    evidence = evidence_of(COLUMNS_IJ, torch.zeros(B, N, dtype=torch.bool))
    likelihoods = log_likelihoods(fitted_joint(), evidence)
    torch.testing.assert_close(likelihoods, torch.zeros(B), atol=1e-3, rtol=0)


def test_the_truth_is_never_likelier_than_everything():
    points_ij = COLUMNS_IJ.clone()
    points_ij[1, 3] += torch.tensor([0.0, 9.0])
    for evidence in (planted_evidence(), evidence_of(points_ij)):
        assert (log_likelihoods(fitted_joint(), evidence) <= 1e-4).all()


def test_fitting_raises_the_likelihood_of_the_truth_and_returns_it():
    joint, evidence = fitted_joint(), planted_evidence()
    before = -log_likelihoods(joint, evidence).mean().item()
    loss = fit_chain(joint, [evidence])
    assert loss < 0.8 * before
    assert loss == pytest.approx(-log_likelihoods(joint, evidence).mean().item(), abs=1e-5)
    chain = joint.chain
    assert min(chain.heatmap_weight, chain.prior_weight, chain.chain_weight) > 0


def test_fitting_keeps_the_weights_of_the_scores_above_zero(monkeypatch):
    """Heat that misleads: dark at the truth."""
    monkeypatch.setattr(joint_module, "RESTRAINT", 0.0)
    monkeypatch.setattr(joint_module, "FIT_ITERATIONS", 15)
    evidence = planted_evidence()
    candidates = evidence.candidates._replace(log_heat=-12 - evidence.candidates.log_heat)
    joint = fitted_joint()
    fit_chain(joint, [evidence._replace(candidates=candidates)])
    assert 0 <= joint.chain.heatmap_weight.item() < 0.01


def test_fitting_leaves_the_statistics_and_the_fusion_alone(monkeypatch):
    monkeypatch.setattr(joint_module, "FIT_ITERATIONS", 3)
    joint = fitted_joint()
    before = copy.deepcopy(joint.state_dict())
    fit_chain(joint, [planted_evidence()])
    changed = {name for name, value in joint.state_dict().items() if not value.equal(before[name])}
    nan = {"fusion.conformal_quantile"}
    weights = {f"chain.{name}" for name, _ in joint.chain.named_parameters()}
    assert changed - nan <= weights
    assert {"chain.heatmap_weight", "chain.chain_weight", "chain.prior_weight"} <= changed


def test_fitting_gives_the_same_weights_again(monkeypatch):
    monkeypatch.setattr(joint_module, "FIT_ITERATIONS", 5)
    joints = [fitted_joint() for _ in range(2)]
    losses = [fit_chain(joint, [planted_evidence()]) for joint in joints]
    assert losses[0] == losses[1]
    for one, other in zip(*(joint.chain.parameters() for joint in joints), strict=True):
        assert torch.equal(one, other)


def test_every_image_weighs_the_same_however_the_evidence_is_split(monkeypatch):
    monkeypatch.setattr(joint_module, "FIT_ITERATIONS", 4)
    whole, split = fitted_joint(), fitted_joint()
    losses = [fit_chain(whole, [planted_evidence()])]
    losses.append(fit_chain(split, parts(planted_evidence(), 1, 5)))
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    for one, other in zip(whole.chain.parameters(), split.chain.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_fitting_holds_one_piece_of_evidence_at_a_time(monkeypatch):
    """The scores of a thousand images' steps do not fit into memory."""
    monkeypatch.setattr(joint_module, "FIT_ITERATIONS", 1)
    alive, most = 0, 0

    def packed(tensor):
        nonlocal alive, most
        alive += tensor.numel()
        most = max(most, alive)
        return tensor

    def unpacked(tensor):
        nonlocal alive
        alive -= tensor.numel()
        return tensor

    held = []
    for sizes in ((2,), (2, 2, 2)):
        alive = most = 0
        pieces = parts(planted_evidence(sum(sizes)), *sizes)
        with torch.autograd.graph.saved_tensors_hooks(packed, unpacked):
            fit_chain(fitted_joint(), pieces)
        held.append(most)
    assert held[1] < 1.5 * held[0]


def test_a_dark_landmark_that_would_lie_in_view_is_not_left_out():
    """Without the view its absence is cheap; with it, each millimetre to the edge costs."""
    joint, hidden = fitted_joint(), torch.tensor([1.0, 1.0, 1.0, 1.0, -3.0])
    with torch.no_grad():
        joint.chain.absent_below.fill_(-0.5)
    logits = draw((COLUMNS_IJ, hidden))
    whole = torch.tensor([[0.0, 0.0], [H - 1.0, W - 1.0]]).repeat(B, 1, 1)
    cut = whole.clone()
    cut[:, 1, 0] = COLUMNS_IJ[:, -1, 0] - 4
    for view_ij, is_absent in ((None, True), (whole, False), (cut, True)):
        points_ij = joint.decode(logits, COLUMNS_IJ, SPACING_MM, view_ij).points_ij
        assert (torch.isnan(points_ij).any(-1)[:, -1] == is_absent).all()
        assert worst_px(points_ij[:, :-1], COLUMNS_IJ[:, :-1]) < 0.1


@pytest.mark.parametrize(("apart_mm", "share"), [(7.0, 1.0), (12.0, 0.5)])
def test_confidence_counts_the_candidates_within_eight_millimetres(apart_mm, share):
    joint, side = fitted_joint(), torch.tensor([0.0, apart_mm])
    with torch.no_grad():
        joint.chain.chain_weight.fill_(4.0)  # all landmarks on one side or all on the other
    logits = draw((COLUMNS_IJ, 1.0), (COLUMNS_IJ + side, 1.0))
    fused = joint.decode(logits, COLUMNS_IJ + side / 2, SPACING_MM)
    torch.testing.assert_close(fused.confidence, torch.full((B, N), share), atol=0.05, rtol=0)


@pytest.mark.parametrize(("height", "expected"), [(-2.0, 1 / (1 + math.exp(2.0))), (-9.0, 0.0)])
def test_a_landmark_that_is_seen_at_another_level_too_has_a_rival(height, expected):
    """The heat of the other place, not of the landmark's own."""
    logits = draw((COLUMNS_IJ, 1.0))
    shifted = draw((COLUMNS_IJ + LEVEL_IJ, height))
    logits[:, -1] = torch.maximum(logits[:, -1], shifted[:, -1])
    fused = fitted_joint().decode(logits, COLUMNS_IJ, SPACING_MM)
    assert worst_px(fused.points_ij, COLUMNS_IJ) < 0.1
    torch.testing.assert_close(
        fused.rival_heat[:, -1], torch.full((B,), expected), atol=0.03, rtol=0.1
    )
