"""Convolutions by oneDNN whose weights are laid out once, with the activation in the same pass.

PyTorch lays a convolution's weights out for oneDNN at every call; for small feature maps that takes
as long as the convolution itself. The operators are those that PyTorch's own compiler calls.
"""

import platform
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Generic, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from spine_monai.networks.sequences import sequences

LAYOUTS_KEPT = 2  # for so many shapes of input: full batches, and what is left over

Geometry = tuple[list[int], list[int], list[int], int]  # padding, stride, dilation, groups
Layout = TypeVar("Layout")


class PackedConv2d(nn.Module):
    """A convolution and the activation after it, for inference on the processor.

    Args:
        convolution: one that ``is_packable``.
        activation: ReLU, LeakyReLU or nothing.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        weight = convolution.weight.detach().contiguous(memory_format=torch.channels_last)
        bias = None if convolution.bias is None else convolution.bias.detach()
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.geometry: Geometry = (
            list(_padding(convolution) or (0, 0)),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self.activation = _attributes(activation)
        self.layout = Layouts(lambda shape: lay_out(self.weight, self.geometry, shape))

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, O, H', W') features of (B, C, H, W) ones, channels last."""
        features = features.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)
        weight = self.layout(features.shape)
        return convolve(features, weight, self.bias, self.geometry, self.activation)


class Layouts(Generic[Layout]):
    """Remember what was made for the last few shapes of input.

    Args:
        make: gives it for a shape.
    """

    def __init__(self, make: Callable[[torch.Size], Layout]) -> None:
        self.make = make
        self.known: dict[torch.Size, Layout] = {}

    def __call__(self, shape: torch.Size) -> Layout:
        """Return what belongs to a shape."""
        layout = self.known.get(shape)
        if layout is None:
            layout = self.make(shape)
            for oldest in list(self.known)[: 1 - LAYOUTS_KEPT]:
                self.known.pop(oldest, None)
            self.known[shape] = layout
        return layout


def lay_out(weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """Return a convolution's weights as oneDNN wants them for one shape of input."""
    reorder: Callable[..., Tensor] = torch._C._nn.mkldnn_reorder_conv2d_weight
    return reorder(weight.to_mkldnn(), *geometry, list(shape))


def convolve(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    activation: tuple[str, list[Any]] = ("none", []),
) -> Tensor:
    """Return the convolution of (B, C, H, W) features with weights that are laid out."""
    output: Tensor = torch.ops.mkldnn._convolution_pointwise(
        features, weight, bias, *geometry, *activation, ""
    )
    return output


def pack(
    network: nn.Module, make: Callable[[nn.Conv2d, nn.Module | None], nn.Module] = PackedConv2d
) -> None:
    """Replace what ``is_packable`` in a network, in place, together with activations after it.

    Args:
        network: it is changed.
        make: gives the module for a convolution and the activation after it.
    """
    for steps in sequences(network):
        for first, second in pairwise(steps):
            is_followed = first.is_used_once and type(second.module) in (nn.ReLU, nn.LeakyReLU)
            if is_followed and is_packable(first.module):
                first.replace_by(make(first.module, second.module))
                second.replace_by(nn.Identity())
    packed: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child is not None and is_packable(child):
                if child not in packed:
                    packed[child] = make(child, None)
                setattr(parent, name, packed[child])


def is_packable(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether a module is a plain 2-D convolution that oneDNN can run on this processor."""
    return (
        type(module) is nn.Conv2d
        and module.weight.device.type == "cpu"
        and _has_operators(module.weight.dtype)
        and module.padding_mode == "zeros"
        and _padding(module) is not None
    )


def _has_operators(dtype: torch.dtype = torch.float32) -> bool:
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False  # other machines are not tested
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _padding(convolution: nn.Conv2d) -> tuple[int, ...] | None:
    """Rows and columns of padding at each side; nothing where the sides differ."""
    if not isinstance(convolution.padding, str):
        return convolution.padding
    if convolution.padding == "valid":
        return 0, 0
    rows, columns = (
        dilation * (size - 1)
        for dilation, size in zip(convolution.dilation, convolution.kernel_size, strict=True)
    )
    return None if rows % 2 or columns % 2 else (rows // 2, columns // 2)


def _attributes(activation: nn.Module | None) -> tuple[str, list[Any]]:
    if isinstance(activation, nn.LeakyReLU):
        return "leaky_relu", [activation.negative_slope]
    return ("none" if activation is None else "relu"), []
