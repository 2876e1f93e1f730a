"""Blocks that run band by band, against the same blocks on the whole image."""

import pytest
import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets.basic_unet import TwoConv, UpCat
from torch import nn

from spine_monai.networks import Xception, bands
from spine_monai.networks.bands import Bands, Join, into_bands


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch):
    """Bands of some twelve rows for the sizes used here."""
    monkeypatch.setattr(bands, "BAND_BYTES", 4 * 12 * 8 * 20)


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Counts(nn.Sequential):
    """Remembers the heights that it was called with."""

    def __init__(self, *steps):
        super().__init__(*steps)
        self.heights = []

    def forward(self, features):
        self.heights.append(features.shape[2])
        return super().forward(features)


def two_convolutions(channels=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1))


@pytest.mark.parametrize("height", [12, 16, 20, 40, 44, 100])
def test_bands_give_what_the_whole_gives(height):
    block, features = two_convolutions(), image(2, 3, height, 20)
    output = Bands(block, halo=2, channels=8)(features)
    torch.testing.assert_close(output, block(features), atol=1e-6, rtol=1e-6)


def test_bands_are_of_one_height_and_few():
    block = Counts(*two_convolutions())
    Bands(block, halo=2, channels=8)(image(1, 3, 100, 20))
    assert block.heights == [12] * 12


@pytest.mark.parametrize("height", [12, 8, 42])
def test_what_is_small_or_does_not_divide_is_run_at_once(height):
    block = Counts(*two_convolutions())
    Bands(block, halo=2, channels=8)(image(1, 3, height, 20))
    assert block.heights == [height]


def test_rows_so_wide_that_a_band_would_be_mostly_border_are_run_at_once():
    block = Counts(*two_convolutions())
    Bands(block, halo=2, channels=8)(image(1, 3, 40, 60))
    assert block.heights == [40]


def test_an_input_of_half_the_height_is_cut_at_the_same_places():
    torch.manual_seed(0)
    up = UpCat(2, 6, 3, 4, ("relu", {}), None, bias=True)
    low, high = image(2, 6, 22, 10), image(2, 3, 44, 20)
    banded = Bands(Join(up), halo=2, channels=8)
    torch.testing.assert_close(banded(low, high), up(low, high), atol=1e-6, rtol=1e-6)


def test_uneven_inputs_are_padded_as_monai_pads_them():
    torch.manual_seed(0)
    up = UpCat(2, 6, 3, 4, ("relu", {}), None, bias=True)
    low, high = image(1, 6, 22, 10), image(1, 3, 45, 21)
    output = Bands(Join(up), halo=2, channels=8)(low, high)
    assert output.shape == (1, 4, 45, 21)
    torch.testing.assert_close(output, up(low, high))


def unet(**options):
    torch.manual_seed(0)
    return BasicUNet(2, 1, 3, features=(4, 8, 8, 8, 8, 4), norm="batch", **options).eval()


def banded_names(network):
    return [name for name, module in network.named_modules() if isinstance(module, Bands)]


def folded_unet(**options):
    from spine_monai.networks.fold import folded

    return folded(unet(**options))


def test_all_blocks_of_a_folded_unet_run_in_bands_with_the_same_output():
    network, features = folded_unet(), image(2, 1, 96, 64)
    expected = network(features)
    into_bands(network)
    blocks = [
        "conv_0",
        *(f"down_{n}.convs" for n in range(1, 5)),
        *(f"upcat_{n}" for n in (4, 3, 2, 1)),
    ]
    assert banded_names(network) == blocks
    torch.testing.assert_close(network(features), expected, atol=1e-5, rtol=1e-5)


def test_the_last_convolution_runs_in_the_last_blocks_bands():
    network = folded_unet()
    into_bands(network)
    assert isinstance(network.final_conv, nn.Identity)
    assert network.upcat_1.block.block.convs[-1].out_channels == 3


def test_norms_over_the_whole_map_and_other_upsamplings_keep_a_block_whole():
    assert banded_names(_in_bands(unet())) == []  # its batch norms are not folded
    names = banded_names(_in_bands(folded_unet(upsample="nontrainable")))
    assert not [name for name in names if name.endswith(("upcat_1", "upcat_4"))]


def _in_bands(network):
    into_bands(network)
    return network


@pytest.mark.parametrize(
    "step",
    [
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
        nn.Conv2d(8, 4, 3),
        nn.Conv2d(8, 4, 2, padding="same"),
        nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular"),
        nn.MaxPool2d(2),
        nn.GroupNorm(2, 8),
    ],
)
def test_a_step_that_looks_further_or_changes_the_height_keeps_a_block_whole(step):
    first = nn.Conv2d(3, 8, 3, padding=1)
    network = nn.ModuleDict({"block": nn.Sequential(first, nn.Conv2d(8, 8, 1), step)})
    assert banded_names(_in_bands(network)) == []


def test_dilated_and_long_kernels_have_a_longer_reach():
    block = nn.Sequential(
        nn.Conv2d(3, 8, (5, 3), padding=(2, 1)), nn.Conv2d(8, 4, 3, padding=3, dilation=3)
    )
    network = nn.ModuleDict({"block": block})
    features = image(1, 3, 60, 8)
    into_bands(network)
    assert network["block"].halo == 6
    torch.testing.assert_close(network["block"](features), block(features), atol=1e-6, rtol=1e-6)


def test_a_network_with_separable_convolutions_gives_the_same():
    from spine_monai.networks.fold import folded

    torch.manual_seed(0)
    network, features = folded(Xception(2, width=0.05, input_size=64)), image(2, 1, 70, 45)
    expected = network(features)
    into_bands(network)
    assert banded_names(network)
    torch.testing.assert_close(network(features), expected, atol=1e-5, rtol=1e-5)


def test_a_block_in_two_places_is_banded_once_in_each():
    block = TwoConv(2, 3, 3, ("relu", {}), None, bias=True)
    network = nn.ModuleList([nn.ModuleDict({"a": block}), nn.ModuleDict({"b": block})])
    into_bands(network)
    assert banded_names(network) == ["0.a", "1.b"]
    assert network[0]["a"].block is network[1]["b"].block is block


def test_freed_memory_is_kept_without_error():
    bands.keep_freed_memory()
