"""Wide 3 x 3 convolutions with half the multiplications: Winograd's F(4, 3) along the rows.

Four output rows come from six input rows through six products instead of twelve. Along the columns
the convolution stays one, so that oneDNN does the products, and the transforms add whole rows.
Rounding grows to some 1e-5 of the largest value.

Source: Lavin and Gray 2016, Fast algorithms for convolutional neural networks,
doi 10.1109/CVPR.2016.435, section 4.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.networks.packed import (
    Geometry,
    Layouts,
    PackedConv2d,
    convolve,
    is_packable,
    lay_out,
)

# The six products' kernels, from the three rows of the convolution's kernel.
KERNEL_TRANSFORM = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
TILE = 4  # output rows
WIDE = 128  # channels; for fewer, the additions take as long as the products that they save
LARGE = 1024  # pixels; for smaller maps likewise
PIECE_BYTES = 3 << 20  # of each of the arrays that are worked on at a time: they stay in cache
ALONG_COLUMNS: Geometry = ([0, 1], [1, 1], [1, 1], 1)


class WinogradConv2d(nn.Module):
    """A 3 x 3 convolution and the activation after it, for inference on the processor.

    Args:
        convolution: one that ``is_wide``.
        activation: ReLU, LeakyReLU or nothing.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.direct = PackedConv2d(convolution, activation)
        self.activation = activation
        self.kernels = Layouts(self._lay_out)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, O, H, W) features of (B, C, H, W) ones, channels last."""
        batch, channels, height, width = features.shape
        if height % TILE or height * width < LARGE:
            output: Tensor = self.direct(features)
            return output
        features = features.contiguous(memory_format=torch.channels_last)
        size = (batch, len(self.direct.weight), height, width)
        output = torch.empty(size, memory_format=torch.channels_last)
        rows = _rows_at_a_time(height, width * max(channels, size[1]))
        for image, result in zip(features.split(1), output.split(1), strict=True):
            for start in range(0, height, rows):
                first = min(start, height - rows)  # all pieces have one shape
                seen = _with_neighbours(image, first, first + rows)
                self._convolve(seen, result[:, :, first : first + rows])
        return output

    def _convolve(self, seen: Tensor, result: Tensor) -> None:
        """Fill ``result`` from the rows of it and one row more at either end."""
        products: list[Tensor] = []
        for number, part in enumerate(_transformed(seen)):
            kernel = self.kernels(part.shape)[number]
            bias = self.direct.bias if number == 1 else None  # this one is in every output row
            products.append(convolve(part, kernel, bias, ALONG_COLUMNS))
        _combine(products, result)
        if isinstance(self.activation, nn.LeakyReLU):
            F.leaky_relu_(result, self.activation.negative_slope)
        elif self.activation is not None:
            result.relu_()

    def _lay_out(self, shape: torch.Size) -> list[Tensor]:
        weight = self.direct.weight
        rows = torch.einsum("kr,oirc->koic", weight.new_tensor(KERNEL_TRANSFORM), weight)
        return [lay_out(row[:, :, None], ALONG_COLUMNS, shape) for row in rows]


def fast_convolution(convolution: nn.Conv2d, activation: nn.Module | None = None) -> nn.Module:
    """Return what runs a packable convolution, and the activation after it, fastest."""
    kind = WinogradConv2d if is_wide(convolution) else PackedConv2d
    return kind(convolution, activation)


def is_wide(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution is 3 x 3, dense, wide, and in single precision."""
    plain = nn.Conv2d(1, 1, 3, padding=1)
    return (
        is_packable(convolution)
        and convolution.weight.dtype == torch.float32
        and min(convolution.in_channels, convolution.out_channels) >= WIDE
        and all(
            getattr(convolution, name) == getattr(plain, name)
            for name in ("kernel_size", "stride", "dilation", "groups")
        )
        and convolution.padding in ("same", (1, 1))
    )


def _rows_at_a_time(height: int, values_a_row: int) -> int:
    tiles = height // TILE
    pieces = -(-tiles * values_a_row * 4 // PIECE_BYTES)  # 4 bytes a value
    return TILE * -(-tiles // min(pieces, tiles))


def _with_neighbours(image: Tensor, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` and one more at either end, zeros beyond the image."""
    height = image.shape[2]
    seen = image[:, :, max(start - 1, 0) : stop + 1]
    above, below = int(start == 0), int(stop == height)
    return F.pad(seen, (0, 0, above, below)) if above or below else seen


def _transformed(seen: Tensor) -> Iterator[Tensor]:
    """What the six products take, (1, C, rows / 4, W) each, from ``rows`` and their neighbours."""
    last = seen.shape[2] - TILE - 1
    x0, x1, x2, x3, x4, x5 = (seen[:, :, row : row + last : TILE] for row in range(6))
    even, odd = x4 - x2, x3 - x1
    yield torch.add(even, x0 - x2, alpha=4)
    wide_even, wide_odd = torch.sub(x4, x2, alpha=4), torch.sub(x3, x1, alpha=4)
    yield wide_even + wide_odd
    yield wide_even.sub_(wide_odd)
    yield torch.add(even, odd, alpha=2)
    yield torch.sub(even, odd, alpha=2)
    yield torch.sub(x5 - x3, odd, alpha=4)


def _combine(products: list[Tensor], result: Tensor) -> None:
    """Fill the output rows from the six products, which are used up."""
    m0, m1, m2, m3, m4, m5 = products
    near_sum, near_difference = m1 + m2, m1.sub_(m2)
    far_sum, far_difference = m3 + m4, m3.sub_(m4)
    torch.add(m0.add_(near_sum), far_sum, out=result[:, :, 0::TILE])
    torch.add(near_difference, far_difference, alpha=2, out=result[:, :, 1::TILE])
    torch.add(near_sum, far_sum, alpha=4, out=result[:, :, 2::TILE])
    torch.add(m5.add_(near_difference), far_difference, alpha=8, out=result[:, :, 3::TILE])
