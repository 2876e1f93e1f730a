"""Xception with a map of attention a landmark: coordinates as the mean place under the map.

A fully connected layer on pooled features has to learn from examples what "further down" means; a
mean over places knows it. The fully connected layer stays and adds what the coarse map misses.

Provenance: body from ``xception``; the head after Sun 2018 (integral regression,
doi 10.1007/978-3-030-01231-1_33) and Nibali 2018 (DSNT, arXiv 1801.07372), without their losses on
the map. No weights of others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.networks.xception import XceptionFeatures


class IntegralXception(nn.Module):
    """Regress landmark positions as edge fractions of the image.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        width: factor on the channels of every layer of Xception.
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
        self.attention = nn.Conv2d(self.features.out_channels, num_landmarks, 1)
        self.dropout = nn.Dropout(dropout)
        self.correction = nn.Linear(self.features.out_channels, 2 * num_landmarks)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return where each landmark lies.

        Args:
            image: (B, C, H, W), of any size.

        Returns:
            (B, N, 2) fractions of the image along rows and columns, edge to edge.
        """
        size = (self.input_size, self.input_size)
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        features = self.features(resized)
        pooled = self.dropout(features.mean((-2, -1)))
        correction = self.correction(pooled).unflatten(-1, (-1, 2))
        return mean_fractions(self.attention(features)) + correction.float()


def mean_fractions(logits: Tensor) -> Tensor:
    """Return the mean place under the softmax of each map.

    Args:
        logits: (..., H, W).

    Returns:
        (..., 2) edge fractions along rows and columns, float32.
    """
    attention = logits.float().flatten(-2).softmax(-1).view(logits.shape)
    rows, columns = (
        (torch.arange(size, device=logits.device) + 0.5) / size for size in logits.shape[-2:]
    )
    down = (attention.sum(-1) * rows).sum(-1)
    along = (attention.sum(-2) * columns).sum(-1)
    return torch.stack([down, along], dim=-1)
