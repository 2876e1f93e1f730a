"""The coordinate network."""

import pytest
import torch
from torch.nn import functional as F

from spine_monai.networks import Xception


def small(num_landmarks=3, **options):
    return Xception(num_landmarks, **({"width": 0.1, "input_size": 64} | options)).eval()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def count(network):
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def test_the_network_has_the_published_number_of_parameters():
    """Three channels and 2 x 500 = 1000 outputs, as in Chollet 2017, table 3."""
    assert count(Xception(500, in_channels=3)) == 22_855_952


def test_each_image_has_a_place_for_each_landmark():
    assert small()(image(2, 1, 70, 45)).shape == (2, 3, 2)


def test_the_outputs_are_row_and_column_of_one_landmark_after_the_other():
    network = small()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.arange(6.0))
    assert network(image(2, 1, 40, 50))[1].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_the_images_of_a_batch_do_not_mix():
    network, images = small(), image(2, 1, 70, 45)
    torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-5, rtol=1e-4)


def test_all_input_channels_are_seen():
    network, first = small(in_channels=3), image(1, 3, 48, 64)
    for channel in range(3):
        other = first.clone()
        other[:, channel] = 1 - other[:, channel]
        assert not torch.allclose(network(first), network(other))


def test_width_scales_the_channels_of_every_layer():
    half, whole = Xception(11, width=0.5), Xception(11)
    assert (half.features.out_channels, whole.features.out_channels) == (1024, 2048)
    assert count(whole) / count(half) == pytest.approx(4, rel=0.05)


def test_no_layer_is_narrower_than_eight_channels():
    convolutions = [m for m in small(width=0.001).modules() if isinstance(m, torch.nn.Conv2d)]
    assert {convolution.out_channels for convolution in convolutions} == {8}


def test_the_network_resizes_its_input_itself_and_smooths_before():
    network = small()
    large = image(2, 1, 256, 192)
    by_hand = F.interpolate(large, size=(64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(network(large), network(by_hand), atol=1e-5, rtol=1e-4)


def test_a_fine_checkerboard_looks_grey_to_the_network():
    """Without smoothing it would alias into one of its two colours."""
    network = small()
    rows, columns = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    board = ((rows + columns) % 2).float()[None, None]
    grey = network(torch.full((1, 1, 64, 64), 0.5))
    torch.testing.assert_close(network(board), grey, atol=1e-3, rtol=1e-2)


def test_the_body_shrinks_an_image_thirtyfold():
    """299 pixels end as 10, as in figure 5 of the paper."""
    features = small().features(image(1, 1, 299, 299))
    assert features.shape == (1, 205, 10, 10)


def test_no_block_changes_the_features_that_its_shortcut_reads():
    blocks = [m for m in small().features if type(m).__name__.endswith("Block")]
    assert len(blocks) == 12
    generator = torch.Generator().manual_seed(0)
    for block in blocks:
        channels = len(next(block.parameters()))
        features = torch.randn(2, channels, 9, 14, generator=generator)
        given = features.clone()
        block(given)
        assert torch.equal(given, features)


def test_every_weight_is_trained():
    network = small().train()
    network(image(2, 1, 64, 64)).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_dropout_works_in_training_only():
    network, images = small(dropout=0.5), image(2, 1, 64, 64)
    assert torch.equal(network(images), network(images))
    network.dropout.train()
    torch.manual_seed(0)
    assert not torch.equal(network(images), network(images))


def test_there_is_no_dropout_unless_asked_for():
    assert small().dropout.p == 0.0


def test_the_stem_ends_in_a_relu_before_the_first_shortcut():
    """Figure 5 of the paper: both convolutions of the stem are followed by one."""
    kinds = [type(step).__name__ for step in Xception(2).features][:5]
    assert kinds == ["Sequential", "ReLU", "Sequential", "ReLU", "_DownBlock"]
