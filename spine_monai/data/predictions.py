"""Stored raw outputs of the networks on held-out cases: what fusion is fitted on and compared by.

One ``.npz`` a network and fold. It holds, over n cases: ``ids``, ``subjects``, ``outputs``
(float16: (n, N, H, W) heatmap logits or (n, N, 2) edge fractions), ``ras_from_index`` (n, 4, 4) of
the network's grid, its ``shape`` (H, W), and ``points_lps`` (n, N, 3), NaN where not annotated.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.inferers import Inferer
from numpy.typing import NDArray
from torch import nn

from spine_monai.files import write_whole
from spine_monai.geometry import points_ijk_from_lps, spacing_mm
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.transforms.decode import plain

Arrays = dict[str, NDArray[Any]]


@torch.inference_mode()
def store_predictions(
    network: nn.Module, inferer: Inferer, dataset: Dataset, device: torch.device, path: str | Path
) -> None:
    """Write a network's raw outputs on held-out cases, whole or not at all.

    Args:
        network: trained network.
        inferer: calls it.
        dataset: items with ``id``, ``subject``, ``image`` and ``points_lps``.
        device: where the network is.
        path: file to write.
    """
    network.eval()
    items = [dataset[index] for index in range(len(dataset))]
    outputs = [plain(inferer(item["image"][None].to(device), network))[0] for item in items]
    arrays: Arrays = {
        "ids": np.array([item["id"] for item in items]),
        "subjects": np.array([item["subject"] for item in items]),
        "outputs": torch.stack(outputs).half().numpy(),
        "ras_from_index": np.stack([np.asarray(item["image"].affine) for item in items]),
        "shape": np.array(items[0]["image"].shape[-2:]),
        "points_lps": np.stack([np.asarray(item["points_lps"]) for item in items]),
    }
    write_whole(
        Path(path),
        lambda aside: np.savez_compressed(aside, **arrays),  # type: ignore[arg-type]
    )


def load_predictions(folder: str | Path) -> Arrays:
    """Read and join all folds' predictions of one network.

    Raises:
        ValueError: the folder holds no predictions, or those of different grids.
    """
    files = sorted(Path(folder).glob("fold-*.npz"))
    if not files:
        msg = f"{folder} must hold fold-*.npz predictions: got none. Train this network first."
        raise ValueError(msg)
    folds = [dict(np.load(file, allow_pickle=False)) for file in files]
    shape = folds[0].pop("shape")
    if any((fold.pop("shape", shape) != shape).any() for fold in folds):
        msg = f"{folder} must hold predictions of one grid: got several."
        raise ValueError(msg)
    joined = {key: np.concatenate([fold[key] for fold in folds]) for key in folds[0]}
    return joined | {"shape": shape}


def fusion_items(
    heatmap_dir: str | Path, coordinates_dir: str | Path, *, exclude: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Pair both networks' predictions, case by case, for fitting the fusion.

    Args:
        heatmap_dir: predictions of the heatmap network.
        coordinates_dir: predictions of the coordinate network.
        exclude: subjects to leave out.

    Returns:
        Items with ``id``, ``subject``, ``image`` (N, H, W) logits, ``predicted_ij`` (N, 2),
        ``spacing_mm`` (2,), ``label`` (N, 2) true points_ij, ``points_lps`` (N, 3) and
        ``ras_from_index`` (4, 4), all of the heatmaps' grid.

    Raises:
        ValueError: the two networks predicted different cases, or none is left.
    """
    heatmaps, coordinates = load_predictions(heatmap_dir), load_predictions(coordinates_dir)
    rows = {case: row for row, case in enumerate(coordinates["ids"].tolist())}
    if set(rows) != set(heatmaps["ids"].tolist()):
        msg = f"{heatmap_dir} and {coordinates_dir} must hold the same cases: got different ones."
        raise ValueError(msg)
    items = [
        _item(heatmaps, row, coordinates["outputs"][rows[case]])
        for row, case in enumerate(heatmaps["ids"].tolist())
        if heatmaps["subjects"][row] not in exclude
    ]
    if not items:
        msg = f"predictions must hold cases of other subjects than {list(exclude)}: got none."
        raise ValueError(msg)
    return items


def _item(heatmaps: Arrays, row: int, fractions: NDArray[np.float16]) -> dict[str, Any]:
    affine, shape = heatmaps["ras_from_index"][row], heatmaps["shape"].tolist()
    points_lps = heatmaps["points_lps"][row]
    points_ij = points_ijk_from_lps(points_lps, affine)[:, :2]
    return {
        "id": str(heatmaps["ids"][row]),
        "subject": str(heatmaps["subjects"][row]),
        "image": torch.from_numpy(heatmaps["outputs"][row]).float(),
        "predicted_ij": ij_from_edge_fractions(torch.from_numpy(fractions).float(), shape),
        "spacing_mm": torch.from_numpy(spacing_mm(affine)[:2]).float(),
        "label": torch.from_numpy(points_ij).float(),
        "points_lps": points_lps,
        "ras_from_index": affine,
    }
