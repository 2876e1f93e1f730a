"""Stacked hourglass: down to see everything, up to draw the heatmaps, and again from these.

Provenance: written from the paper, Newell 2016, doi 10.1007/978-3-319-46484-8_29 (figures 3, 4).
No weights of others. Eight stacks of 256 channels and depth 4 have the published size (a test
counts it).

Ours: group norm for batch norm; heatmaps are logits, and the next stack reads their sigmoids; all
stacks share the bias of the last one's output layer, so that a start with empty heatmaps is one for
every stack; the heatmaps at stride 4 are upsampled to the input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8


class StackedHourglass(nn.Module):
    """Draw a heatmap for each landmark, each stack improving what the one before drew.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        stacks: how many hourglasses; 8 in the paper.
        channels: of an hourglass, a multiple of 32; 256 in the paper.
        depth: how often an hourglass halves its input.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        in_channels: int = 1,
        stacks: int = 2,
        channels: int = 128,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.stem = _stem(in_channels, channels)
        self.bodies = nn.ModuleList(_body(channels, depth) for _ in range(stacks))
        self.remaps = nn.ModuleList(
            nn.Conv2d(channels + num_landmarks, channels, 1, bias=False) for _ in range(stacks - 1)
        )
        last = nn.Conv2d(channels, num_landmarks, 1)
        others = [nn.Conv2d(channels, num_landmarks, 1) for _ in range(stacks - 1)]
        for head in others:
            head.bias = last.bias
        self.heads = nn.ModuleList([*others, last])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return the logits of the heatmaps.

        Args:
            image: (B, C, H, W), H and W divisible by 32.

        Returns:
            (B, N, H, W) logits of the last stack; in training a list of them, one for each stack.
        """
        features = self.stem(image)
        logits: list[Tensor] = []
        for index, (body, head) in enumerate(zip(self.bodies, self.heads, strict=True)):
            read = body(features)
            logits.append(head(read))
            if index < len(self.remaps):
                seen = torch.cat([read, logits[-1].sigmoid()], dim=1)
                features = features + self.remaps[index](seen)
        if self.training:
            return [_upsample(maps, image) for maps in logits]
        return _upsample(logits[-1], image)


class Hourglass(nn.Module):
    """Residuals at this resolution, beside an hourglass of one depth less at half of it."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.beside = Residual(channels, channels)
        self.below = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True),  # a side of one pixel stays one
            Residual(channels, channels),
            Hourglass(channels, depth - 1) if depth > 1 else Residual(channels, channels),
            Residual(channels, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, (B, C, H, W)."""
        below = F.interpolate(self.below(features), size=features.shape[-2:], mode="nearest")
        return torch.add(self.beside(features), below)


class Residual(nn.Module):
    """A bottleneck with norm and activation before each convolution, beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.body = nn.Sequential(
            *_activated_convolution(in_channels, half, 1),
            *_activated_convolution(half, half, 3),
            *_activated_convolution(half, out_channels, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) features."""
        return torch.add(self.body(features), self.shortcut(features))


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    quarter, half = channels // 4, channels // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, quarter, 7, stride=2, padding=3, bias=False),
        nn.GroupNorm(GROUPS, quarter),
        nn.ReLU(inplace=True),
        Residual(quarter, half),
        nn.MaxPool2d(2),
        Residual(half, half),
        Residual(half, channels),
    )


def _body(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(
        Hourglass(channels, depth),
        Residual(channels, channels),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.GroupNorm(GROUPS, channels),
        nn.ReLU(inplace=True),
    )


def _activated_convolution(
    in_channels: int, out_channels: int, kernel_size: int
) -> tuple[nn.Module, ...]:
    return (
        nn.GroupNorm(GROUPS, in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=False),
    )


def _upsample(maps: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(maps.float(), size=image.shape[-2:], mode="bilinear")
