"""Random changes of an image's intensities, for ``RandIntensityd``.

The distributions are those of MONAI's ``RandBiasField``, ``RandAdjustContrast``,
``RandHistogramShift``, ``RandSimulateLowResolution`` (bilinear) and ``RandGaussianNoise``, and but
for the noise the same draws give the same pictures; tests hold them together. These work on plain
tensors in a fraction of the time, and augmentation is what a training waits for. ``inverted`` and
``remapped``, which show the patient as another sequence might, have no counterpart there.

Every function takes an image (C, H, W), which it leaves as it is, and the source of its draws.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-7  # keeps the range of a flat image from being zero


def bias_field(
    image: Tensor, random: RandomState, *, coeff_range: Sequence[float], degree: int = 3
) -> Tensor:
    """Multiply an image by the exponential of a random smooth field.

    Args:
        image: (C, H, W).
        random: source of the draws.
        coeff_range: smallest and largest coefficient of the Legendre polynomials.
        degree: of the polynomials, along rows and columns together.

    Returns:
        (C, H, W).

    Source: Van Leemput 1999, doi 10.1109/42.811270.
    """
    coefficients = torch.zeros(degree + 1, degree + 1)
    places = torch.tril_indices(degree + 1, degree + 1)
    drawn = random.uniform(coeff_range[0], coeff_range[1], places.shape[1])
    coefficients[places[0], places[1]] = torch.from_numpy(drawn).float()
    down, along = (_legendre(size, degree) for size in image.shape[-2:])
    field: Tensor = down @ coefficients @ along.T
    return image * field.exp_()


def contrast(image: Tensor, random: RandomState, *, gamma: Sequence[float]) -> Tensor:
    """Raise an image, scaled to 0 ... 1 and back, to a random power.

    Args:
        image: (C, H, W).
        random: source of the draws.
        gamma: smallest and largest power.

    Returns:
        (C, H, W).
    """
    power = random.uniform(min(gamma), max(gamma))
    low, high = (float(value) for value in image.aminmax())
    scaled = (image - low).div_(high - low + TINY)
    return scaled.pow_(power).mul_(high - low).add_(low)


def histogram_shift(image: Tensor, random: RandomState, *, num_control_points: int = 10) -> Tensor:
    """Send intensities along a random rising polygon from the image's darkest to its brightest.

    Args:
        image: (C, H, W); a flat one is given back as it is.
        random: source of the draws.
        num_control_points: corners of the polygon, both ends among them; at least 3.

    Returns:
        (C, H, W).
    """
    random.randint(num_control_points, num_control_points + 1)  # MONAI draws the number
    corners = np.linspace(0, 1, num_control_points)
    for i in range(1, num_control_points - 1):
        corners[i] = random.uniform(corners[i - 1], corners[i + 1])
    return _along_polygon(image, corners)


def inverted(image: Tensor, random: RandomState) -> Tensor:  # noqa: ARG001 - as all of these
    """Make the darkest tissue the brightest.

    Args:
        image: (C, H, W).
        random: not drawn from.

    Returns:
        (C, H, W), of the image's range.
    """
    low, high = image.aminmax()
    return (low + high).sub(image)


def remapped(image: Tensor, random: RandomState, *, num_control_points: Sequence[int]) -> Tensor:
    """Send intensities along a random polygon that rises and falls, so that tissues change places.

    Args:
        image: (C, H, W); a flat one is given back as it is.
        random: source of the draws.
        num_control_points: fewest and most corners of the polygon, both ends among them; from 2.

    Returns:
        (C, H, W), of the image's range.

    Source: after the nonlinear transformation of Zhou 2019, arXiv 1908.06912, whose curves rise or
    fall throughout.
    """
    count = random.randint(num_control_points[0], num_control_points[1] + 1)
    corners = random.uniform(size=count)
    return _along_polygon(image, (corners - corners.min()) / (np.ptp(corners) + TINY))


def gaussian_noise(image: Tensor, random: RandomState, *, std: float) -> Tensor:
    """Add noise of a random strength.

    Args:
        image: (C, H, W).
        random: source of the draws.
        std: largest standard deviation; the image's is drawn evenly from 0 to it.

    Returns:
        (C, H, W).
    """
    strength = random.uniform(0, std)
    source = torch.Generator().manual_seed(int(random.randint(2**31)))
    return torch.randn(image.shape, generator=source).mul_(strength).add_(image)


def low_resolution(image: Tensor, random: RandomState, *, zoom_range: Sequence[float]) -> Tensor:
    """Shrink an image and bring it back to its size, bilinear both times.

    MONAI's default, to shrink to the nearest pixel, would shift the picture by up to half a pixel
    of the small one.

    Args:
        image: (C, H, W).
        random: source of the draws.
        zoom_range: smallest and largest factor on the size.

    Returns:
        (C, H, W).
    """
    zoom = random.uniform(zoom_range[0], zoom_range[1])
    size = list(image.shape[-2:])
    small = [max(1, round(zoom * edge)) for edge in size]
    shrunk = F.interpolate(image[None], size=small, mode="bilinear")
    return F.interpolate(shrunk, size=size, mode="bilinear")[0]


def _along_polygon(image: Tensor, corners: NDArray[np.float64]) -> Tensor:
    """Send intensities along a polygon of even steps; heights 0 and 1 are the image's range."""
    low, high = (float(value) for value in image.aminmax())
    if low == high:
        return image
    last = len(corners) - 1
    place = (image - low).mul_(last / (high - low))
    piece = place.long().clamp_(max=last - 1)
    heights = torch.from_numpy(corners).to(image.dtype).mul_(high - low).add_(low)
    rises = heights.diff()
    return heights.take(piece).addcmul_(rises.take(piece), place.sub_(piece))


@lru_cache(maxsize=64)
def _legendre(size: int, degree: int) -> Tensor:
    """(size, degree + 1) Legendre polynomials over the image, from -1 to 1."""
    values = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, size), degree)
    return torch.from_numpy(values).float()
