"""Windows on maps: parts of one static shape, each wholly inside its map.

How large they must be follows from the spacing where its numbers may be read (``may_look``), and
else from ``FINEST_MM``: graphs and GPUs must know shapes beforehand.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FINEST_MM = 0.25  # spacing to which a GPU or an exported graph decodes; finer images get no points


def is_graph() -> bool:
    """Return whether operations are recorded, for whatever tensors they may get later."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def may_look(values: Tensor) -> bool:
    """Return whether numbers may be read from a tensor: where it costs no wait and fixes no graph.

    What is done with them must change how much is computed, not what comes out.
    """
    return values.is_cpu and not is_graph()


def most_px(radius_mm: float, spacing_mm: Tensor) -> tuple[int, int]:
    """Return how many rows and columns a radius spans at most in images of (B, 2) spacing."""
    finest_mm = spacing_mm.amin(0).tolist() if may_look(spacing_mm) else (FINEST_MM, FINEST_MM)
    rows, columns = (math.ceil(radius_mm / step_mm) for step_mm in finest_mm)
    return rows, columns


def is_resolved(spacing_mm: Tensor) -> Tensor:
    """Return (B,) whether ``most_px`` is enough for images of (B, 2) spacing."""
    finest_mm = 0.0 if may_look(spacing_mm) else FINEST_MM
    return (spacing_mm >= finest_mm).all(-1)


def window_pixels(
    centres_ij: Tensor, reach_px: tuple[int, int], shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return which rows and columns the windows about pixels have; at the border they are shifted.

    Args:
        centres_ij: (..., 2) whole pixels, as integers.
        reach_px: how many rows and columns the windows reach to either side.
        shape: (H, W) of the maps.

    Returns:
        (..., h) rows and (..., w) columns, where h and w depend on ``reach_px`` and ``shape`` only.
    """
    sizes = [min(2 * reach + 1, size) for reach, size in zip(reach_px, shape, strict=True)]
    rows, columns = (
        (centres_ij[..., axis] - reach_px[axis]).clamp(0, shape[axis] - size)[..., None]
        + torch.arange(size, device=centres_ij.device)
        for axis, size in enumerate(sizes)
    )
    return rows, columns


def read_windows(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (..., h, w) values of (..., H, W) maps in (..., h) rows and (..., w) columns."""
    flat = rows[..., :, None] * maps.shape[-1] + columns[..., None, :]
    return maps.flatten(-2).gather(-1, flat.flatten(-2)).view_as(flat)
