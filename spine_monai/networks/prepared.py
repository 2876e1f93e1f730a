"""Make a network ready for inference: as fast as the device allows, with the same results."""

from typing import Any

import torch
from torch import Tensor, nn

from spine_monai.networks.bands import into_bands, keep_freed_memory
from spine_monai.networks.fold import folded
from spine_monai.networks.packed import pack
from spine_monai.networks.precision import choose_precision
from spine_monai.networks.winograd import fast_convolution

PIXELS_AT_ONCE = 1 << 20  # larger batches are run in parts, so that memory does not grow with them
PIXELS_AT_ONCE_ON_GPU = 1 << 23  # which starts a few large operations sooner than many small ones
# Channels; narrower layers stay in float32. Reduced precision saves least there and moves points
# most: 1 % of the shipped networks' landmarks by more than 1.4 mm, else by more than 0.05 mm.
WIDE_ENOUGH = 64


class Prepared(nn.Module):
    """A network that runs without gradients, in one precision, a bounded part of a batch at a time.

    Args:
        network: for inference, on its device.
        dtype: in which it computes; it gives float32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.eval()
        self.dtype = dtype
        self.looks = max(1, len(getattr(network, "looks", ())))  # images it makes of each
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's output for (B, C, H, W) images, in float32."""
        pixels = images.shape[-2] * images.shape[-1]
        at_once = PIXELS_AT_ONCE if images.is_cpu else PIXELS_AT_ONCE_ON_GPU
        parts = images.split(max(1, at_once // (pixels * self.looks)))
        with torch.inference_mode():
            outputs = [self._run(part) for part in parts]
        return torch.cat(outputs)  # outside, so that it is a tensor like any other

    def train(self, mode: bool = True) -> "Prepared":  # noqa: ARG002 - torch's signature
        """Stay as it is; engines would switch every module before and after every call."""
        return self

    def _run(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        is_reduced = self.dtype != torch.float32
        with torch.autocast(images.device.type, dtype=self.dtype, enabled=is_reduced):
            output: Tensor = self.network(images)
        return output.float()


class FullPrecision(nn.Module):
    """A layer in float32 within a network in reduced precision.

    Args:
        layer: of float32 weights.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """Return the layer's output in float32 for features in any precision."""
        with torch.autocast(features.device.type, enabled=False):
            output: Tensor = self.layer(features.float())
        return output


def prepare(network: nn.Module, precision: str = "auto", device: Any = "cpu") -> Prepared:
    """Return a copy of a network that does nothing but inference, fast.

    Batch norms are folded into convolutions, weights are laid out for the device once, and large
    feature maps are worked on in bands. In float32 the outputs differ by rounding alone.

    Args:
        network: with its weights loaded; it is not changed.
        precision: ``auto``, ``float32`` or ``bfloat16``; see ``choose_precision``.
        device: where it shall run.

    Raises:
        ValueError: the precision is none of these.
    """
    device = torch.device(device)
    dtype = choose_precision(precision, device.type)
    ready = folded(network).to(device).requires_grad_(False)
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype != torch.float32:
        _reduce(ready, dtype)
    if device.type == "cpu":
        keep_freed_memory()
        into_bands(ready)
        pack(ready, fast_convolution)
    return Prepared(ready, dtype)


def _reduce(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the wide convolutions' weights once, which autocast would do at every call.

    The narrow ones, which draw the fine detail, and what gives coordinates stay in float32.
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) or _is_narrow(layer):
                setattr(parent, name, FullPrecision(layer))
            elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.to(dtype)


def _is_narrow(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return False
    return min(layer.in_channels, layer.out_channels) < WIDE_ENOUGH
