"""The chain of landmarks, against enumeration of all its paths."""

import itertools
import math
import re

import numpy as np
import pytest
import torch

from spine_monai.candidates import Candidates
from spine_monai.chain import (
    IMPOSSIBLE,
    SCALE_SPREAD,
    SCALES,
    TAIL,
    TURN_SPREAD_RAD,
    TURNS_RAD,
    SpineChain,
    best_path,
    best_scores,
    forward_scores,
    offset_statistics,
    similarity_grid,
    similarity_log_prior,
    transitions,
)

B, N, K, H, W = 2, 4, 3, 70, 48
ABOVE, BELOW = K, K + 1
GRID = [(scale, turn) for scale in SCALES for turn in TURNS_RAD]
SPACING_MM = torch.tensor([[1.5, 1.0], [1.5, 1.0]])
GROUPS = (0, 1, 0, 1)
NAN = math.nan
VIEW_IJ = torch.tensor([[[4.0, 2.0], [60.0, 40.0]], [[0.0, 0.0], [69.0, 30.0]]])


def random_scores(seed=0, *, images=B, absent=0.0):
    generator = torch.Generator().manual_seed(seed)
    states = 3 * torch.randn(images, N, K + 2, generator=generator)
    states[..., K:] += absent
    steps = -20 * torch.rand(images, len(GRID), N - 1, K, K, generator=generator)
    return states, steps


def logsumexp(values, axis=None):
    return np.logaddexp.reduce(np.asarray(values), axis=axis)


def is_possible(path):
    """Absent above, then candidates, then absent below; wholly absent is absent above."""
    kinds = "".join("c" if state < K else "ab"[state - K] for state in path)
    return re.fullmatch("a*c+b*|a+", kinds) is not None


PATHS = [path for path in itertools.product(range(K + 2), repeat=N) if is_possible(path)]
SEEN_PATHS = [path for path in PATHS if min(path) < K]  # what the chain itself allows


def grid_log_prior():
    energies = [
        -0.5 * ((math.log(scale) / SCALE_SPREAD) ** 2 + (turn / TURN_SPREAD_RAD) ** 2)
        for scale, turn in GRID
    ]
    return np.array(energies) - logsumexp(energies)


def enumerated(states, steps):
    """(paths, G) scores of one image."""
    states, steps = states.double().numpy(), steps.double().numpy()
    rows = []
    for path in PATHS:
        score = grid_log_prior() + sum(states[n, state] for n, state in enumerate(path))
        for n, (one, other) in enumerate(itertools.pairwise(path)):
            if one < K and other < K:
                score = score + steps[:, n, one, other]
        rows.append(score)
    return np.stack(rows)


def chain_of(groups=GROUPS):
    chain = SpineChain(groups)
    count = len(groups) - 1
    chain.chain_mean_mm.copy_(torch.tensor([[18.0, 3.0], [16.0, -1.0], [19.0, -4.0]])[:count])
    covariance = torch.tensor([[4.0, 1.0], [1.0, 2.0]])
    chain.chain_cov_mm2.copy_(covariance * torch.tensor([1.0, 1.5, 0.7])[:count, None, None])
    return chain


def random_candidates(seed=0):
    generator = torch.Generator().manual_seed(seed)
    points_ij = torch.rand(B, N, K, 2, generator=generator) * torch.tensor([H - 1.0, W - 1.0])
    log_heat = -20 * torch.rand(B, N, K, generator=generator)
    return Candidates(points_ij, log_heat, torch.ones(B, N, K, dtype=torch.bool))


def turn_matrix(turn, scale=1.0):
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    return torch.tensor([[cos, -sin], [sin, cos]])


def subjects_mm(count, *, scatter_mm, seed=0):
    """(count, N, 2) columns that scatter about planted steps, and these steps."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor([[18.0, 4.0], [16.0, -2.0], [21.0, -3.0]], dtype=torch.float64)
    scatter = scatter_mm * torch.randn(count, N - 1, 2, generator=generator, dtype=torch.float64)
    starts = 100 * torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)
    return torch.cat([starts, starts + (mean + scatter).cumsum(1)], 1), mean


def turned_mm(points_mm, seed=0):
    """Each subject turned and scaled by its own amount."""
    generator = np.random.default_rng(seed)
    turns, scales = generator.uniform(-0.4, 0.4, 60), generator.uniform(0.7, 1.4, 60)
    similar = [turn_matrix(t, s).double() for t, s in zip(turns, scales, strict=True)]
    return torch.stack([points @ g.T for points, g in zip(points_mm, similar, strict=False)])


def without_gauge(steps):
    """Complex steps up to one common turn and scale."""
    own = torch.view_as_complex(steps)
    return own / own.sum()


@pytest.mark.parametrize("absent", [-9.0, 0.0, 6.0])
def test_the_best_path_is_the_best_of_all_paths(absent):
    states, steps = random_scores(images=6, absent=absent)
    moves = transitions(steps)
    found = best_path(best_scores(states[:, None], moves), moves)
    for image in range(6):
        best = enumerated(states[image], steps[image]).max(1).argmax()
        assert found[image].tolist() == list(PATHS[best])


@pytest.mark.parametrize("absent", [-9.0, 0.0, 6.0])
def test_probabilities_are_sums_over_all_paths(absent):
    states, steps = random_scores(1, absent=absent)
    probabilities = chain_of().decide(states[:, None], transitions(steps)).probabilities
    for image in range(B):
        shares = logsumexp(enumerated(states[image], steps[image]), axis=1)
        shares = np.exp(shares - logsumexp(shares))
        expected = np.zeros((N, K + 2))
        for path, share in zip(PATHS, shares, strict=True):
            expected[np.arange(N), list(path)] += share
        np.testing.assert_allclose(probabilities[image], expected, atol=2e-5)


@pytest.mark.parametrize("absent", [-9.0, 0.0, 6.0])
def test_the_partition_is_the_sum_over_all_paths(absent):
    states, steps = random_scores(2, absent=absent)
    ours = chain_of().log_partition(states[:, None], transitions(steps))
    expected = [logsumexp(enumerated(*pair)) for pair in zip(states, steps, strict=True)]
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_last_probabilities_are_those_of_the_paths_that_end_there():
    states, steps = random_scores(3)
    ends = forward_scores(states[:, None], transitions(steps))[-1].flatten(1, 2)
    expected = ends.logsumexp(1).softmax(-1)
    found = chain_of().decide(states[:, None], transitions(steps)).probabilities
    torch.testing.assert_close(found[:, -1], expected, atol=1e-5, rtol=0)


def test_probabilities_survive_scores_that_leave_single_precision_at_every_step():
    """Products over the landmarks of factors like exp(-300): what counts is how they compare."""
    states, steps = random_scores(8)
    far = torch.tensor([-310.0, -300.0, -305.0, -290.0, -330.0])
    found = chain_of().decide((states + far)[:, None], transitions(steps)).probabilities
    for image in range(B):
        shares = logsumexp(enumerated(states[image] + far, steps[image]), axis=1)
        shares = np.exp(shares - logsumexp(shares))
        expected = np.zeros((N, K + 2))
        for path, share in zip(PATHS, shares, strict=True):
            expected[np.arange(N), list(path)] += share
        np.testing.assert_allclose(found[image], expected, atol=2e-5)


def test_absent_runs_lie_at_the_ends_only():
    states, steps = random_scores(4, images=200, absent=3.0)
    paths = chain_of().decide(states[:, None], transitions(steps)).states.tolist()
    assert all(map(is_possible, paths))
    assert any(path[0] == ABOVE and path[-1] < K for path in paths)
    assert any(path[0] < K and path[-1] == BELOW for path in paths)
    assert any(path[0] == ABOVE and path[-1] == BELOW for path in paths)


def test_an_absence_between_two_present_landmarks_is_impossible():
    states, steps = random_scores(5)
    states[..., K:] = -900.0
    states[:, 1, K:] = 500.0
    beliefs = chain_of().decide(states[:, None], transitions(steps))
    assert (beliefs.states < K).all()
    torch.testing.assert_close(beliefs.probabilities[..., K:], torch.zeros(B, N, 2))


def test_wholly_absent_is_absent_above():
    states, steps = random_scores(6)
    states[..., K:] = 50.0
    beliefs = chain_of().decide(states[:, None], transitions(steps))
    assert (beliefs.states == ABOVE).all()
    torch.testing.assert_close(beliefs.probabilities[:, 0, BELOW], torch.zeros(B))


def test_a_candidate_that_is_not_there_is_never_on_a_path():
    chain, candidates = chain_of(), random_candidates()
    is_there = candidates.is_there.clone()
    is_there[0, 1] = is_there[1, 0, 2] = False
    scores = chain.scores(
        candidates._replace(is_there=is_there),
        torch.full((B, N, 2), 20.0),
        torch.full((N, 2), 9.0),
        SPACING_MM,
    )
    beliefs = chain.decide(*scores)
    assert (beliefs.probabilities[..., :K][~is_there] == 0).all()
    torch.testing.assert_close(beliefs.probabilities.sum(-1), torch.ones(B, N))
    assert beliefs.states[0, 1] >= K


def test_impossible_scores_leave_the_others_exact():
    """Float32 holds 1e6 to 0.06 only; a sum with it must not leak into what is possible."""
    states, steps = random_scores(7)
    states[:, 2, 0] = IMPOSSIBLE
    found = chain_of().decide(states[:, None], transitions(steps)).probabilities
    kept = [index for index, path in enumerate(PATHS) if path[2] != 0]
    for image in range(B):
        shares = logsumexp(enumerated(states[image], steps[image])[kept], axis=1)
        present = [PATHS[index][0] < K for index in kept]
        expected = np.exp(logsumexp(shares[present]) - logsumexp(shares))
        assert found[image, 0, :K].sum().item() == pytest.approx(expected, abs=1e-5)


def test_a_planted_mean_step_and_its_scatter_are_recovered():
    points_mm, planted = subjects_mm(400, scatter_mm=1.5)
    mean, covariance = offset_statistics(points_mm)
    torch.testing.assert_close(mean, planted, atol=0.3, rtol=0)
    scatter = covariance.diagonal(dim1=-2, dim2=-1) - 1  # the ridge
    assert (scatter > 0.5 * 1.5**2).all()
    assert (scatter < 1.2 * 1.5**2).all()


def test_subjects_of_one_shape_give_it_back_without_scatter():
    points_mm, planted = subjects_mm(7, scatter_mm=0.0)
    mean, covariance = offset_statistics(turned_mm(points_mm))
    torch.testing.assert_close(without_gauge(mean), without_gauge(planted))
    torch.testing.assert_close(covariance, torch.eye(2).double().expand(N - 1, 2, 2))


def test_the_statistics_do_not_depend_on_each_subjects_turn_and_scale():
    points_mm, _ = subjects_mm(30, scatter_mm=2.0)
    points_mm[3, 1] = NAN
    plain, plain_covariance = offset_statistics(points_mm)
    similar, covariance = offset_statistics(turned_mm(points_mm))
    torch.testing.assert_close(without_gauge(similar), without_gauge(plain), atol=1e-4, rtol=0)
    gauge = torch.view_as_complex(similar).sum() / torch.view_as_complex(plain).sum()
    turn = turn_matrix(gauge.angle().item(), gauge.abs().item()).double()
    ridge = torch.eye(2).double()
    expected = turn @ (plain_covariance - ridge) @ turn.T + ridge
    torch.testing.assert_close(covariance, expected, atol=0.02, rtol=0)


def test_the_mean_steps_have_the_subjects_mean_size_and_turn():
    """About which the grid of turns and scalings is centred: its prior has its top at none."""
    points_mm, planted = subjects_mm(200, scatter_mm=4.0)
    mean, _ = offset_statistics(points_mm)
    size = torch.view_as_complex(mean).sum() / torch.view_as_complex(planted).sum()
    assert size.abs().item() == pytest.approx(1.0, abs=0.02)
    assert size.angle().item() == pytest.approx(0.0, abs=0.02)


def test_points_that_are_not_annotated_are_left_out_of_the_statistics():
    points_mm, _ = subjects_mm(12, scatter_mm=1.0)
    extra = torch.full((1, N, 2), NAN, dtype=torch.float64)
    partly = points_mm.clone()
    partly[0, 0] = NAN
    found = offset_statistics(torch.cat([partly, extra]))
    for ours, expected in zip(found, offset_statistics(partly), strict=True):
        torch.testing.assert_close(ours, expected)
    assert all(torch.isfinite(values).all() for values in found)
    plain = offset_statistics(points_mm)[0]
    torch.testing.assert_close(found[0], plain, atol=0.3, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_covariance_is_positive_definite_with_few_subjects(count):
    points_mm, _ = subjects_mm(count, scatter_mm=2.0)
    if count == 3:
        points_mm[1:, 0] = NAN
    _, covariance = offset_statistics(points_mm)
    assert (torch.linalg.eigvalsh(covariance) >= 1.0).all()


def test_a_chain_is_fitted_once_the_statistics_are_in():
    assert not SpineChain(GROUPS).is_fitted
    assert chain_of().is_fitted
    assert {"chain_mean_mm", "chain_cov_mm2"} < set(chain_of().state_dict())


def test_the_grid_undoes_each_turn_and_scale():
    steps = torch.tensor([[17.0, 3.0], [-2.0, 5.0]])
    matrices = similarity_grid(undo=True)
    assert matrices.shape == (len(GRID), 2, 2)
    for matrix, (scale, turn) in zip(matrices, GRID, strict=True):
        torch.testing.assert_close(steps @ turn_matrix(turn, scale).T @ matrix.T, steps)


def test_the_grids_prior_sums_to_one_and_is_highest_at_none():
    log_prior = similarity_log_prior(torch.zeros(1))
    np.testing.assert_allclose(log_prior, grid_log_prior(), atol=1e-5)
    assert GRID[int(log_prior.argmax())] == (1.0, 0.0)


@pytest.mark.parametrize("element", [3, 11, 20])
def test_a_turned_picture_scores_as_the_upright_one_at_another_grid_element(element):
    chain, candidates = chain_of(), random_candidates()
    scale, turn = GRID[element]
    points_mm = candidates.points_ij * SPACING_MM[:, None, None]
    turned = points_mm @ turn_matrix(turn, scale).T / SPACING_MM[:, None, None]
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM)
    _, upright = chain.scores(candidates, *options)
    _, steps = chain.scores(candidates._replace(points_ij=turned), *options)
    none = GRID.index((1.0, 0.0))
    torch.testing.assert_close(steps[:, element], upright[:, none], rtol=1e-4, atol=1e-2)


def test_states_score_their_heat_and_how_far_they_stray_from_the_coordinates():
    chain, candidates = chain_of(), random_candidates()
    with torch.no_grad():
        chain.absent_above.fill_(-3.0)
        chain.absent_below.fill_(-7.0)
    predicted_ij = torch.rand(B, N, 2) * 40
    sigma_mm = torch.tensor([[4.0, 9.0], [6.0, 5.0], [12.0, 3.0], [8.0, 8.0]])
    states, _ = chain.scores(candidates, predicted_ij, sigma_mm, SPACING_MM)
    stray = (candidates.points_ij - predicted_ij[:, :, None]) * SPACING_MM[:, None, None]
    stray = ((stray / sigma_mm[None, :, None]) ** 2).sum(-1)
    heat = candidates.log_heat.clamp_min(-12.0)
    in_view, cut = states.detach().unbind(1)
    expected = 0.5 * heat - 0.5 * 0.2 * stray
    torch.testing.assert_close(in_view[..., :K], expected, rtol=1e-4, atol=1e-4)
    expected = 0.5 * heat - 0.5 * 0.02 * stray
    torch.testing.assert_close(cut[:, :-1, :K], expected[:, :-1], rtol=1e-4, atol=1e-4)
    assert states[:, :, :-1, ABOVE].unique().tolist() == [-3.0]
    assert cut[:, 1:, BELOW].unique().tolist() == [-7.0]
    assert (states[:, :, 0, BELOW] == IMPOSSIBLE).all()  # then none would be in view


def test_however_cheap_absence_is_something_is_in_view():
    chain, candidates = chain_of(), random_candidates()
    with torch.no_grad():
        chain.absent_above.fill_(500.0)
        chain.absent_below.fill_(500.0)
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM)
    states = chain.decide(*chain.scores(candidates, *options)).states
    assert ((states < K).sum(1) == 1).all()


@pytest.mark.parametrize(
    ("cheap", "way", "ends"),
    [("absent_above", ABOVE, slice(6, 8)), ("absent_below", BELOW, slice(0, 2))],
)
def test_however_cheap_absence_is_a_path_is_not_all_within_the_first_or_the_last_quarter(
    cheap, way, ends
):
    chain = SpineChain((0, 1) * 4)
    chain.chain_mean_mm.copy_(torch.tensor([18.0, 1.0]).expand(7, 2))
    chain.chain_cov_mm2.copy_(torch.eye(2).expand(7, 2, 2))
    with torch.no_grad():
        chain.get_parameter(cheap).fill_(500.0)
    few = random_candidates()
    candidates = Candidates(*(torch.cat([field, field], 1) for field in few))
    options = (torch.zeros(B, 8, 2), torch.ones(8, 2), SPACING_MM)
    probabilities = chain.decide(*chain.scores(candidates, *options)).probabilities[..., way]
    is_absent = probabilities > 0.5
    assert is_absent.sum(1).tolist() == [6] * B
    assert not is_absent[:, ends].any()


def test_the_last_landmark_is_in_view_in_one_half_of_the_hypotheses_and_absent_in_the_other():
    chain, candidates = chain_of(), random_candidates()
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM)
    states, moves = chain.scores(candidates, *options)
    assert (states.shape[1], moves.shape[1]) == (2, len(GRID))
    for end, is_cut in ((slice(0, 1), False), (slice(1, 2), True)):
        probabilities = chain.decide(states[:, end], moves).probabilities
        absent = probabilities[:, -1, BELOW]
        torch.testing.assert_close(absent, torch.full_like(absent, float(is_cut)))


def test_steps_score_their_distance_from_the_mean_by_the_covariance():
    chain, candidates = chain_of(), random_candidates()
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM)
    _, steps = chain.scores(candidates, *options)
    matrices = similarity_grid(undo=True).double().numpy()
    points_mm = (candidates.points_ij * SPACING_MM[:, None, None]).double().numpy()
    inverse = np.linalg.inv(chain.chain_cov_mm2.double().numpy())
    for image, g, n, k, other in ((0, 0, 0, 0, 1), (1, 17, 1, 2, 0), (0, 24, 2, 1, 1)):
        step = matrices[g] @ (points_mm[image, n + 1, other] - points_mm[image, n, k])
        stray = step - chain.chain_mean_mm[n].numpy()
        expected = -0.5 * 0.5 * (TAIL + 2) * np.log1p(stray @ inverse[n] @ stray / TAIL)
        assert steps[image, g, n, k, other].item() == pytest.approx(expected, rel=1e-4)


def test_all_weights_of_the_chain_are_reached_by_the_partition():
    chain, candidates = chain_of(), random_candidates()
    scores = chain.scores(
        candidates, torch.full((B, N, 2), 20.0), torch.full((N, 2), 30.0), SPACING_MM, VIEW_IJ
    )
    chain.log_partition(*scores).sum().backward()
    assert all(weight.grad.abs() > 0 for weight in chain.parameters())


def depth_mm(point_mm, view_mm, way):
    """How far a point lies within a rectangle, from the edge by which the spine would leave it."""
    (top, _), (bottom, _) = view_mm
    row, _ = point_mm
    return max(0.0, bottom - row if way == "below" else row - top)


def test_turning_absent_costs_what_the_next_landmark_would_lie_in_view():
    chain, candidates = chain_of(), random_candidates()
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM)
    price = chain.scores(candidates, *options, VIEW_IJ)[1] - chain.scores(candidates, *options)[1]
    weight = chain.unseen_weight.item()
    points_mm = (candidates.points_ij * SPACING_MM[:, None, None]).double().numpy()
    view_mm = (VIEW_IJ * SPACING_MM[:, None]).double().numpy()
    seen = []
    for image, g, n, k in itertools.product(range(B), (0, 7, 24), range(N - 1), range(K)):
        scale, turn = GRID[g]
        step = turn_matrix(turn, scale).double().numpy() @ chain.chain_mean_mm[n].double().numpy()
        below = depth_mm(points_mm[image, n, k] + step, view_mm[image], "below")
        above = depth_mm(points_mm[image, n + 1, k] - step, view_mm[image], "above")
        assert price[image, g, n, k, BELOW].item() == pytest.approx(-weight * below, abs=1e-3)
        assert price[image, g, n, ABOVE, k].item() == pytest.approx(-weight * above, abs=1e-3)
        seen += [below, above]
    assert min(seen) == 0 < max(seen)
    assert price[..., :K, :K].abs().max() == 0


@pytest.mark.parametrize("height_mm", [3_000, 9_000, 60_000])
def test_probabilities_are_numbers_however_tall_the_view(height_mm):
    """A price of 0.2 per mm: double precision does not hold the exponential of 900."""
    chain, candidates = chain_of(), random_candidates()
    middle = torch.tensor([height_mm / 2 / SPACING_MM[0, 0].item(), 0.0])
    candidates = candidates._replace(points_ij=candidates.points_ij + middle)
    view_ij = torch.stack([torch.zeros(2), 2 * middle + 70.0]).expand(B, 2, 2)
    options = (middle.expand(B, N, 2), torch.full((N, 2), 30.0), SPACING_MM, view_ij)
    probabilities = chain.decide(*chain.scores(candidates, *options)).probabilities
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(B, N))
    torch.testing.assert_close(probabilities[..., K:], torch.zeros(B, N, 2))


def test_a_step_that_nobody_has_is_like_its_nearest_neighbour():
    points_mm, _ = subjects_mm(6, scatter_mm=1.0)
    points_mm[:, 0] = NAN
    mean, covariance = offset_statistics(points_mm)
    torch.testing.assert_close(mean[0], mean[1])
    torch.testing.assert_close(covariance[0], covariance[1])
    assert torch.isfinite(mean).all()


def test_without_any_step_there_are_no_statistics():
    with pytest.raises(ValueError, match="no case has two neighbouring landmarks"):
        offset_statistics(torch.full((3, N, 2), NAN))


def test_the_chains_own_scores_sum_as_all_its_paths_do():
    """One weight of the coordinates where a path ends in view, another where it ends below it."""
    chain, candidates, predicted_ij = chain_of(), random_candidates(1), torch.full((B, N, 2), 25.0)
    options = (predicted_ij, torch.full((N, 2), 6.0), SPACING_MM, VIEW_IJ)
    with torch.no_grad():
        chain.chain_weight.fill_(0.02)
        scores = chain.scores(candidates, *options)
        ours, found = chain.log_partition(*scores).numpy(), chain.decide(*scores).states.tolist()
    moves = scores[1].double().numpy()
    offsets_mm = (candidates.points_ij - predicted_ij[:, :, None]) * SPACING_MM[:, None, None]
    strays = (offsets_mm / 6.0).square().sum(-1).double().numpy()
    heat = 0.5 * candidates.log_heat.clamp_min(-12.0).double().numpy()
    for image in range(B):
        paths = []
        for path in SEEN_PATHS:
            weight = 0.02 if path[-1] == BELOW else 0.2
            score = grid_log_prior() - 4.0 * sum(state >= K for state in path)
            for n, k in enumerate(path):
                score = score + (heat - weight / 2 * strays)[image, n, k] if k < K else score
            for n, move in enumerate(itertools.pairwise(path)):
                score = score + moves[image, :, n, *move]
            paths.append(score)
        assert ours[image] == pytest.approx(logsumexp(logsumexp(paths, 0)), abs=1e-3)
        assert found[image] == list(SEEN_PATHS[np.max(paths, 1).argmax()])


def test_of_the_weights_only_the_size_counts():
    chain, turned = chain_of(), chain_of()
    with torch.no_grad():
        for name, weight in turned.named_parameters():
            weight.mul_(-1.0 if name.endswith("weight") else 1.0)
    options = (torch.full((B, N, 2), 20.0), torch.full((N, 2), 30.0), SPACING_MM, VIEW_IJ)
    pairs = [one.scores(random_candidates(), *options) for one in (chain, turned)]
    for ours, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, expected)


def test_moves_to_and_from_absence_follow_the_order_of_the_spine():
    moves = transitions(torch.full((B, 1, N - 1, K, K), -2.0))[1, 0, 2]
    free = torch.zeros(K + 2, K + 2, dtype=torch.bool)
    free[ABOVE, : ABOVE + 1] = free[:K, BELOW] = free[BELOW, BELOW] = True
    assert torch.equal(moves == 0, free)
    free[:K, :K] = True
    assert (moves[:K, :K] == -2).all()
    assert torch.equal(moves == IMPOSSIBLE, ~free)


def test_scores_follow_statistics_that_change():
    chain, candidates = chain_of(), random_candidates()
    options = (torch.zeros(B, N, 2), torch.ones(N, 2), SPACING_MM, VIEW_IJ)
    before = chain.scores(candidates, *options)[1].detach()
    chain.chain_mean_mm.mul_(0.5)
    halved = chain.scores(candidates, *options)[1].detach()
    assert (halved - before).abs().max() > 1
    again = SpineChain(GROUPS)
    again.load_state_dict(chain.state_dict())
    torch.testing.assert_close(again.scores(candidates, *options)[1].detach(), halved)
    chain.load_state_dict(chain_of().state_dict())
    torch.testing.assert_close(chain.scores(candidates, *options)[1].detach(), before)
    chain.chain_cov_mm2.fill_(NAN)
    chain.chain_mean_mm.fill_(NAN)
    with pytest.raises(ValueError, match="statistics must be known: got NaN"):
        chain.scores(candidates, *options)


def test_statistics_first_used_in_inference_mode_serve_gradients_later():
    chain, candidates = chain_of(), random_candidates()
    options = (torch.full((B, N, 2), 20.0), torch.full((N, 2), 30.0), SPACING_MM, VIEW_IJ)
    with torch.inference_mode():
        chain.scores(candidates, *options)
    chain.log_partition(*chain.scores(candidates, *options)).sum().backward()
    assert all(weight.grad.abs() > 0 for weight in chain.parameters())
