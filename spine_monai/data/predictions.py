"""Stored raw outputs of the networks on held-out cases: what fusion is fitted on and compared by.

One ``.npz`` a network and fold. It holds, over n images: ``ids``, ``subjects``, ``views`` (n, 2)
(first and last landmark that the image was cut to, -1 where it was not), ``outputs``
(float16: (n, N, H, W) heatmap logits or (n, N, 2) edge fractions), ``ras_from_index`` (n, 4, 4) of
the network's grid, its ``shape`` (H, W), ``points_lps`` (n, N, 3), NaN where not annotated,
``in_view`` (n, N), whether the point lies within the image, and ``corners_lps`` (n, 2, 3), the
image's first and last pixel.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, MetaTensor
from monai.inferers import Inferer
from numpy.typing import NDArray
from torch import nn

from spine_monai.files import write_whole
from spine_monai.geometry import points_ij_from_lps, points_lps_from_ij, spacing_mm
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.transforms.decode import plain
from spine_monai.transforms.views import WHOLE, corners_lps, is_in_view

Arrays = dict[str, NDArray[Any]]
UNCUT = -1


@torch.inference_mode()
def store_predictions(
    network: nn.Module, inferer: Inferer, dataset: Dataset, device: torch.device, path: str | Path
) -> None:
    """Write a network's raw outputs on held-out cases, whole or not at all.

    Args:
        network: trained network.
        inferer: calls it.
        dataset: items with ``id``, ``subject``, ``image`` and ``points_lps``; also with ``view``
            and ``native_image`` where images are cut.
        device: where the network is.
        path: file to write.
    """
    network.eval()
    items = [dataset[index] for index in range(len(dataset))]
    outputs = [plain(inferer(item["image"][None].to(device), network))[0] for item in items]
    arrays: Arrays = {
        "ids": np.array([item["id"] for item in items]),
        "subjects": np.array([item["subject"] for item in items]),
        "views": np.array([_view_numbers(item) for item in items]),
        "outputs": torch.stack(outputs).half().numpy(),
        "ras_from_index": np.stack([np.asarray(item["image"].affine) for item in items]),
        "shape": np.array(items[0]["image"].shape[-2:]),
        "points_lps": np.stack([np.asarray(item["points_lps"]) for item in items]),
        "in_view": np.stack([is_in_view(item["points_lps"], _seen(item)) for item in items]),
        "corners_lps": np.stack([corners_lps(_seen(item)) for item in items]),
    }
    write_whole(
        Path(path),
        lambda aside: np.savez_compressed(aside, **arrays),  # type: ignore[arg-type]
    )


def load_predictions(folder: str | Path) -> Arrays:
    """Read and join all folds' predictions of one network, with ``folds`` (n,) of the images.

    Raises:
        ValueError: the folder holds no predictions, or those of different grids.
    """
    files = sorted(Path(folder).glob("fold-*.npz"))
    if not files:
        msg = f"{folder} must hold fold-*.npz predictions: got none. Train this network first."
        raise ValueError(msg)
    folds = [_read_fold(file) for file in files]
    shape = folds[0].pop("shape")
    if any((fold.pop("shape", shape) != shape).any() for fold in folds):
        msg = f"{folder} must hold predictions of one grid: got several."
        raise ValueError(msg)
    joined = {key: np.concatenate([fold[key] for fold in folds]) for key in folds[0]}
    return joined | {"shape": shape}


def _read_fold(file: Path) -> Arrays:
    arrays: Arrays = dict(np.load(file, allow_pickle=False))
    number = int(file.stem.removeprefix("fold-").split("-")[0])
    return arrays | {"folds": np.full(len(arrays["ids"]), number)}


def with_predicted_points(
    items: Sequence[Mapping[str, Any]], coordinates_dir: str | Path
) -> list[dict[str, Any]]:
    """Give network items the points that the coordinate network, not trained on them, predicted.

    Args:
        items: with ``id``, and ``view`` where the image is cut.
        coordinates_dir: predictions of the coordinate network.

    Returns:
        The items with ``predicted_lps``, (N, 3) in mm.

    Raises:
        ValueError: a case was not predicted.
    """
    predictions = load_predictions(coordinates_dir)
    rows = _rows_by_image(predictions)
    missing = sorted({str(item["id"]) for item in items if _image_key(item) not in rows})
    if missing:
        msg = f"{coordinates_dir} must hold predictions of every held-out case: none for "
        msg += f"{', '.join(missing)}. Train the coordinate network on the other folds first."
        raise ValueError(msg)
    return [
        {**item, "predicted_lps": _predicted_lps(predictions, rows[_image_key(item)])}
        for item in items
    ]


def fusion_items(
    heatmap_dir: str | Path,
    coordinates_dir: str | Path,
    *,
    exclude: Sequence[str] = (),
    whole_only: bool = False,
) -> list[dict[str, Any]]:
    """Pair both networks' predictions, image by image, for fitting the fusion.

    Args:
        heatmap_dir: predictions of the heatmap network.
        coordinates_dir: predictions of the coordinate network.
        exclude: subjects to leave out.
        whole_only: leave out images that were cut.

    Returns:
        Items with ``id``, ``subject``, ``image`` (N, H, W) logits, ``predicted_ij`` (N, 2),
        ``spacing_mm`` (2,), ``label`` (N, 2) true points_ij, ``points_lps`` (N, 3), ``in_view``
        (N,), ``view_ij`` (2, 2) and ``ras_from_index`` (4, 4), all of the heatmaps' grid;
        ``is_whole`` and ``fold``.

    Raises:
        ValueError: the two networks predicted different images, or none is left.
    """
    heatmaps, coordinates = load_predictions(heatmap_dir), load_predictions(coordinates_dir)
    left_out = {str(subject) for subject in exclude}
    rows, images = _rows_by_image(coordinates), _rows_by_image(heatmaps)
    if images.keys() - rows.keys():
        msg = f"{heatmap_dir} and {coordinates_dir} must hold the same images: got different ones."
        raise ValueError(msg)
    items = [
        _item(heatmaps, row, _predicted_lps(coordinates, rows[key]))
        for key, row in images.items()
        if heatmaps["subjects"][row] not in left_out
        and not (whole_only and key[1:] != (UNCUT, UNCUT))
    ]
    if not items:
        msg = f"predictions must hold cases of other subjects than {list(exclude)}: got none."
        raise ValueError(msg)
    return items


def _rows_by_image(predictions: Arrays) -> dict[tuple[str, int, int], int]:
    images = zip(predictions["ids"].tolist(), predictions["views"].tolist(), strict=True)
    return {(case, *view): row for row, (case, view) in enumerate(images)}


def _image_key(item: Mapping[str, Any]) -> tuple[str, int, int]:
    first, last = _view_numbers(item)
    return (str(item["id"]), first, last)


def _view_numbers(item: Mapping[str, Any]) -> tuple[int, int]:
    first, last = item.get("view", WHOLE)
    return (UNCUT if first is None else first, UNCUT if last is None else last)


def _seen(item: Mapping[str, Any]) -> MetaTensor:
    """The image without the padding that the network's grid may have."""
    image: MetaTensor = item.get("native_image", item["image"])
    return image


def _predicted_lps(predictions: Arrays, row: int) -> NDArray[np.float64]:
    fractions = torch.from_numpy(predictions["outputs"][row]).double()
    points_ij = ij_from_edge_fractions(fractions, predictions["shape"].tolist())
    return points_lps_from_ij(points_ij.numpy(), predictions["ras_from_index"][row])


def _item(heatmaps: Arrays, row: int, predicted_lps: NDArray[np.float64]) -> dict[str, Any]:
    affine, points_lps = heatmaps["ras_from_index"][row], heatmaps["points_lps"][row]

    def on_grid(points: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(points_ij_from_lps(points, affine)).float()

    return {
        "id": str(heatmaps["ids"][row]),
        "subject": str(heatmaps["subjects"][row]),
        "image": torch.from_numpy(heatmaps["outputs"][row]).float(),
        "predicted_ij": on_grid(predicted_lps),
        "spacing_mm": torch.from_numpy(spacing_mm(affine)[:2]).float(),
        "label": on_grid(points_lps),
        "points_lps": points_lps,
        "in_view": torch.from_numpy(heatmaps["in_view"][row]),
        "view_ij": on_grid(heatmaps["corners_lps"][row]),
        "is_whole": bool((heatmaps["views"][row] == UNCUT).all()),
        "fold": int(heatmaps["folds"][row]),
        "ras_from_index": affine,
    }
