"""The product of local appearance and spatial configuration."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spine_monai.networks import SpatialConfigurationNet, with_output_bias
from spine_monai.networks.spatial_configuration import product_logits


def small(num_landmarks=3, **options):
    torch.manual_seed(0)
    options = {"channels": 8, "spatial_channels": 8} | options
    return SpatialConfigurationNet(num_landmarks, **options).eval()


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def without_norm(network):
    """Group norm looks at the whole map; without it, a layer sees only what its kernel covers."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    return network


def test_the_logit_of_a_product_is_that_of_the_product():
    first, second = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    product = product_logits(first, second).sigmoid()
    torch.testing.assert_close(product, first.sigmoid() * second.sigmoid())


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(-6.0, 500.0, -6.0), (500.0, -6.0, -6.0), (-500.0, -300.0, -800.0), (500.0, 300.0, 300.0)],
)
def test_no_logit_is_too_large_for_the_product(first, second, expected):
    logits = torch.tensor([first, second], requires_grad=True)
    product = product_logits(*logits)
    product.backward()
    assert product.item() == pytest.approx(expected)
    assert torch.isfinite(logits.grad).all()


def test_the_default_network_needs_less_than_25_gflop_for_512_x_512():
    network = SpatialConfigurationNet(11).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 64, 64))
    assert 12e9 < counter.get_total_flops() * 64 < 25e9


@pytest.mark.parametrize("size", [(96, 64), (32, 64), (32, 32)])
def test_each_pixel_has_a_logit_for_each_landmark(size):
    assert small()(image(2, 1, *size)).shape == (2, 3, *size)


def test_the_heatmaps_are_the_product_of_both_components():
    network, images = small(), image(2, 1, 96, 64)
    local = network.local(images).sigmoid()
    spatial = network.spatial(local).sigmoid()
    torch.testing.assert_close(network(images).sigmoid(), local * spatial, atol=1e-6, rtol=1e-4)
    assert spatial.std() > 0.001


def test_a_local_heatmap_sees_a_neighbourhood_and_the_product_much_more():
    """84 px at the lowest level, and what the upsamplings and the last layer add."""
    network = without_norm(small())
    reach = {}
    for name, component in {"local": network.local, "product": network}.items():
        seen = image(1, 1, 352, 320).requires_grad_()
        component(seen)[0, 0, 176, 160].backward()
        reach[name] = [int(seen.grad[0, 0].any(axis).sum()) for axis in (1, 0)]
    assert all(84 <= side <= 120 for side in reach["local"])
    assert reach["product"] == [352, 320]


def test_the_spatial_component_works_at_a_sixteenth_of_the_resolution():
    network, sizes = small(), []
    convolutions = [m for m in network.spatial.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        convolution.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[-2:]))
    network(image(1, 1, 96, 64))
    assert sizes == [(6, 4)] * 4
    assert {convolution.kernel_size for convolution in convolutions} == {(11, 11)}


def test_the_place_of_each_landmark_depends_on_all_landmarks():
    network = small()
    for landmark in range(3):
        heatmaps = image(1, 3, 64, 96).requires_grad_()
        network.spatial(heatmaps)[0, landmark].square().sum().backward()
        assert (heatmaps.grad.abs().amax((0, 2, 3)) > 0).all()


def test_the_spatial_heatmap_lies_where_its_coarse_map_does():
    """A coarse pixel is a square of sixteen by sixteen; the bump stays over it."""
    network = small(1)
    del network.spatial[1:]
    heatmaps = torch.zeros(1, 1, 96, 128)
    heatmaps[0, 0, 32:48, 48:64] = 1.0
    spatial = network.spatial(heatmaps)[0, 0].clamp_min(0)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    centre = [float((spatial * where).sum() / spatial.sum()) for where in (rows, columns)]
    assert centre == pytest.approx([39.5, 55.5], abs=0.01)


def test_the_output_bias_empties_the_local_heatmaps_and_leaves_the_spatial_ones_undecided():
    network, images = small(), image(2, 1, 96, 64)
    nn.init.zeros_(network.local.output.weight)
    with_output_bias(network, -6.0)
    local = network.local(images)
    assert torch.equal(local, torch.full_like(local, -6.0))
    assert (network.spatial(local.sigmoid()).sigmoid() - 0.5).abs().max() < 0.4
    assert network(images).sigmoid().max() < 0.003


def test_both_components_have_gradients_when_the_heatmaps_are_empty():
    logits = torch.tensor([-6.0, 0.0], requires_grad=True)
    product_logits(*logits).backward()
    assert logits.grad.tolist() == pytest.approx([1.0, 0.5], abs=0.01)


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
    network(image(2, 1, 64, 96)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_the_same_image_gives_the_same_heatmaps_in_training_too():
    network, images = small(), image(2, 1, 64, 96)
    assert torch.equal(network(images), network(images))
    assert torch.equal(network(images), network.train()(images))
