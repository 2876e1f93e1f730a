"""Inference in reduced precision."""

import pytest
import torch

from spine_monai.networks import AutocastInferer


class Probe(torch.nn.Module):
    """A convolution that remembers how it was called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(2, 3, 3)
        self.output = self.inputs = self.options = None

    def forward(self, inputs, *args, **kwargs):
        self.inputs, self.options = inputs, (args, kwargs)
        self.output = self.layer(inputs)
        return self.output


def image():
    return torch.rand(2, 2, 9, 14, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_network_runs_in_reduced_precision_and_gives_float32(dtype):
    probe = Probe()
    output = AutocastInferer(dtype)(image(), probe)
    assert probe.output.dtype == getattr(torch, dtype)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, probe.layer(image()), atol=0.02, rtol=0.02)


def test_a_list_of_outputs_becomes_float32_each():
    """A deeply supervised network in training gives one output for each of its parts."""
    probe = Probe()
    outputs = AutocastInferer()(image(), lambda inputs: [probe(inputs), 2 * probe(inputs)])
    assert [output.dtype for output in outputs] == [torch.float32] * 2
    assert torch.equal(outputs[1], 2 * probe.output.float())


def test_bfloat16_is_the_default():
    probe = Probe()
    AutocastInferer()(image(), probe)
    assert probe.output.dtype == torch.bfloat16


def test_float32_changes_nothing():
    probe = Probe()
    output = AutocastInferer("float32")(image(), probe)
    torch.testing.assert_close(output, probe.layer(image()), atol=1e-6, rtol=1e-6)
    assert probe.output.dtype == torch.float32


def test_autocast_ends_with_the_call():
    AutocastInferer("bfloat16")(image(), Probe())
    assert not torch.is_autocast_enabled("cpu")


def test_images_are_laid_out_channels_last_unless_told_otherwise():
    probe = Probe()
    AutocastInferer()(image(), probe)
    assert probe.inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(probe.inputs, image())
    AutocastInferer(memory_format=torch.contiguous_format)(probe.inputs, probe)
    assert probe.inputs.is_contiguous()
    assert torch.equal(probe.inputs, image())


def test_inputs_that_are_no_images_pass_too():
    layer = torch.nn.Linear(4, 3)
    assert AutocastInferer()(torch.ones(2, 4), layer).shape == (2, 3)


def test_further_arguments_reach_the_network():
    probe = Probe()
    AutocastInferer()(image(), probe, 1, depth=2)
    assert probe.options == ((1,), {"depth": 2})


@pytest.mark.parametrize("dtype", ["float64", "int8", "half", ""])
def test_an_unknown_precision_is_refused(dtype):
    with pytest.raises(ValueError, match=f"dtype must be 'bfloat16'.*got '{dtype}'"):
        AutocastInferer(dtype)
