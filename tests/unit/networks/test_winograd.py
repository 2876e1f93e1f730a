"""Winograd's convolution against the direct one, in double precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spine_monai.networks import packed, winograd
from spine_monai.networks.packed import PackedConv2d
from spine_monai.networks.winograd import KERNEL_TRANSFORM, WinogradConv2d, fast_convolution

pytestmark = pytest.mark.skipif(
    not packed._has_operators(), reason="this processor has no such operators"
)


@pytest.fixture(autouse=True)
def small_maps(monkeypatch):
    """Take the fast path for small maps too, several pieces each."""
    monkeypatch.setattr(winograd, "LARGE", 0)
    monkeypatch.setattr(winograd, "PIECE_BYTES", 4 << 10)


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def in_double(convolution, features):
    weight, bias = convolution.weight.double(), convolution.bias
    bias = None if bias is None else bias.double()
    return F.conv2d(features.double(), weight, bias, padding=1).float()


def check(convolution, activation, features, expected):
    ours = WinogradConv2d(convolution, activation)
    ours.direct = None  # it must not be needed
    ours.direct = PackedConv2d(convolution)
    ours.direct.forward = None
    output = ours(features)
    error = (output - expected).abs().max() / expected.abs().max()
    assert error < 2e-5
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(4, 7), (8, 5), (24, 40), (44, 33)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_it_is_the_direct_convolution(size, has_bias):
    torch.manual_seed(0)
    convolution = nn.Conv2d(5, 9, 3, padding=1, bias=has_bias)
    features = image(2, 5, *size)
    check(convolution, None, features, in_double(convolution, features))


def test_it_is_as_exact_for_many_channels():
    torch.manual_seed(0)
    convolution, features = nn.Conv2d(256, 128, 3, padding="same"), image(1, 256, 32, 20)
    check(convolution, None, features, in_double(convolution, features))


def test_activations_are_applied():
    torch.manual_seed(0)
    convolution, features = nn.Conv2d(3, 4, 3, padding=1), image(2, 3, 12, 10)
    expected = in_double(convolution, features)
    check(convolution, nn.ReLU(), features, expected.relu())
    check(convolution, nn.LeakyReLU(0.3), features, F.leaky_relu(expected, 0.3))


def test_the_input_stays_as_it_is():
    features = image(1, 3, 12, 10).contiguous(memory_format=torch.channels_last)
    given = features.clone()
    WinogradConv2d(nn.Conv2d(3, 4, 3, padding=1))(features)
    assert torch.equal(features, given)


def test_half_of_the_products_are_done():
    """Six kernels of three columns for four rows, where direct ones are twelve."""
    assert len(KERNEL_TRANSFORM) * 3 / (4 * 9) == 0.5


def test_heights_that_do_not_divide_and_small_maps_go_the_direct_way(monkeypatch):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    odd, small = image(1, 3, 10, 9), image(1, 3, 8, 9)
    ours = WinogradConv2d(convolution)
    torch.testing.assert_close(ours(odd), convolution(odd), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(winograd, "LARGE", 8 * 9 + 1)
    ours._convolve = None
    torch.testing.assert_close(ours(small), convolution(small), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, WinogradConv2d),
        ({"padding": "same"}, WinogradConv2d),
        ({"padding": 0}, PackedConv2d),
        ({"stride": 2}, PackedConv2d),
        ({"stride": (1, 2)}, PackedConv2d),
        ({"dilation": 2, "padding": 2}, PackedConv2d),
        ({"groups": 2}, PackedConv2d),
        ({"kernel_size": 5}, PackedConv2d),
        ({"kernel_size": (3, 1)}, PackedConv2d),
        ({"in_channels": 64}, PackedConv2d),
        ({"out_channels": 64}, PackedConv2d),
        ({"dtype": torch.bfloat16}, PackedConv2d),
    ],
)
def test_only_wide_dense_convolutions_of_neighbours_are_transformed(options, kind):
    wide = {"in_channels": 128, "out_channels": 128, "kernel_size": 3, "padding": 1}
    assert type(fast_convolution(nn.Conv2d(**(wide | options)))) is kind
