"""Heatmap targets that sharpen as the training settles.

Source: Teixeira, Tamersoy, Singh, Kapoor 2019, arXiv 1908.01070 (AdaLoss).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptiveHeatmapLoss(nn.Module):
    """Binary cross-entropy with a width of the targets for each landmark, which it adapts.

    After every ``interval`` calls with gradients, a landmark's width changes by
    ``rate_px * (1 - V' / V)``, with V how far its mean loss lies from that of the last three
    intervals, squared, and V' the same an interval ago: where a landmark's loss comes to rest its
    target sharpens. That one change is at most ``rate_px`` is ours: on few images V is restless.

    Args:
        num_landmarks: N.
        drawn_px: width of the targets as they are drawn, their standard deviation, and the
            greatest; their peaks are 1.
        interval: calls between two changes: the steps of an epoch.
        least_px: the least width.
        rate_px: greatest change.
    """

    WINDOW = 3  # intervals

    def __init__(
        self,
        num_landmarks: int,
        *,
        drawn_px: float,
        interval: int,
        least_px: float = 1.0,
        rate_px: float = 0.1,
    ) -> None:
        super().__init__()
        self.drawn_px, self.least_px, self.rate_px = drawn_px, least_px, rate_px
        self.interval = interval
        self.register_buffer("sigma_px", torch.full((num_landmarks,), drawn_px))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("sums", torch.zeros(2, num_landmarks, dtype=torch.double))
        self.register_buffer(
            "means", torch.full((self.WINDOW, num_landmarks), torch.nan, dtype=torch.double)
        )
        self.register_buffer("spread", torch.full((num_landmarks,), torch.nan, dtype=torch.double))

    sigma_px: Tensor
    calls: Tensor
    sums: Tensor
    means: Tensor
    spread: Tensor

    def forward(self, logits: Tensor, heatmaps: Tensor) -> Tensor:
        """Return the mean over the pixels of the annotated landmarks; a call counts in training.

        Args:
            logits: (B, N, H, W) network output before the sigmoid.
            heatmaps: (B, N, H, W) targets of ``drawn_px``; a map of NaN where the landmark is not
                annotated.
        """
        is_known = ~torch.isnan(heatmaps[..., 0, 0])
        power = (self.drawn_px / self.sigma_px.to(heatmaps)).square()
        targets = heatmaps.pow(power[:, None, None]).nan_to_num(0.0)
        maps = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((-2, -1))
        losses = maps * is_known
        if torch.is_grad_enabled():
            self._count(losses.detach(), is_known)
        return losses.sum() / is_known.sum().clamp_min(1)

    @torch.no_grad()
    def _count(self, losses: Tensor, is_known: Tensor) -> None:
        self.sums += torch.stack([losses.sum(0), is_known.sum(0)]).to(self.sums)
        self.calls += 1
        if int(self.calls) % self.interval == 0:
            self._adapt(self.sums[0] / self.sums[1])  # NaN of a landmark that was not seen
            self.sums.zero_()

    def _adapt(self, mean: Tensor) -> None:
        self.means.copy_(torch.cat([self.means[1:], mean[None]]))
        spread = (mean - self.means.mean(0)).square()
        change = self.rate_px * (1 - self.spread / spread).clamp(-1, 1)
        changed = self.sigma_px + change.nan_to_num(0.0).to(self.sigma_px)
        self.sigma_px.copy_(changed.clamp(self.least_px, self.drawn_px))
        self.spread.copy_(spread)
