"""FCN-8s: a classifier's body slid over the image, its scores summed from three strides.

Provenance: written from the papers, Long 2015, doi 10.1109/CVPR.2015.7298965 (figure 3), with the
body of Simonyan 2015, arXiv 1409.1556, configuration D (VGG-16). No weights of others. At full
width the convolutions are as large as the published ones (a test counts them).

Ours: group norm after each convolution, so that it trains from nothing; no dropout; zero padding
that keeps the size instead of 100 pixels at the border; every upsampling fixed to bilinear.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
TOP_CHANNELS = 4096
GROUPS = 8


class FCN8s(nn.Module):
    """Draw a heatmap for each landmark from the features at strides 8, 16 and 32.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        width: factor on the channels of every layer, rounded to a multiple of 8; 1.0 is the
            published network.
    """

    def __init__(self, num_landmarks: int, *, in_channels: int = 1, width: float = 0.25) -> None:
        super().__init__()
        channels = [in_channels, *(_scale(channels, width) for channels, _ in STAGES)]
        sizes = zip(pairwise(channels), STAGES, strict=True)
        stages = [_stage(before, after, depth) for (before, after), (_, depth) in sizes]
        top = _scale(TOP_CHANNELS, width)
        self.to_stride_8 = nn.Sequential(*stages[:3])
        self.to_stride_16 = stages[3]
        self.to_stride_32 = nn.Sequential(
            stages[4], _convolution(channels[-1], top, 7), _convolution(top, top, 1)
        )
        self.scores_32 = nn.Conv2d(top, num_landmarks, 1, bias=False)
        self.scores_16 = nn.Conv2d(channels[4], num_landmarks, 1, bias=False)
        self.scores_8 = nn.Conv2d(channels[3], num_landmarks, 1)  # its bias is that of the sum

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the heatmaps.

        Args:
            image: (B, C, H, W), H and W divisible by 32.

        Returns:
            (B, N, H, W) logits.
        """
        at_8 = self.to_stride_8(image)
        at_16 = self.to_stride_16(at_8)
        at_32 = self.to_stride_32(at_16)
        scores = torch.add(self.scores_16(at_16), _resize(self.scores_32(at_32), at_16))
        scores = torch.add(self.scores_8(at_8), _resize(scores, at_8))
        return _resize(scores.float(), image)


def _stage(in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    channels = [in_channels, *[out_channels] * depth]
    convolutions = [_convolution(before, after, 3) for before, after in pairwise(channels)]
    return nn.Sequential(*convolutions, nn.MaxPool2d(2))


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.ReLU(inplace=True),
    )


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear")


def _scale(channels: int, width: float) -> int:
    return max(GROUPS, GROUPS * round(channels * width / GROUPS))
