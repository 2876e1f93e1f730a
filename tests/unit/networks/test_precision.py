"""Which arithmetic is chosen, and that the reason is said once."""

import logging

import pytest
import torch

from spine_monai.networks import precision
from spine_monai.networks.precision import choose_precision, has_bfloat16


@pytest.fixture(autouse=True)
def nothing_chosen_yet():
    choose_precision.cache_clear()
    yield
    choose_precision.cache_clear()


def processor(monkeypatch, *, one_dnn, avx512, amx, machine="x86_64"):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: one_dnn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)


def test_what_is_asked_for_is_taken():
    assert choose_precision("float32", "cpu") is torch.float32
    assert choose_precision("bfloat16", "cpu") is torch.bfloat16


def test_a_processor_without_bfloat16_computes_in_float32_and_says_why(monkeypatch, caplog):
    processor(monkeypatch, one_dnn=False, avx512=False, amx=False)
    with caplog.at_level(logging.INFO):
        assert choose_precision("auto", "cpu") is torch.float32
    assert caplog.messages == [
        "networks run in float32: this processor has no bfloat16 instructions"
    ]


def test_the_reason_is_logged_once(monkeypatch, caplog):
    processor(monkeypatch, one_dnn=True, avx512=False, amx=True)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert choose_precision("auto", "cpu") is torch.bfloat16
    assert caplog.messages == ["networks run in bfloat16: this processor has instructions for it"]


def test_bfloat16_that_is_only_emulated_is_not_taken(monkeypatch):
    processor(monkeypatch, one_dnn=True, avx512=False, amx=False)
    assert not has_bfloat16("cpu")


def test_other_processors_are_judged_by_onednn_alone(monkeypatch):
    processor(monkeypatch, one_dnn=True, avx512=False, amx=False, machine="aarch64")
    assert has_bfloat16("cpu")


@pytest.mark.parametrize("is_native", [True, False])
def test_a_gpu_is_asked_for_native_bfloat16(monkeypatch, is_native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: is_native)
    assert has_bfloat16("cuda") is is_native


def test_unknown_devices_compute_in_float32(monkeypatch):
    processor(monkeypatch, one_dnn=True, avx512=True, amx=True)
    assert choose_precision("auto", "xpu") is torch.float32


@pytest.mark.parametrize("wrong", ["float16", "bf16", ""])
def test_another_precision_is_refused(wrong):
    with pytest.raises(ValueError, match=f"precision must be 'auto', .*: got '{wrong}'"):
        choose_precision(wrong, "cpu")


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [
        ("float32", "cpu", torch.channels_last),
        ("bfloat16", "cpu", torch.contiguous_format),
        ("float32", "cuda", torch.channels_last),
        ("bfloat16", "cuda", torch.channels_last),
    ],
)
def test_only_bfloat16_on_a_processor_is_not_laid_out_channels_last(wanted, device, expected):
    assert precision.group_norm_memory_format(wanted, device) == expected
