"""Where the networks compute: a device that the user names, checked before any work."""

import torch


def device_value(device: str, *, is_here: bool = True) -> str:
    """Return a device as the value that ``inference.yaml`` takes for its id ``device``.

    Args:
        device: such as ``cpu`` or ``cuda:0``.
        is_here: whether this computer must have it; else its name alone is checked.

    Raises:
        ValueError: there is no such device.
    """
    try:
        named = torch.device(device)
    except RuntimeError as error:
        msg = f"device must be one of PyTorch's, such as cpu or cuda:0: got {device!r}. "
        msg += "Name another one, or leave it out."
        raise ValueError(msg) from error
    if is_here and not _is_usable(named):
        msg = f"device must be one that this computer and its PyTorch have: got {named}, expected "
        msg += f"{', '.join(_usual_devices())}. Name another one, or leave it out."
        raise ValueError(msg)
    return f"$torch.device({str(named)!r})"


def _is_usable(device: torch.device) -> bool:
    if device.type == "cuda":  # nothing is put on it, for this process would keep some of it
        return (device.index or 0) < torch.cuda.device_count()
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError):  # as where a device's module is missing
        return False
    return True


def _usual_devices() -> list[str]:
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
