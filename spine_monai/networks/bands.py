"""Run blocks that see only neighbouring rows on one band of rows after the other.

Large arrays are given back to the system when they are freed, and paging new ones in takes longer
than writing them. In bands nothing between a block's input and output is so large.
"""

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet, UpCat
from torch import Tensor, nn

from spine_monai.networks.sequences import is_plain, sequences

BAND_BYTES = 24 << 20  # of the largest array in a band
KEPT_BYTES = 31 << 20  # glibc keeps what is smaller than the largest array yet freed, up to 32 MiB
ALIGNMENT = 4  # rows, at least two: bands of an input of half the height start at whole rows


class Bands(nn.Module):
    """Give what a block gives, computed band by band.

    Args:
        block: it keeps the height of its tallest input.
        halo: how many rows above and below an output row that row depends on, or more; even.
        channels: the most that the block works on at a time.
    """

    def __init__(self, block: nn.Module, *, halo: int, channels: int) -> None:
        super().__init__()
        self.block = block
        self.halo = halo
        self.channels = channels

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the block's (B, O, H, W) output of inputs of H or H / 2 rows."""
        tallest = max(inputs, key=lambda features: features.shape[2])
        height, width = tallest.shape[2:]
        rows = self._rows_of_a_band(height, tallest.element_size() * self.channels * width)
        is_even = all(height in (features.shape[2], 2 * features.shape[2]) for features in inputs)
        if rows >= height or height % ALIGNMENT or not is_even:
            output: Tensor = self.block(*inputs)
            return output
        images = zip(*(features.split(1) for features in inputs), strict=True)
        outputs = [self._banded(image, height, rows) for image in images]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _rows_of_a_band(self, height: int, row_bytes: int) -> int:
        """As few bands as the memory allows, of as few rows as these bands need."""
        border = 2 * self.halo
        most = BAND_BYTES // row_bytes // ALIGNMENT * ALIGNMENT - border
        if most <= border or height <= most + border:  # more border than band, or one band
            return height
        bands = -(-(height - border) // most)
        rows = -(-(height - border) // bands) + border
        return -(-rows // ALIGNMENT) * ALIGNMENT

    def _banded(self, inputs: Sequence[Tensor], height: int, rows: int) -> Tensor:
        """Run one image; all bands have one shape, so the last ones may overlap."""
        output = inputs[0]  # until the first band tells the size
        for start in range(0, height - 2 * self.halo, rows - 2 * self.halo):
            first = min(start, height - rows)
            band = self.block(*(_rows(features, first, rows, height) for features in inputs))
            if start == 0:
                size = (1, band.shape[1], height, band.shape[3])
                output = torch.empty(size, dtype=band.dtype, memory_format=torch.channels_last)
            top = 0 if first == 0 else self.halo
            bottom = rows if first + rows == height else rows - self.halo
            output[:, :, first + top : first + bottom] = band[:, :, top:bottom]
        return output


class Join(nn.Module):
    """MONAI's UpCat, without the copy that it makes to pad features that need no padding.

    Args:
        block: the UpCat.
    """

    def __init__(self, block: UpCat) -> None:
        super().__init__()
        self.block = block

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        """Return (B, O, H, W) features of (B, C, H / 2, W / 2) ones and of the encoder's."""
        doubled = self.block.upsample(features)
        if doubled.shape[2:] != skipped.shape[2:]:
            padded: Tensor = self.block(features, skipped)
            return padded
        joined: Tensor = self.block.convs(torch.cat([skipped, doubled], dim=1))
        return joined


def keep_freed_memory() -> None:
    """Let the C library keep the arrays of a band for the next one, instead of paging anew."""
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


def _rows(features: Tensor, first: int, rows: int, height: int) -> Tensor:
    """The rows of a band, of an input with all or half of the rows."""
    step = height // features.shape[2]
    return features[:, :, first // step : (first + rows) // step]


def into_bands(network: nn.Module) -> None:
    """Run the blocks of a network that look no further than a few rows in bands; in place."""
    if isinstance(network, BasicUNet) and _is_pointwise(network.final_conv):
        # The last block's features are needed for nothing else.
        network.upcat_1.convs.append(network.final_conv)
        network.final_conv = nn.Identity()
    for name, child in list(network.named_children()):
        if isinstance(child, Bands):
            continue
        halo = _halo(child)
        if halo:
            block = Join(child) if isinstance(child, UpCat) else child
            setattr(network, name, Bands(block, halo=halo, channels=_channels(child)))
        else:
            into_bands(child)


def _halo(block: nn.Module) -> int | None:
    """Rows that a block looks up and down, made even; nothing if it is not known."""
    if isinstance(block, UpCat):
        return _halo(block.convs) if _doubles(block.upsample) else None
    steps = [step.module for step in sequences(block)[0]] if is_plain(block) else []
    if sum(isinstance(step, nn.Conv2d) for step in steps) < 2:
        return None
    reaches = [_reach(step) for step in steps]
    total = sum(reach or 0 for reach in reaches)
    return None if None in reaches else total + total % 2


def _reach(step: nn.Module) -> int | None:
    """Rows that one step of a block looks up and down; nothing if it is not known."""
    if isinstance(step, nn.ReLU | nn.LeakyReLU):
        return 0
    if not isinstance(step, nn.Conv2d) or step.stride[0] != 1 or step.padding_mode != "zeros":
        return None
    span = step.dilation[0] * (step.kernel_size[0] - 1)
    keeps_height = step.padding == "same" or 2 * step.padding[0] == span
    return span // 2 if keeps_height and span % 2 == 0 else None


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and _reach(module) == 0 and module.kernel_size == (1, 1)


def _doubles(upsample: nn.Module) -> bool:
    """Whether every row becomes two, from itself alone."""
    steps = list(upsample.children())
    return (
        is_plain(upsample)
        and len(steps) == 1
        and isinstance(steps[0], nn.ConvTranspose2d)
        and steps[0].kernel_size == steps[0].stride == (2, 2)
        and steps[0].padding == steps[0].output_padding == (0, 0)
    )


def _channels(block: nn.Module) -> int:
    convolutions = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    return max(max(m.in_channels, m.out_channels) for m in convolutions)
