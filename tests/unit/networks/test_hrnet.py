"""The high-resolution network."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spine_monai.networks import HRNet, with_output_bias
from spine_monai.networks.hrnet import BasicBlock, Bottleneck, Exchange, NewBranch


def small(num_landmarks=3, **options):
    torch.manual_seed(0)
    return HRNet(num_landmarks, **({"width": 8, "stem_channels": 8} | options)).eval()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("width", "millions"), [(32, 28.5), (48, 63.6)])
def test_the_network_has_the_published_number_of_parameters(width, millions):
    """Sun 2019, table 1; 17 places on people, in three input channels."""
    with torch.device("meta"):
        network = HRNet(17, in_channels=3, width=width, stem_channels=64)
    count = sum(map(torch.numel, network.parameters()))
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_default_network_needs_less_than_25_gflop_for_512_x_512():
    network = HRNet(11).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 64, 64))
    assert 12e9 < counter.get_total_flops() * 64 < 25e9


@pytest.mark.parametrize("size", [(96, 64), (32, 64), (32, 32)])
def test_each_pixel_has_a_logit_for_each_landmark(size):
    assert small()(image(2, 1, *size)).shape == (2, 3, *size)


def test_the_branches_lie_at_strides_4_to_32_and_double_their_channels():
    network = small()
    branches = network.stages[:-1]([network.stem(image(1, 1, 96, 64))])
    assert [branch.shape for branch in branches] == [
        (1, 8, 24, 16),
        (1, 16, 12, 8),
        (1, 32, 6, 4),
        (1, 64, 3, 2),
    ]


def test_the_stages_exchange_once_four_times_and_three_times():
    exchanges = [step for step in small().stages if isinstance(step, Exchange)]
    assert [len(step.branches) for step in exchanges] == [2, 3, 3, 3, 3, 4, 4, 4]
    assert [len(step.paths) for step in exchanges] == [2, 3, 3, 3, 3, 4, 4, 1]


def test_every_branch_reads_every_branch():
    torch.manual_seed(0)
    exchange = Exchange([8, 16, 32], outputs=3)
    for target in range(3):
        branches = [image(1, 8 * 2**i, 24 // 2**i, 16 // 2**i).requires_grad_() for i in range(3)]
        read = exchange(branches)
        assert [output.shape for output in read] == [branch.shape for branch in branches]
        read[target].square().sum().backward()
        assert all(branch.grad.abs().sum() > 0 for branch in branches)


def test_a_new_branch_leaves_the_others_as_they_are():
    branches = [image(1, 8, 12, 8), image(1, 16, 6, 4)]
    *same, lower = NewBranch(16, 32)(branches)
    assert all(new is old for new, old in zip(same, branches, strict=True))
    assert lower.shape == (1, 32, 3, 2)


@pytest.mark.parametrize("block", [BasicBlock(32), Bottleneck(32, 8), Bottleneck(32, 16)])
def test_no_block_changes_the_features_that_its_shortcut_reads(block):
    features = image(2, 32, 9, 14)
    given = features.clone()
    assert block(features).shape[-2:] == (9, 14)
    assert torch.equal(features, given)


def test_an_exchange_changes_none_of_its_branches():
    branches = [image(1, 8, 12, 8) - 0.5, image(1, 16, 6, 4) - 0.5]
    given = [branch.clone() for branch in branches]
    Exchange([8, 16], outputs=2)(branches)
    assert all(map(torch.equal, branches, given))


def test_a_block_can_pass_its_features_on():
    for block in (BasicBlock(8), Bottleneck(32, 8)):
        nn.init.zeros_(block.body[-1][-1].weight)
        features = image(2, 32 if isinstance(block, Bottleneck) else 8, 9, 14)
        assert torch.equal(block(features), features)


def test_the_output_bias_is_that_of_the_heatmaps():
    network, images = small(), image(2, 1, 64, 96)
    before = network(images) - network.head.bias[:, None, None]
    after = with_output_bias(network, [-6.0, -5.0, -4.0])(images)
    bias = torch.tensor([-6.0, -5.0, -4.0])[:, None, None]
    torch.testing.assert_close(after - before, bias.expand_as(after), atol=1e-5, rtol=1e-4)


def test_the_images_of_a_batch_do_not_mix():
    network, images = small().double(), image(2, 1, 96, 64).double()
    torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-5, rtol=1e-4)


def test_all_input_channels_are_seen():
    network, first = small(in_channels=3), image(1, 3, 32, 64)
    for channel in range(3):
        other = first.clone()
        other[:, channel] = 1 - other[:, channel]
        assert not torch.allclose(network(first), network(other))


def test_every_weight_is_trained():
    network = small().train()
    network(image(2, 1, 64, 96)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_the_same_image_gives_the_same_heatmaps_in_training_too():
    network, images = small(), image(2, 1, 64, 96)
    assert torch.equal(network(images), network(images))
    assert torch.equal(network(images), network.train()(images))
