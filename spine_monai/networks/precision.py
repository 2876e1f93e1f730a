"""Which arithmetic inference runs in, and why."""

import functools
import logging
import platform
from typing import Any

import torch

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16")


@functools.cache
def choose_precision(precision: str, device_type: str) -> torch.dtype:
    """Return the arithmetic for a kind of device; the reason is logged once.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the device has
            instructions for it. Emulated, it is several times slower than float32.
        device_type: ``cpu``, ``cuda`` ...

    Raises:
        ValueError: the precision is none of these.
    """
    if precision not in PRECISIONS:
        msg = f"precision must be 'auto', 'float32' or 'bfloat16': got {precision!r}."
        raise ValueError(msg)
    if precision != "auto":
        logger.info("networks run in %s, as asked", precision)
        asked: torch.dtype = getattr(torch, precision)
        return asked
    device = "this processor" if device_type == "cpu" else f"this {device_type} device"
    if has_bfloat16(device_type):
        logger.info("networks run in bfloat16: %s has instructions for it", device)
        return torch.bfloat16
    logger.info("networks run in float32: %s has no bfloat16 instructions", device)
    return torch.float32


def precision_name(precision: str, device: Any) -> str:
    """Return what ``choose_precision`` says for a device, by name: float32 or bfloat16."""
    return str(choose_precision(precision, torch.device(device).type)).removeprefix("torch.")


def group_norm_memory_format(precision: str, device: Any) -> torch.memory_format:
    """Return the layout in which networks with group norm train fastest.

    That is channels last, but for bfloat16 on a CPU: there PyTorch's gradient of group norm takes
    many times as long in it.
    """
    is_cpu = torch.device(device).type == "cpu"
    is_slow = is_cpu and precision_name(precision, device) == "bfloat16"
    return torch.contiguous_format if is_slow else torch.channels_last


def has_bfloat16(device_type: str) -> bool:
    """Return whether a kind of device computes in bfloat16 natively."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # oneDNN also emulates bfloat16 on x86 processors with AVX-512 alone.
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return not is_x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
