"""SpatialConfiguration-Net: where it looks like a landmark, times where the others put it.

Provenance: written from the papers, Payer 2016, doi 10.1007/978-3-319-46723-8_27, and Payer 2019,
doi 10.1016/j.media.2019.03.007 (section 3). No weights of others.

Ours: the paper multiplies a linear local heatmap with a spatial one in -1 to 1 and trains the
product by squared differences. Here cross-entropy trains it, so both heatmaps are probabilities,
each given by its logit, and the network returns the exact logit of their product
(``product_logits``). Further: group norm after each hidden convolution, and no dropout.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 4
SPATIAL_STRIDE = 16
SPATIAL_KERNEL = 11
SPATIAL_DEPTH = 3
NEGATIVE_SLOPE = 0.1
GROUPS = 8


class SpatialConfigurationNet(nn.Module):
    """Draw a heatmap for each landmark as the product of a local and a spatial one.

    The last biased layer is the one that draws the local heatmaps. With it far below zero these
    start empty, and so does the product, while the spatial ones start undecided about one half;
    both then have gradients (a saturated spatial heatmap would have none).

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        channels: of each hidden layer of the local component; 128 in the paper.
        spatial_channels: of each hidden layer of the spatial component; 128 in the paper.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        in_channels: int = 1,
        channels: int = 32,
        spatial_channels: int = 64,
    ) -> None:
        super().__init__()
        self.spatial = SpatialConfiguration(num_landmarks, spatial_channels)
        self.local = LocalAppearance(num_landmarks, in_channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the products.

        Args:
            image: (B, C, H, W), H and W divisible by 32.

        Returns:
            (B, N, H, W) logits.
        """
        local = self.local(image).float()
        return product_logits(local, self.spatial(local.sigmoid()))


class LocalAppearance(nn.Module):
    """The component that sees a neighbourhood: four levels, summed on the way up."""

    def __init__(self, num_landmarks: int, in_channels: int, channels: int) -> None:
        super().__init__()
        inputs = [in_channels, *[channels] * (LEVELS - 1)]
        self.pairs = nn.ModuleList(
            nn.Sequential(_convolution(before, channels, 3), _convolution(channels, channels, 3))
            for before in inputs
        )
        self.thirds = nn.ModuleList(_convolution(channels, channels, 3) for _ in inputs)
        self.output = nn.Conv2d(channels, num_landmarks, 3, padding="same")

    def forward(self, image: Tensor) -> Tensor:
        """Return the (B, N, H, W) logits of the local heatmaps of a (B, C, H, W) image."""
        features = image
        levels: list[Tensor] = []
        for pair, third in zip(self.pairs, self.thirds, strict=True):
            features = pair(F.avg_pool2d(features, 2) if levels else features)
            levels.append(third(features))
        merged = levels.pop()
        for level in reversed(levels):
            merged = level + F.interpolate(merged, size=level.shape[-2:], mode="bilinear")
        return self.output(merged)


class SpatialConfiguration(nn.Sequential):
    """The component that sees no image, only where the local heatmaps of all landmarks are."""

    def __init__(self, num_landmarks: int, channels: int) -> None:
        inputs = [num_landmarks, *[channels] * (SPATIAL_DEPTH - 1)]
        super().__init__(
            nn.AvgPool2d(SPATIAL_STRIDE),
            *(_convolution(before, channels, SPATIAL_KERNEL) for before in inputs),
            nn.Conv2d(channels, num_landmarks, SPATIAL_KERNEL, padding="same"),
        )

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Return the (B, N, H, W) logits of the spatial heatmaps of (B, N, H, W) local ones."""
        coarse = super().forward(heatmaps).float()
        return F.interpolate(coarse, size=heatmaps.shape[-2:], mode="bicubic")


def product_logits(first: Tensor, second: Tensor) -> Tensor:
    """Return the logit of the product of two probabilities that are given by their logits.

    1 / p - 1 is exp(-logit), so for the product it is (1 + exp(-a)) (1 + exp(-b)) - 1 =
    exp(-a) + exp(-b) + exp(-a - b), summed here in logarithms: no logit is too large or too small.
    """
    return -torch.logaddexp(torch.logaddexp(-first, -second), -first - second)


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
    )
