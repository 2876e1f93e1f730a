"""Batch norms folded into convolutions, against the network that has them."""

import copy

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import nn

from spine_monai.networks import IntegralXception, Xception
from spine_monai.networks.fold import folded


def norms(network):
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return [module for module in network.modules() if isinstance(module, kinds)]


def with_statistics(network, seed=0):
    """Running statistics and factors as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for norm in norms(network):
        if norm.running_mean is not None:
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.3, 3.0, generator=generator)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.3, generator=generator)
    return network.eval()


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def check_equal(network, inputs, expected_norms=0):
    fold = folded(network)
    assert len(norms(fold)) == expected_norms
    torch.testing.assert_close(fold(inputs), network(inputs), atol=2e-5, rtol=2e-5)
    return fold


@pytest.mark.parametrize(
    "network",
    [
        lambda: BasicUNet(2, 1, 3, features=(8, 12, 16, 20, 24, 8), norm="batch"),
        lambda: Xception(3, width=0.1, input_size=64),
        lambda: IntegralXception(3, width=0.1, input_size=64),
    ],
)
def test_every_norm_of_our_networks_is_folded_exactly(network):
    torch.manual_seed(0)
    check_equal(with_statistics(network()), image(2, 1, 48, 80))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(4, 6, (3, 5), dilation=2, bias=False),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"),
    ],
)
def test_strided_grouped_and_depthwise_convolutions_are_folded_exactly(convolution):
    norm = nn.BatchNorm2d(convolution.out_channels, eps=1e-2)
    check_equal(with_statistics(nn.Sequential(convolution, norm, nn.ReLU())), image(2, 4, 13, 18))


def test_convolutions_over_one_and_three_axes_are_folded_exactly():
    one = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3))
    check_equal(with_statistics(one), image(2, 2, 11))
    three = nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3))
    check_equal(with_statistics(three), image(2, 2, 5, 6, 7))


def test_a_norm_without_factors_of_its_own_is_folded_exactly():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False))
    check_equal(with_statistics(network), image(2, 2, 9, 12))


def test_the_original_is_unchanged():
    network = with_statistics(Xception(3, width=0.1, input_size=64)).train()
    before = copy.deepcopy(network.state_dict())
    kinds = [type(module) for module in network.modules()]
    folded(network)
    assert network.training
    assert [type(module) for module in network.modules()] == kinds
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_with_nothing_to_fold_comes_back_equal():
    network = DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=3,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[8, 16, 24],
        norm_name=("group", {"num_groups": 4}),
    ).eval()
    fold = folded(network)
    assert fold.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(fold(image(2, 1, 16, 24)), network(image(2, 1, 16, 24)))


def test_a_norm_that_does_not_follow_directly_stays():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    check_equal(with_statistics(network), image(2, 2, 9, 12), expected_norms=1)


def test_a_norm_before_the_convolution_stays():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1))
    check_equal(with_statistics(network), image(2, 2, 9, 12), expected_norms=1)


def test_a_norm_that_uses_each_batchs_statistics_stays():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    check_equal(network.eval(), image(2, 2, 9, 12), expected_norms=1)


def test_a_convolution_that_two_norms_follow_in_two_places_stays():
    shared = nn.Conv2d(2, 2, 3, padding=1)
    network = nn.Sequential(shared, nn.BatchNorm2d(2), nn.ReLU(), shared, nn.BatchNorm2d(2))
    check_equal(with_statistics(network), image(2, 2, 9, 12), expected_norms=2)


def test_a_convolution_in_a_shared_container_stays():
    shared = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1))
    network = nn.Sequential(shared, nn.BatchNorm2d(2), nn.ReLU(), shared)
    check_equal(with_statistics(network), image(2, 2, 9, 12), expected_norms=1)


def test_one_norm_after_two_convolutions_is_folded_into_both():
    norm = nn.BatchNorm2d(2)
    network = nn.Sequential(nn.Conv2d(2, 2, 3), norm, nn.ReLU(), nn.Conv2d(2, 2, 1), norm)
    check_equal(with_statistics(network), image(2, 2, 9, 12))


def test_only_the_first_of_two_norms_is_folded():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    check_equal(with_statistics(network), image(2, 2, 9, 12), expected_norms=1)


def test_dropout_between_them_does_not_matter_in_inference():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Dropout(0.9), nn.BatchNorm2d(3))
    check_equal(with_statistics(network), image(2, 2, 9, 12))
