"""Heatmaps joined by a graphical model: where each landmark says that every other one must be.

Source: Tompson, Jain, LeCun, Bregler 2014, arXiv 1406.2984, equation 1. Their kernels are learned;
ours are the Gaussians of the offsets seen on other subjects, and the weight of what no other
landmark expects is the one under which those subjects' true points are likeliest.
"""

from collections.abc import Sequence

import torch
from decoders import Item
from torch import Tensor

from spine_monai.heatmaps import decode_heatmaps

BACKGROUNDS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of a landmark's whole mass, spread over the window
TARGET_AREA_PX = 2 * torch.pi * 3.0**2  # what a full peak of the heatmaps sums to
LEAST_VARIANCE_MM2 = 4.0


class SpatialModel:
    """The offsets between all pairs of landmarks.

    Args:
        items: whole images of other subjects; see ``spine_monai.data.predictions.fusion_items``.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        points_mm = torch.stack([item["label"] * item["spacing_mm"] for item in items]).double()
        offsets_mm = points_mm[:, :, None] - points_mm[:, None]  # where v says that a lies: [a, v]
        self.mean_mm = offsets_mm.nanmean(0)
        self.covariance_mm2 = _covariances(offsets_mm - self.mean_mm)
        fit = sum(_log_likelihoods(self._messages(item), item["label"]) for item in items)
        self.background = BACKGROUNDS[int(torch.as_tensor(fit).argmax())]

    def decode(self, item: Item) -> Tensor:
        """Return (N, 2) points_ij, each of its own product."""
        logs = _log_product(self._messages(item), self.background)
        return decode_heatmaps((logs - logs.amax((-2, -1), keepdim=True)).exp())

    def _messages(self, item: Item) -> Tensor:
        """Return (N, N, H, W): what landmark v, by column, makes of the place of a, by row."""
        unary = item["image"].double().sigmoid() / TARGET_AREA_PX
        height, width = unary.shape[-2:]
        size = (2 * height, 2 * width)
        spectra = torch.fft.rfft2(unary, s=size)
        rows = []
        for a in range(len(unary)):
            kernels = self._kernels(a, size, item["spacing_mm"].double())
            spread = torch.fft.irfft2(spectra * torch.fft.rfft2(kernels), s=size)
            rows.append(spread[:, :height, :width].clamp_min(0))
        messages = torch.stack(rows)
        messages.diagonal(dim1=0, dim2=1).copy_(unary.movedim(0, -1))  # its own map as it is
        return messages

    def _kernels(self, a: int, size: tuple[int, int], spacing_mm: Tensor) -> Tensor:
        """Return (N, 2 H, 2 W) Gaussians of the offsets to a, at the corner as transforms want."""
        steps = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in size]
        places_mm = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1) * spacing_mm
        away_mm = places_mm - self.mean_mm[a][:, None, None]
        covariance = self.covariance_mm2[a].clone()
        covariance[a] = torch.eye(2)
        squares = torch.einsum("vhwi,vij,vhwj->vhw", away_mm, torch.linalg.inv(covariance), away_mm)
        kernels = (-squares / 2).exp()
        return kernels / kernels.sum((-2, -1), keepdim=True)


def _covariances(deviations_mm: Tensor) -> Tensor:
    """Return (N, N, 2, 2) from (n, N, N, 2), over those that are known."""
    known = ~torch.isnan(deviations_mm[..., :1])
    filled = deviations_mm.nan_to_num(0.0)
    products = torch.einsum("navi,navj->avij", filled, filled)
    count = known.sum(0)[..., None].clamp_min(2)
    return products / (count - 1) + LEAST_VARIANCE_MM2 * torch.eye(2)


def _log_product(messages: Tensor, background: float) -> Tensor:
    """Return (N, H, W) logarithms of the product over all v."""
    pixels = messages.shape[-2] * messages.shape[-1]
    return (messages + background / pixels).log().sum(1)


def _log_likelihoods(messages: Tensor, label: Tensor) -> Tensor:
    """Return (B,) what the true pixels get, summed over the landmarks in view, by background."""
    height, width = messages.shape[-2:]
    pixel = label.round()
    seen = ((pixel >= 0) & (pixel < pixel.new_tensor([height, width]))).all(-1)  # NaN is not
    places = (pixel[seen, 0] * width + pixel[seen, 1]).long()[:, None]
    logs = [_log_product(messages, one).flatten(1).log_softmax(-1) for one in BACKGROUNDS]
    return torch.stack([own[seen].gather(-1, places).sum() for own in logs])
