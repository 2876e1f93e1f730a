"""The fully convolutional network."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spine_monai.networks import FCN8s, with_output_bias


def small(num_landmarks=3, **options):
    torch.manual_seed(0)
    return FCN8s(num_landmarks, **({"width": 0.05} | options)).eval()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def bare(network):
    """The network as a sum over what it sees: no norm, no maximum, equal weights."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm | nn.ReLU):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
            elif isinstance(child, nn.Conv2d):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
    return network.double()


def test_the_network_has_the_published_number_of_weights():
    """VGG-16 has 138 357 544 parameters; without its last layer (4 097 000) and biases (12 416)."""
    with torch.device("meta"):
        network = FCN8s(21, in_channels=3, width=1.0)
    named = network.named_parameters()
    kernels = [weight for name, weight in named if weight.ndim == 4 and "scores" not in name]
    assert len(kernels) == 15
    assert sum(map(torch.numel, kernels)) == 138_357_544 - 4_097_000 - 12_416


def test_the_default_network_needs_less_than_25_gflop_for_512_x_512():
    network = FCN8s(11).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 64, 64))
    assert 12e9 < counter.get_total_flops() * 64 < 25e9


@pytest.mark.parametrize("size", [(96, 64), (32, 64), (32, 32)])
def test_each_pixel_has_a_logit_for_each_landmark(size):
    assert small()(image(2, 1, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize(("stride", "pixels"), [(8, 44), (16, 100), (32, 404)])
def test_the_scores_see_what_they_see_in_vgg(stride, pixels):
    """The fields of the third and fourth pooling of VGG-16, and of FCN: Long 2015, table 1."""
    network = bare(small(1))
    seen = image(1, 1, 448, 416).double().requires_grad_()
    at_8 = network.to_stride_8(seen)
    at_16 = network.to_stride_16(at_8)
    scores = {
        8: network.scores_8(at_8),
        16: network.scores_16(at_16),
        32: network.scores_32(network.to_stride_32(at_16)),
    }[stride]
    rows, columns = scores.shape[-2:]
    assert (rows, columns) == (448 // stride, 416 // stride)
    scores[0, 0, rows // 2, columns // 2].backward()
    assert seen.grad[0, 0].any(1).sum() == pixels
    assert seen.grad[0, 0].any(0).sum() == pixels


def test_the_scores_of_three_strides_are_summed():
    network, images = small(), image(1, 1, 96, 64)
    whole = network(images) - network.scores_8.bias[:, None, None]
    parts = []
    for kept in ("scores_8", "scores_16", "scores_32"):
        part = small()
        nn.init.zeros_(part.scores_8.bias)
        for name in {"scores_8", "scores_16", "scores_32"} - {kept}:
            nn.init.zeros_(getattr(part, name).weight)
        parts.append(part(images))
    assert all(part.std() > 0.01 for part in parts)
    torch.testing.assert_close(whole, sum(parts), atol=1e-5, rtol=1e-4)


def test_the_output_bias_is_that_of_the_sum():
    network, images = small(), image(2, 1, 64, 96)
    before = network(images) - network.scores_8.bias[:, None, None]
    after = with_output_bias(network, [-6.0, -5.0, -4.0])(images)
    bias = torch.tensor([-6.0, -5.0, -4.0])[:, None, None]
    torch.testing.assert_close(after - before, bias.expand_as(after), atol=1e-5, rtol=1e-4)


def test_the_images_of_a_batch_do_not_mix():
    network, images = small(), image(2, 1, 96, 64)
    torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-5, rtol=1e-4)


def test_all_input_channels_are_seen():
    network, first = small(in_channels=3), image(1, 3, 32, 64)
    for channel in range(3):
        other = first.clone()
        other[:, channel] = 1 - other[:, channel]
        assert not torch.allclose(network(first), network(other))


def test_width_scales_the_channels_of_every_layer_in_eights():
    with torch.device("meta"):
        half, whole = small(width=0.5), small(width=1.0)
    assert half.scores_32.in_channels * 2 == whole.scores_32.in_channels == 4096
    convolutions = [m for m in small(width=0.2).modules() if isinstance(m, nn.Conv2d)]
    channels = [c.out_channels for c in convolutions if c.out_channels != 3]
    assert channels == [16, 16, 24, 24, 48, 48, 48, *[104] * 6, 816, 816]


def test_every_weight_is_trained():
    network = small().train()
    network(image(2, 1, 64, 96)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_the_same_image_gives_the_same_heatmaps_in_training_too():
    network, images = small(), image(2, 1, 64, 96)
    assert torch.equal(network(images), network(images))
    assert torch.equal(network(images), network.train()(images))
