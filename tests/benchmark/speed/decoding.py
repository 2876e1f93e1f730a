"""Decoding: both networks' outputs to landmarks, against the same with every map written out.

    python -m speed decoding

On drawn columns over a dark, uneven background, with the shipped weights (11 of the 13 landmarks
where so many are asked for).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speed.full_map import decode_alone, decode_jointly
from speed.timing import goal, side_by_side
from spine_monai.fusion import FusedPoints, FusionModel
from spine_monai.joint import JointFusion

WEIGHTS = Path(__file__).parents[3] / "bundles" / "spine_landmarks" / "models" / "fusion.pt"
ROWS_MM = 307.0  # that the maps show from head to foot; their pixels are square
LARGE, SHIPPED = (11, 512, 512), (13, 256, 192)
KINDS = (0, 1) * 6 + (0,)
POINTS_PX, RELATIVE = 1e-3, 1e-4  # how far both ways may differ


def shipped_joint(landmarks: int) -> JointFusion:
    """Return the shipped fusion of so many landmarks, from the second one on if not of all."""
    state = {name: value.float() for name, value in torch.load(WEIGHTS).items()}
    first = 0 if landmarks == len(KINDS) else 1
    for name, value in state.items():
        if value.ndim:
            count = landmarks - (len(KINDS) - len(value))
            state[name] = value[first : first + count]
    joint = JointFusion(KINDS[first : first + landmarks], target_sigma_mm=3.6)
    joint.load_state_dict(state)
    return joint.eval()


def columns(size: tuple[int, int, int], images: int = 1, seed: int = 0) -> list[Tensor]:
    """Return logits, predicted points, spacing and view of images with a spine each."""
    landmarks, height, width = size
    generator = torch.Generator().manual_seed(seed)
    step_mm = ROWS_MM / height
    spacing_mm = torch.full((images, 2), step_mm)
    levels = torch.arange(float(landmarks)) - (landmarks - 1) / 2
    spine_mm = torch.stack([150 + 16.5 * levels, step_mm * width / 2 + 12 * (levels / 5).sin()], -1)
    own_mm = spine_mm + torch.randn(images, landmarks, 2, generator=generator)
    coarse = torch.randn(images, landmarks, 32, 16, generator=generator)
    logits = 1.5 * F.interpolate(coarse, (height, width), mode="bicubic") - 11
    for level, top in ((0, 2.0), (-2, -1.0), (2, -2.0)):  # its own, and its neighbours' of its kind
        logits = torch.maximum(
            logits, top - _squares(own_mm + torch.tensor([33.0, 0]) * level / 2, size, spacing_mm)
        )
    predicted_mm = own_mm + 6 * torch.randn(images, landmarks, 2, generator=generator)
    view_ij = torch.tensor([[0.0, 0.0], [height - 1.0, width - 1.0]]).expand(images, 2, 2)
    return [logits.contiguous(), predicted_mm / spacing_mm[:, None], spacing_mm, view_ij]


def _squares(points_mm: Tensor, size: tuple[int, int, int], spacing_mm: Tensor) -> Tensor:
    """(B, N, H, W) half squared distances in units of the heatmaps' sigma."""
    axes = [
        (
            (torch.arange(float(count)) * spacing_mm[0, axis] - points_mm[..., axis, None]) / 3.6
        ).square()
        for axis, count in enumerate(size[1:])
    ]
    return (axes[0][..., :, None] + axes[1][..., None, :]) / 2


def naive(logits: Tensor, predicted_ij: Tensor, spacing_mm: Tensor, sigma_mm: Tensor) -> Any:
    """Return the argmax of the plain product, as in the paper: nothing else of what we give."""
    maps, points, step = logits.numpy(), predicted_ij.numpy(), spacing_mm.numpy()[:, None]
    prior = [
        np.exp(
            -0.5
            * (
                (np.arange(count, dtype=np.float32) - points[..., axis, None])
                * step[..., axis, None]
                / sigma_mm.numpy()[:, axis, None]
            )
            ** 2
        )
        for axis, count in enumerate(maps.shape[2:])
    ]
    product = prior[0][..., :, None] * prior[1][..., None, :] / (1 + np.exp(-maps))
    return product.reshape(*maps.shape[:2], -1).argmax(-1)


def differences(ours: FusedPoints, whole: FusedPoints) -> dict[str, float]:
    """Return how far two results differ at most; infinite where one has a landmark more."""
    if not torch.equal(torch.isnan(ours.points_ij), torch.isnan(whole.points_ij)):
        return {"points_px": float("inf"), "relative": float("inf")}
    pairs = [(ours.confidence, whole.confidence), (ours.radius95_mm, whole.radius95_mm)]
    relative = [((a - b).abs() / b.abs().clamp_min(1e-6)).nan_to_num(0.0).max() for a, b in pairs]
    points = (ours.points_ij - whole.points_ij).abs().nan_to_num(0.0).max()
    return {"points_px": float(points), "relative": float(max(relative))}


def _row(
    name: str,
    given: list[Tensor],
    ours: Callable[..., FusedPoints],
    whole: Callable[..., FusedPoints],
) -> dict[str, Any]:
    apart = differences(ours(*given), whole(*given))
    one = lambda: naive(*given[:3], shipped_sigma(given[0].shape[1]))  # noqa: E731
    times = side_by_side(
        {"ours": lambda: ours(*given), "whole": lambda: whole(*given), "naive": one}
    )
    return {
        "what": name,
        "ours_ms": round(times["ours"], 2),
        "full_map_ms": round(times["whole"], 1),
        "times_faster": round(times["whole"] / times["ours"], 1),
        "naive_product_and_argmax_ms": round(times["naive"], 2),
        "points_differ_px": apart["points_px"],
        "confidence_and_radius_differ": apart["relative"],
    }


def shipped_sigma(landmarks: int) -> Tensor:
    """Return the shipped spread of the coordinates."""
    return shipped_joint(landmarks).fusion.prior_sigma_mm.detach()


def measure() -> dict[str, Any]:
    """Time both ways, and compare what they give."""
    rows = []
    for size, images in ((LARGE, 1), (SHIPPED, 1), (SHIPPED, 9)):
        joint, given = shipped_joint(size[0]), columns(size, images)
        name = f"{images} x " + " x ".join(map(str, size))
        model = joint.fusion
        rows.append(
            _row(
                f"each landmark alone, {name}",
                given,
                model.decode,
                lambda *g, m=model: decode_alone(m, *g),
            )
        )
        rows.append(
            _row(
                f"all together, {name}",
                given,
                joint.decode,
                lambda *g, j=joint: decode_jointly(j, *g),
            )
        )
    cold = FusionModel(LARGE[0])
    given = columns(LARGE)
    rows.append(
        _row(
            "each landmark alone, temperature 1, 1 x 11 x 512 x 512",
            given,
            cold.decode,
            lambda *g: decode_alone(cold, *g),
        )
    )
    return {"title": "Decoding", "rows": rows, "goals": _goals(rows), "notes": _notes()}


def _goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    goals = []
    for row in rows[:2]:
        goals.append(goal(f"{row['what']}: time", row["ours_ms"], "<=", 5, "ms"))
        goals.append(
            goal(f"{row['what']}: against the full map", row["times_faster"], ">=", 20, "times")
        )
    points = max(row["points_differ_px"] for row in rows)
    relative = max(row["confidence_and_radius_differ"] for row in rows)
    goals.append(goal("points equal to the full map's", points, "<=", POINTS_PX, "px"))
    goals.append(goal("confidence and radius equal to the full map's", relative, "<=", RELATIVE))
    return goals


def _notes() -> list[str]:
    return [
        f"{torch.get_num_threads()} threads; drawn columns, the shipped weights",
        "The full map is the log posterior of every pixel; candidates there by pooling.",
        "The naive product gives whole pixels only: no point below the pixel, no confidence.",
    ]
