"""An inferer that runs a network in reduced precision, on the CPU too; MONAI's is CUDA only."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


class AutocastInferer(Inferer):
    """Call the network under ``torch.autocast``, channels last, and give its output in float32.

    Args:
        dtype: ``bfloat16``, ``float16``, or ``float32`` for no autocast at all.

    Raises:
        ValueError: the dtype is none of these.
    """

    def __init__(self, dtype: str = "bfloat16") -> None:
        super().__init__()
        if dtype not in ("bfloat16", "float16", "float32"):
            msg = f"dtype must be 'bfloat16', 'float16' or 'float32': got {dtype!r}."
            raise ValueError(msg)
        self.dtype: torch.dtype = getattr(torch, dtype)

    def __call__(
        self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> Tensor | list[Tensor]:
        """Return ``network(inputs)`` as float32, each part of it where that is a list."""
        is_reduced = self.dtype != torch.float32
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=is_reduced):
            output: Tensor | list[Tensor] = network(_channels_last(inputs), *args, **kwargs)
        return [part.float() for part in output] if isinstance(output, list) else output.float()


def _channels_last(inputs: Tensor) -> Tensor:
    """Images in the memory layout that convolutions are fastest in."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
