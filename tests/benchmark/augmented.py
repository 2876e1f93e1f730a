"""Test-time augmentation: a network on turned and scaled windows, averaged."""

import itertools
import math
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F

TURNS_DEG = (-6.0, 0.0, 6.0)
SCALES = (0.93, 1.0, 1.07)
EMPTY = -20.0  # logit of what a turned window does not show


class AveragedInferer(Inferer):
    """The mean of a network's logits over turned and scaled images, each turned back."""

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return (B, N, H, W) mean logits for (B, 1, H, W) images."""
        image = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        shape = (image.shape[-2], image.shape[-1])
        parts = []
        for degrees, scale in itertools.product(TURNS_DEG, SCALES):
            matrix = turned(math.radians(degrees), scale, shape)
            logits = network(resampled(image, matrix), *args, **kwargs)
            parts.append(resampled(logits - EMPTY, torch.linalg.inv(matrix)) + EMPTY)
        return torch.stack(parts).mean(0)


def turned(angle: float, scale: float, shape: tuple[int, int]) -> Tensor:
    """Return the (3, 3) matrix of a turn and a scaling in what ``affine_grid`` counts in."""
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    aspect = shape[0] / shape[1]
    return torch.tensor([[cos, -sin * aspect, 0.0], [sin / aspect, cos, 0.0], [0.0, 0.0, 1.0]])


def resampled(images: Tensor, matrix: Tensor) -> Tensor:
    """Return (B, C, H, W) images that a matrix turned and scaled."""
    theta = matrix[:2].to(images).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
