"""The stacked hourglass, and its loss over all stacks."""

from copy import deepcopy

import pytest
import torch
from monai.losses import DeepSupervisionLoss
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spine_monai.heatmaps import HeatmapLoss, encode_heatmaps
from spine_monai.networks import StackedHourglass, load_weights, save_weights, with_output_bias
from spine_monai.networks.hourglass import Hourglass, Residual


def small(num_landmarks=3, **options):
    torch.manual_seed(0)
    options = {"channels": 32, "depth": 2} | options
    return StackedHourglass(num_landmarks, **options).eval()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_eight_stacks_have_the_published_number_of_parameters():
    """25.1 million, Sun 2019, table 1; for people, in three input channels."""
    with torch.device("meta"):
        network = StackedHourglass(17, in_channels=3, stacks=8, channels=256, depth=4)
    assert sum(map(torch.numel, network.parameters())) == pytest.approx(25.1e6, rel=0.015)


def test_the_default_network_needs_less_than_25_gflop_for_512_x_512():
    network = StackedHourglass(11).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 64, 64))
    assert 12e9 < counter.get_total_flops() * 64 < 25e9


@pytest.mark.parametrize("size", [(96, 64), (32, 64), (32, 32)])
def test_each_pixel_has_a_logit_for_each_landmark(size):
    assert small(depth=4)(image(2, 1, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("stacks", [1, 3])
def test_training_gives_the_heatmaps_of_every_stack_and_the_last_is_the_answer(stacks):
    network, images = small(stacks=stacks), image(2, 1, 64, 96)
    answer = network(images)
    outputs = network.train()(images)
    assert [output.shape for output in outputs] == [(2, 3, 64, 96)] * stacks
    torch.testing.assert_close(outputs[-1], answer)
    assert not any(torch.allclose(output, answer) for output in outputs[:-1])


def test_a_stack_learns_from_its_own_heatmaps_and_from_those_of_later_stacks():
    network = small().train()
    first, last = network(image(2, 1, 64, 96))
    first.square().sum().backward(retain_graph=True)
    assert all(weight.grad is None for weight in network.bodies[1].parameters())
    network.zero_grad()
    last.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.bodies[0].parameters())
    assert network.heads[0].weight.grad.abs().sum() > 0


def test_a_stack_reads_the_heatmaps_before_it():
    network, images = small(), image(1, 1, 64, 96)
    before = network(images)
    with torch.no_grad():
        network.heads[0].weight.neg_()
    assert not torch.allclose(network(images), before)


def test_an_hourglass_halves_its_input_as_often_as_it_is_deep():
    hourglass, sizes = Hourglass(32, 3), set()
    for residual in [m for m in hourglass.modules() if isinstance(m, Residual)]:
        residual.register_forward_hook(lambda _, __, output: sizes.add(output.shape[-2:]))
    assert hourglass(image(1, 32, 48, 32)).shape == (1, 32, 48, 32)
    assert sizes == {(48, 32), (24, 16), (12, 8), (6, 4)}


def test_an_odd_side_comes_back_to_its_place():
    """A bump among five and seven pixels is still there after a halving and its way back."""
    hourglass = Hourglass(16, 1)
    hourglass.beside = nn.Identity()
    hourglass.below = hourglass.below[:1]
    bump = torch.zeros(1, 16, 5, 7)
    bump[..., 2, 6] = 1.0
    below = hourglass(bump)[0, 0] - bump[0, 0]
    assert below.nonzero().tolist() == [[2, 6], [3, 6]]


@pytest.mark.parametrize("channels", [(32, 32), (16, 32)])
def test_a_residual_does_not_change_the_features_that_its_shortcut_reads(channels):
    features = image(2, channels[0], 9, 14)
    given = features.clone()
    assert Residual(*channels)(features).shape == (2, channels[1], 9, 14)
    assert torch.equal(features, given)


def test_the_output_bias_is_that_of_every_stack():
    network, images = small(stacks=3).train(), image(2, 1, 64, 96)
    for head in network.heads:
        nn.init.zeros_(head.weight)
    outputs = with_output_bias(network, -6.0)(images)
    assert all(torch.equal(output, torch.full_like(output, -6.0)) for output in outputs)


def test_the_stacks_share_their_bias_in_copies_and_files_too(tmp_path):
    network, images = with_output_bias(small(), -6.0), image(1, 1, 64, 96)
    save_weights(network, tmp_path / "model.pt")
    loaded = load_weights(small(), tmp_path / "model.pt")
    torch.testing.assert_close(loaded(images), network(images), atol=0.02, rtol=0.01)
    for copy in (deepcopy(network), loaded):
        assert copy.heads[0].bias is copy.heads[1].bias
        assert copy.heads[0].bias.tolist() == [-6.0] * 3


def test_the_deeply_supervised_loss_is_the_sum_over_the_stacks_without_missing_landmarks():
    network, images = small().train(), image(2, 1, 64, 96)
    points_ij = torch.tensor([[[20.0, 30.0], [40.5, 70.0], [50.0, 10.0]]]).repeat(2, 1, 1)
    heatmaps = encode_heatmaps(points_ij, (64, 96), 3.0)
    heatmaps[1, 2] = torch.nan
    outputs = network(images)
    for output in outputs:
        output.retain_grad()
    loss = DeepSupervisionLoss(HeatmapLoss(), weight_mode="same")(outputs, heatmaps)
    expected = [HeatmapLoss()(output, heatmaps) for output in outputs]
    torch.testing.assert_close(loss, sum(expected))
    loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    for output in outputs:
        assert output.grad.abs().amax((2, 3)).bool().tolist() == [[True] * 3, [True, True, False]]


def test_the_images_of_a_batch_do_not_mix():
    network, images = small(), image(2, 1, 96, 64)
    torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-5, rtol=1e-4)


def test_all_input_channels_are_seen():
    network, first = small(in_channels=3), image(1, 3, 32, 64)
    for channel in range(3):
        other = first.clone()
        other[:, channel] = 1 - other[:, channel]
        assert not torch.allclose(network(first), network(other))


def test_every_weight_is_trained():
    network = small().train()
    sum(output.square().sum() for output in network(image(2, 1, 64, 96))).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_the_same_image_gives_the_same_heatmaps():
    network, images = small(), image(2, 1, 64, 96)
    assert torch.equal(network(images), network(images))
