"""An inferer that runs a network in reduced precision, on the CPU too; MONAI's is CUDA only."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


class AutocastInferer(Inferer):
    """Call the network under ``torch.autocast`` and give its output in float32.

    Args:
        dtype: ``bfloat16``, ``float16``, or ``float32`` for no autocast at all.
        memory_format: layout of the images; the network's weights should have the same.

    Raises:
        ValueError: the dtype is none of these.
    """

    def __init__(
        self, dtype: str = "bfloat16", memory_format: torch.memory_format = torch.channels_last
    ) -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float16", "float32"):
            msg = f"dtype must be 'bfloat16', 'float16' or 'float32': got {dtype!r}."
            raise ValueError(msg)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.memory_format = memory_format

    def __call__(
        self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> Tensor | list[Tensor]:
        """Return ``network(inputs)`` as float32, each part of it where that is a list."""
        is_reduced = self.dtype != torch.float32
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.memory_format)
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=is_reduced):
            output: Tensor | list[Tensor] = network(inputs, *args, **kwargs)
        return [part.float() for part in output] if isinstance(output, list) else output.float()
