"""Data-parallel training under ``torchrun``: NCCL on GPUs, gloo without."""

import os

import torch
import torch.distributed


def start() -> None:
    """Join the process group that ``torchrun`` describes in the environment.

    Raises:
        ValueError: the process was not started by ``torchrun``.
    """
    if "LOCAL_RANK" not in os.environ:
        msg = "data-parallel training must be started by torchrun: LOCAL_RANK is not set."
        raise ValueError(msg)
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def local_device() -> torch.device:
    """Return this process's own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def device_ids() -> list[torch.device] | None:
    """Return what ``DistributedDataParallel`` asks for: this process's GPU, nothing on the CPU."""
    return [local_device()] if torch.cuda.is_available() else None


def stop() -> None:
    """Leave the process group."""
    torch.distributed.destroy_process_group()
