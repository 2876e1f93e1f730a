"""Fit what joins the networks on held-out predictions: the chain, then the radii."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spine_monai.chain import offset_statistics
from spine_monai.data.predictions import fusion_items
from spine_monai.joint import Evidence, JointFusion, fit_chain, gather_evidence

logger = logging.getLogger(__name__)

COVERAGE = 0.95
PIECE = 32  # images scored at once
Items = Sequence[Mapping[str, Any]]


def fit_joint(
    joint: JointFusion,
    heatmap_dir: str | Path,
    coordinates_dir: str | Path,
    *,
    exclude: Sequence[str] = (),
) -> JointFusion:
    """Fit the chain and calibrate the radii; the fusion's own weights must be fitted already.

    Args:
        joint: what is fitted, in place.
        heatmap_dir: predictions of the heatmap network on whole and on cut images.
        coordinates_dir: predictions of the coordinate network.
        exclude: subjects on which nothing is fitted.

    Raises:
        ValueError: there are no predictions.
    """
    joint = joint.cpu().eval()
    items = fusion_items(heatmap_dir, coordinates_dir, exclude=exclude)
    whole = [item for item in items if item["is_whole"]]
    points_mm = torch.stack([item["label"] * item["spacing_mm"] for item in whole])
    mean, covariance = offset_statistics(points_mm)
    joint.chain.chain_mean_mm.copy_(mean)
    joint.chain.chain_cov_mm2.copy_(covariance)
    pieces = [items[i : i + PIECE] for i in range(0, len(items), PIECE)]
    loss = fit_chain(joint, [evidence_of(joint, piece) for piece in pieces])
    joint.fusion.conformal_quantile.fill_(torch.nan)
    scores, subjects = conformity_scores(joint, whole)
    joint.fusion.conformal_quantile.fill_(conformal_quantile(scores, subjects))
    logger.info("fitted on %d images of %d subjects, loss %.3f", len(items), len(whole), loss)
    return joint


def evidence_of(joint: JointFusion, items: Items) -> Evidence:
    """Return what the chain learns from stored predictions."""
    fields = ("image", "predicted_ij", "spacing_mm", "label", "in_view", "view_ij")
    logits, *others = (torch.stack([item[field] for item in items]) for field in fields)
    return gather_evidence(joint.chain.candidates(logits, others[1]), *others)


def decode_item(joint: JointFusion, item: Mapping[str, Any]) -> Any:
    """Return the ``FusedPoints`` of one stored prediction."""
    fields = ("image", "predicted_ij", "spacing_mm", "view_ij")
    return joint.decode(*(item[field][None] for field in fields))


def errors_mm(points_ij: Tensor, item: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return (N,) distances in the slice's plane of one stored prediction's points."""
    distances: Tensor = ((points_ij - item["label"]) * item["spacing_mm"]).norm(dim=-1)
    return distances.double().numpy()


def conformity_scores(
    joint: JointFusion, items: Items
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Return error over radius of every landmark that has both, and its subject."""
    scores, subjects = [], []
    for item in items:
        fused = decode_item(joint, item)
        own = errors_mm(fused.points_ij[0], item) / fused.radius95_mm[0].double().numpy()
        known = own[np.isfinite(own)]
        scores.append(known)
        subjects += [item["subject"]] * len(known)
    return np.concatenate(scores), np.array(subjects)


def conformal_quantile(
    scores: NDArray[np.float64], subjects: NDArray[np.str_], coverage: float = COVERAGE
) -> float:
    """Return the factor on the radius that covers a share of held-out landmarks.

    The landmarks are pooled and every subject weighs the same. Without the correction for small
    samples, which with some twenty subjects would ask for nearly the largest score of all, and so
    for radii that say nothing: the coverage holds on average, not at worst.

    Args:
        scores: (M,) error over radius.
        subjects: (M,) whose score each one is.
        coverage: wanted share, 0 to 1.

    Source: Dunn 2023, doi 10.1080/01621459.2022.2060112 (pooled scores of grouped data).
    """
    names, rows = np.unique(subjects, return_inverse=True)
    weights = 1.0 / np.bincount(rows)[rows]
    order = np.argsort(scores)
    shares = weights[order].cumsum() / len(names)
    index = int(np.searchsorted(shares, coverage - 1e-9))
    return float(scores[order][min(index, len(scores) - 1)])
