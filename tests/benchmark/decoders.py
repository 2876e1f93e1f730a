"""How points are read from stored predictions: one row of the accuracy benchmark each."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spine_monai.heatmaps import decode_argmax, decode_heatmaps, profiles, sigma_px_from_mm
from spine_monai.joint import JointFusion
from spine_monai.numerical import decode_expectation
from spine_monai.workflows.fitting import decode_item

SIGMAS_MM = (2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)

Item = Mapping[str, Any]
Decoder = Callable[[Item, JointFusion], Tensor]


def coordinates(item: Item, _joint: JointFusion) -> Tensor:
    """The coordinate network alone."""
    points: Tensor = item["predicted_ij"]
    return points


def heatmap(item: Item, _joint: JointFusion) -> Tensor:
    """Each heatmap's peak by itself, below the pixel."""
    return decode_heatmaps(item["image"].double().sigmoid())


def whole_pixels(item: Item, _joint: JointFusion) -> Tensor:
    """Each heatmap's argmax."""
    return decode_argmax(item["image"])


def expectation(item: Item, _joint: JointFusion) -> Tensor:
    """The mean place of each map's softmax."""
    return decode_expectation(item["image"].double())


def learned_product(item: Item, joint: JointFusion) -> Tensor:
    """The paper's product with a fitted sigma a landmark."""
    return joint.fusion.decode(*_inputs(item)).points_ij[0]


def chain(item: Item, joint: JointFusion) -> Tensor:
    """All landmarks together."""
    points: Tensor = decode_item(joint, item).points_ij[0]
    return points


def chain_without_coordinates(item: Item, joint: JointFusion) -> Tensor:
    """The chain over the heatmaps' candidates alone."""
    weights = (joint.chain.prior_weight, joint.chain.cut_prior_weight)
    fitted = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        points: Tensor = decode_item(joint, item).points_ij[0]
        for weight, value in zip(weights, fitted, strict=True):
            weight.copy_(value)
    return points


def product_with(sigma_mm: float) -> Decoder:
    """The paper's product with one given sigma."""

    def decode(item: Item, joint: JointFusion) -> Tensor:
        learned = joint.fusion.prior_sigma_mm.detach().clone()
        with torch.no_grad():
            joint.fusion.prior_sigma_mm.fill_(sigma_mm)
            points = joint.fusion.decode(*_inputs(item)).points_ij[0]
            joint.fusion.prior_sigma_mm.copy_(learned)
        return points

    return decode


def product_of_the_image(item: Item, joint: JointFusion) -> Tensor:
    """The paper's product with the sigma under which the image's heatmaps are likeliest."""
    return product_with(likeliest_sigma_mm(item))(item, joint)


def likeliest_sigma_mm(item: Item) -> float:
    """Return how far the coordinates of an image seem to be off, of those that are tried.

    The evidence of a sigma is the mass that the landmarks' heatmaps, each scaled to sum to one,
    have in common with the Gaussians about the coordinates (maximum of the marginal likelihood).
    """
    heatmaps = item["image"].double().sigmoid()
    shares = heatmaps / heatmaps.sum((-2, -1), keepdim=True)

    def evidence(sigma_mm: float) -> float:
        sigma_px = sigma_px_from_mm(sigma_mm, item["spacing_mm"].double())
        rows, columns = profiles(item["predicted_ij"].double(), shares.shape[-2:], sigma_px)
        common = torch.einsum("nhw,nh,nw->n", shares, rows, columns) / sigma_mm**2
        return float(common.clamp_min(torch.finfo(common.dtype).tiny).log().sum())

    return max(SIGMAS_MM, key=evidence)


def _inputs(item: Item) -> tuple[Tensor, Tensor, Tensor]:
    """What the fusion takes, as a batch of one."""
    return item["image"][None], item["predicted_ij"][None], item["spacing_mm"][None]
