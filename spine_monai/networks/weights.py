"""Weights in and out of files: half precision on disk, never any code.

A weights file is a plain state dict. Loading one runs no code (``weights_only=True``) and fails in
one line that names the file when it is not what the network needs.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from spine_monai.files import write_whole

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, file: str | Path) -> Network:
    """Fill a network with the weights of a file and return it.

    Args:
        network: the network that the weights were saved from, or one of the same shape.
        file: a state dict, in any floating precision.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no state dict, holds code, or does not fit the network.
    """
    path = Path(file)
    state = read_state(path)
    expected = network.state_dict()
    wrong = sorted(expected.keys() ^ state.keys())
    wrong += [k for k in expected if k in state and expected[k].shape != state[k].shape]
    if wrong:
        msg = (
            f"{path} must hold the {len(expected)} tensors of {type(network).__name__}: got "
            f"{len(state)}, {len(wrong)} of them missing, unknown or of another shape (first: "
            f"{wrong[0]}). Use the weights and the configuration of one and the same bundle."
        )
        raise ValueError(msg)
    network.load_state_dict(state)
    return network


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no state dict of tensors.
    """
    if not path.is_file():
        msg = f"weights file is missing: {path}. Train it, or copy a complete bundle."
        raise FileNotFoundError(msg)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        msg = (
            f"{path} must be a PyTorch state dict of plain tensors: it is damaged or holds code, "
            "which is never run. Get the file again from where the bundle came."
        )
        raise ValueError(msg) from error
    is_state = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not is_state or not all(isinstance(value, Tensor) for value in state.values()):
        msg = f"{path} must be a state dict (name -> tensor): got {type(state).__name__}."
        raise ValueError(msg)
    return state


def save_weights(network: nn.Module, file: str | Path) -> None:
    """Write a network's state dict in half precision, whole or not at all.

    Args:
        network: what to save; its parameters may be on any device.
        file: path to write; folders are made.
    """
    tensors = network.state_dict()
    halves = {_identity(value): _halve(value.detach().cpu()) for value in tensors.values()}
    # What shares memory in the network shares it in the file.
    state = {name: halves[_identity(value)] for name, value in tensors.items()}
    buffer = io.BytesIO()  # a file's name would go into it, and equal weights differ
    torch.save(state, buffer)
    write_whole(Path(file), lambda path: path.write_bytes(buffer.getvalue()))


def with_output_bias(network: Network, bias: float | Sequence[float] | Tensor) -> Network:
    """Set the bias of the network's last layer that has one, and return the network.

    A heatmap network that starts at -6 starts with empty maps instead of grey ones; a coordinate
    network that starts at the mean shape starts in the middle of the spine.

    Args:
        network: a network whose last biased layer is its output layer.
        bias: one value, or one for each output of that layer in any shape.

    Raises:
        ValueError: the network has no bias, or one of another size.
    """
    biases = [getattr(module, "bias", None) for module in network.modules()]
    values = torch.as_tensor(bias, dtype=torch.float32).flatten()
    found = [value for value in biases if isinstance(value, Tensor)]
    if not found or len(values) not in (1, len(found[-1])):
        size = len(found[-1]) if found else 0
        msg = f"bias must be one value or {size}, as many as the network's last layer has: got "
        msg += f"{len(values)}."
        raise ValueError(msg)
    output_bias = found[-1]
    with torch.no_grad():
        output_bias.copy_(values.expand_as(output_bias))
    return network


def _identity(value: Tensor) -> tuple[object, ...]:
    """The same for tensors that are one and the same memory, seen the same way."""
    return (value.data_ptr(), value.shape, value.stride(), value.dtype)


def _halve(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
