"""Xception with a fully connected layer: an image in, a place for each landmark out.

Provenance: written from the paper, Chollet 2017, doi 10.1109/CVPR.2017.195, figure 5. No weights of
others. With three input channels and 1000 outputs it has the 22 855 952 trainable parameters
published for it (a test counts them).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENTRY_CHANNELS = (128, 256, 728)
MIDDLE_BLOCKS = 8


class Xception(nn.Module):
    """Regress landmark positions as edge fractions of the image.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        width: factor on the channels of every layer; 1.0 is the published network.
        input_size: side of the square to which the network resizes its input, in pixels.
        dropout: probability before the fully connected layer.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        input_size: int = 299,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.features = XceptionFeatures(in_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.features.out_channels, 2 * num_landmarks)

    def forward(self, image: Tensor) -> Tensor:
        """Return where each landmark lies.

        Args:
            image: (B, C, H, W), of any size.

        Returns:
            (B, N, 2) fractions of the image along rows and columns, edge to edge.
        """
        size = (self.input_size, self.input_size)
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        pooled = self.features(resized).mean((-2, -1))
        return self.head(self.dropout(pooled)).unflatten(-1, (-1, 2))


class XceptionFeatures(nn.Sequential):
    """The convolutional body: entry, middle and exit flow."""

    def __init__(self, in_channels: int, width: float) -> None:
        stem, *entry, last = (_scale(c, width) for c in (64, *ENTRY_CHANNELS, 2048))
        exit_channels = [_scale(c, width) for c in (728, 1024)]
        penultimate = _scale(1536, width)
        super().__init__(
            _convolution(in_channels, _scale(32, width), stride=2),
            nn.ReLU(inplace=True),
            _convolution(_scale(32, width), stem),
            nn.ReLU(inplace=True),
            *_entry_blocks([stem, *entry]),
            *(_MiddleBlock(entry[-1]) for _ in range(MIDDLE_BLOCKS)),
            _DownBlock(entry[-1], exit_channels),
            _separable(exit_channels[-1], penultimate),
            nn.ReLU(inplace=True),
            _separable(penultimate, last),
            nn.ReLU(inplace=True),
        )
        self.out_channels = last


class _DownBlock(nn.Module):
    """Two separable convolutions and a pooling, beside a strided 1 x 1 shortcut."""

    def __init__(self, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        first, second = channels
        self.body = nn.Sequential(
            nn.ReLU(),
            _separable(in_channels, first),
            nn.ReLU(inplace=True),
            _separable(first, second),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, second, 1, stride=2, bias=False), nn.BatchNorm2d(second)
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.add(self.body(features), self.shortcut(features))


class _MiddleBlock(nn.Sequential):
    def __init__(self, channels: int) -> None:
        steps: list[nn.Module] = []
        for _ in range(3):
            steps += [nn.ReLU(), _separable(channels, channels)]
        super().__init__(*steps)

    def forward(self, features: Tensor) -> Tensor:
        return torch.add(features, super().forward(features))


def _entry_blocks(channels: Sequence[int]) -> list[nn.Module]:
    return [_DownBlock(before, (after, after)) for before, after in pairwise(channels)]


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _scale(channels: int, width: float) -> int:
    return max(8, round(channels * width))
