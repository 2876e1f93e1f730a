"""MONAI's metadata around a network that never sees it."""

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.data.utils import collate_meta_tensor

from spine_monai.networks import PlainInferer


class Probe(torch.nn.Module):
    """Remembers what it was called with."""

    def forward(self, images, *args, **kwargs):
        self.seen = images, args, kwargs
        return 2 * images[:, :, ::2]


def batch():
    affines = [np.diag([1.5, 1.2, 4.0, 1.0]), np.diag([-1.5, 1.2, 4.0, 1.0])]
    affines[1][:3, 3] = [3.0, -7.0, 11.0]
    slices = [MetaTensor(torch.rand(1, 4, 5), affine=affine) for affine in affines]
    slices[0].meta["name"], slices[1].meta["name"] = "a", "b"
    return collate_meta_tensor(slices)


def test_the_network_sees_a_plain_tensor():
    probe, images = Probe(), batch()
    PlainInferer()(images, probe, 1, depth=2)
    seen, args, kwargs = probe.seen
    assert type(seen) is torch.Tensor
    assert torch.equal(seen, images.as_tensor())
    assert (args, kwargs) == ((1,), {"depth": 2})


def test_the_output_has_the_metadata_of_each_image():
    images = batch()
    output = PlainInferer()(images, Probe())
    assert isinstance(output, MetaTensor)
    assert output.shape == (2, 1, 2, 5)
    for ours, theirs in zip(decollate_batch(output), decollate_batch(images), strict=True):
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        assert ours.meta["name"] == theirs.meta["name"]


def test_plain_tensors_stay_plain():
    output = PlainInferer()(torch.ones(2, 1, 4, 5), Probe())
    assert type(output) is torch.Tensor
    assert torch.equal(output, torch.full((2, 1, 2, 5), 2.0))
