import pytest
import torch
from monai.bundle import ConfigParser

from spine_monai.workflows import localize
from spine_monai.workflows.devices import device_value


def test_a_device_is_one_for_the_bundle():
    parser = ConfigParser({"imports": ["$import torch"], "device": device_value("cpu")})
    assert parser.get_parsed_content("device") == torch.device("cpu")


@pytest.mark.parametrize("device", ["foo", "cuda:x", "cpu' if True else 'x", "0"])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(ValueError, match="device must be one of PyTorch's, such as cpu or cuda:0"):
        device_value(device, is_here=False)


@pytest.mark.parametrize("device", ["cuda:99", "xpu:99", "meta", "hpu", "privateuseone"])
def test_a_device_that_is_not_here_is_refused(device):
    expected = f"device must be one that this computer and its PyTorch have: got {device}, .* cpu"
    with pytest.raises(ValueError, match=expected):
        device_value(device)


def test_a_device_may_be_another_computers():
    assert device_value("cuda:99", is_here=False) == "$torch.device('cuda:99')"


@pytest.mark.parametrize("series", ["$print(1)", "@device", "%other.yaml"])
def test_a_series_is_not_evaluated_either(tmp_path, series):
    expected = "series_uid must be a SeriesInstanceUID or a series' name: got one that begins with"
    with pytest.raises(ValueError, match=expected):
        localize([tmp_path], tmp_path / "out", series_uid=series)
