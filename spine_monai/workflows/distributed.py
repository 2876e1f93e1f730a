"""Data-parallel training under ``torchrun``: NCCL on GPUs, gloo without.

Every process trains on its own share of the cases; gradients are averaged at every step. The first
process alone writes; the others say nothing but warnings.
"""

import logging
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
    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if not is_first():
        logging.disable(logging.INFO)


def rank() -> int:
    """Return the number of this process among all; 0 outside a process group."""
    is_there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if is_there else 0


def is_first() -> bool:
    """Whether this process is the one that writes; so is one that is alone."""
    return rank() == 0


def local_device() -> torch.device:
    """Return this process's own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def device_ids() -> list[torch.device] | None:
    """Return what ``DistributedDataParallel`` asks for: this process's GPU, nothing on the CPU."""
    return [local_device()] if torch.cuda.is_available() else None


def gathered(number: int) -> list[int]:
    """Return the number that each process gives, in their order; its own where it is alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [number]
    own = torch.tensor([number], device=local_device())
    parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, own)
    return [int(part) for part in parts]


def stop() -> None:
    """Leave the process group."""
    torch.distributed.destroy_process_group()
