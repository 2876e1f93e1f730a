"""Decoding the straightforward way: every map written out whole, one image after the other.

What ``FusionModel.decode`` and ``JointFusion.decode`` give, they must give here too; so this is the
oracle of the tests, and what the speed of decoding is measured against.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from spine_monai.candidates import APART_MM, CANDIDATES, REACH_MM, Candidates
from spine_monai.fusion import FusedPoints, FusionModel
from spine_monai.heatmaps import decode_argmax, refine_log_taylor
from spine_monai.joint import RIVAL_MM, JointFusion

CLIMB_MM, HIT_MM, WINDOW_SIGMAS, LEAST_WINDOW_MM = 5.0, 8.0, 3.0, 10.8


@torch.no_grad()
def decode_alone(model: FusionModel, *given: Tensor) -> FusedPoints:
    """Decode each landmark by itself; arguments as for ``FusionModel.decode``."""
    return _image_by_image(lambda *one: _alone(model, *one), *given)


@torch.no_grad()
def decode_jointly(joint: JointFusion, *given: Tensor) -> FusedPoints:
    """Decode all landmarks together; arguments as for ``JointFusion.decode``."""
    return _image_by_image(lambda *one: _jointly(joint, *one), *given)


def _image_by_image(decode: Callable[..., FusedPoints], *given: Tensor) -> FusedPoints:
    parts = [decode(*(values[b : b + 1] for values in given)) for b in range(len(given[0]))]
    known = [zip(*(part[:4] for part in parts), strict=True)]
    rivals = None if parts[0][4] is None else torch.cat([part[4] for part in parts])
    return FusedPoints(*(torch.cat(values) for values in known[0]), rivals)


def _alone(model: FusionModel, logits: Tensor, predicted_ij: Tensor, spacing: Tensor, *_: Tensor):
    log_map = model.log_product(logits, predicted_ij, spacing)
    points_ij = _place(log_map, F.logsigmoid(logits), decode_argmax(log_map), spacing)
    is_valid = torch.isfinite(log_map).all(-1).all(-1) & torch.isfinite(logits).all(-1).all(-1)
    return _judge(model, log_map, points_ij.masked_fill(~is_valid[..., None], torch.nan), spacing)


def _jointly(joint: JointFusion, logits: Tensor, predicted_ij: Tensor, spacing: Tensor, *view):
    is_finite = torch.isfinite(logits).all() & torch.isfinite(predicted_ij).all()
    logits, predicted_ij = logits.nan_to_num(0.0), predicted_ij.nan_to_num(0.0)
    candidates = pooled_candidates(logits, joint.chain.groups, spacing)
    sigma_mm = joint.fusion.prior_sigma_mm
    scores = joint.chain.scores(candidates, predicted_ij, sigma_mm, spacing, *view)
    beliefs = joint.chain.decide(*scores)
    count = candidates.points_ij.shape[2]
    index = beliefs.states.clamp_max(count - 1)[..., None, None].expand(-1, -1, 1, 2)
    chosen_ij = candidates.points_ij.gather(2, index)[:, :, 0]
    is_known = (beliefs.states < count) & is_finite
    log_map = joint.fusion.log_product(logits, predicted_ij, spacing)
    points_ij = _place(log_map, F.logsigmoid(logits), chosen_ij, spacing)
    points_ij = points_ij.masked_fill(~is_known[..., None], torch.nan)
    fused = _judge(joint.fusion, log_map, points_ij, spacing)
    offsets = candidates.points_ij - points_ij[:, :, None]
    apart_mm = (offsets * spacing[:, None, None]).norm(dim=-1)
    confidence = (beliefs.probabilities[..., :count] * (apart_mm <= HIT_MM)).sum(-1).clamp_max(1.0)
    is_rival = (apart_mm > RIVAL_MM) & candidates.is_there
    rival_heat = (candidates.log_heat.exp() * is_rival).amax(-1)
    return fused._replace(
        confidence=confidence.masked_fill(~is_known, torch.nan),
        rival_heat=rival_heat.masked_fill(~is_known, torch.nan),
    )


def pooled_candidates(
    logits: Tensor, groups: tuple[int, ...], spacing: Tensor, count: int = CANDIDATES
) -> Candidates:
    """Find the candidates of one image by pooling over the windows about all its pixels."""
    peaks = {
        kind: _pooled_peaks(logits[0, [g == kind for g in groups]], spacing[0], count)
        for kind in groups
    }
    places = torch.stack([peaks[kind][0] for kind in groups])[None]
    is_there = torch.stack([peaks[kind][1] for kind in groups])[None]
    rows, columns = _radii_px(REACH_MM, spacing[0])
    window = (2 * rows + 1, 2 * columns + 1)
    near = F.max_pool2d(logits, window, 1, (rows, columns))
    own = near.flatten(2).gather(2, places[..., 0] * logits.shape[-1] + places[..., 1])
    return Candidates(places.to(spacing.dtype), F.logsigmoid(own), is_there)


def _pooled_peaks(maps: Tensor, spacing: Tensor, count: int) -> tuple[Tensor, Tensor]:
    union = maps.amax(0)
    rows, columns = _radii_px(APART_MM, spacing)
    window = (2 * rows + 1, 2 * columns + 1)
    _, first = F.max_pool2d(union[None, None], window, 1, (rows, columns), return_indices=True)
    is_peak = first.flatten() == torch.arange(union.numel())
    ranked = union.flatten().masked_fill(~is_peak, -torch.inf).topk(count)
    places = torch.stack([ranked.indices // union.shape[1], ranked.indices % union.shape[1]], -1)
    return places, torch.isfinite(ranked.values)


def _radii_px(radius_mm: float, spacing: Tensor) -> tuple[int, int]:
    rows, columns = (max(1, round(radius_mm / step)) for step in spacing.tolist())
    return rows, columns


def _place(log_map: Tensor, log_heat: Tensor, chosen_ij: Tensor, spacing: Tensor) -> Tensor:
    """Climb from the chosen pixels to the heatmaps' peaks, eight neighbours at a time."""
    height, width = log_map.shape[-2:]
    last = torch.tensor([height - 2, width - 2])
    steps = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    places = torch.minimum(chosen_ij.long().clamp_min(1), last)
    for _ in range(math.ceil(CLIMB_MM / float(spacing.min()))):
        around = _values(log_heat, places[..., None, :] + steps)
        is_higher = around.amax(-1) > around[..., 4]
        highest = steps[around.argmax(-1)] * is_higher[..., None]
        places = torch.minimum((places + highest).clamp_min(1), last)
    around = _values(log_heat, places[..., None, :] + steps)
    is_top = (around.amax(-1) <= around[..., 4]) & (around.amin(-1) < around[..., 4])
    at_peak_ij = refine_log_taylor(log_heat, places.to(chosen_ij.dtype))
    return torch.where(is_top[..., None], at_peak_ij, refine_log_taylor(log_map, chosen_ij))


def _values(maps: Tensor, places: Tensor) -> Tensor:
    return maps.flatten(-2).gather(-1, places[..., 0] * maps.shape[-1] + places[..., 1])


def _judge(model: FusionModel, log_map: Tensor, points_ij: Tensor, spacing: Tensor) -> FusedPoints:
    belief = model.log_belief(log_map).exp()
    belief = belief.masked_fill(torch.isnan(points_ij).any(-1)[..., None, None], torch.nan)
    grid = torch.meshgrid(*(torch.arange(float(n)) for n in log_map.shape[-2:]), indexing="ij")
    offsets = (torch.stack(grid, -1) - points_ij[:, :, None, None]) * spacing[:, None, None, None]
    squares = offsets.square().sum(-1)
    confidence = (belief * (squares <= HIT_MM**2)).sum((-2, -1))
    wide_mm = max(WINDOW_SIGMAS * model.target_sigma_mm, LEAST_WINDOW_MM)
    near = (belief * (squares <= wide_mm**2)).double()
    near = near / near.sum((-2, -1), keepdim=True)
    positions = torch.stack(grid, -1).double() * spacing[0].double()
    mean = torch.einsum("bnhw,hwi->bni", near, positions)
    second = torch.einsum("bnhw,hwi,hwj->bnij", near, positions, positions)
    covariance = second - mean[..., :, None] * mean[..., None, :]
    covariance = covariance + torch.diag(spacing[0].double().square()) / 12
    is_out = torch.isnan(covariance)
    widest = torch.linalg.eigvalsh(covariance.nan_to_num(0.0))[..., -1].clamp_min(0)
    quantile = -2.0 * math.log(0.05)  # of chi squared with two degrees of freedom
    radius = (quantile * widest).sqrt().masked_fill(is_out.any(-1).any(-1), torch.nan)
    radius = radius.float() * model.conformal_quantile.nan_to_num(1.0)
    return FusedPoints(points_ij, confidence, covariance.float(), radius)
