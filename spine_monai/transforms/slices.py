"""Sagittal slices of a volume, their place in the patient kept."""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation, SpatialCrop, SqueezeDim

from spine_monai.geometry import apply_affine, lps_from_column_row, spacing_mm

DROP_SLICE_AXIS = SqueezeDim(dim=-1, update_meta=False)
UPRIGHT = Orientation("IPR", labels=(("L", "R"), ("P", "A"), ("I", "S")))


def upright(volume: MetaTensor) -> MetaTensor:
    """Bring a (1, I, J, K) volume to the axes row (inferior), column (posterior), slice (right)."""
    return cast(MetaTensor, UPRIGHT(volume))


class SagittalSliced(MapTransform):
    """Turn a volume upright (row down, column to posterior) and take one sagittal slice of it.

    The slice is the item's ``slice_index`` where there is one, else the middle one. Slices are
    counted towards the patient's right, from 0, whatever the order in the file. The (1, H, W)
    MetaTensor keeps its 4 x 4 affine.

    Adds to the item ``slice``: ``index``, ``count`` of slices, and the native slice, as it stands
    in the file for DICOM and upright otherwise: ``rows``, ``columns``, ``lps_from_column_row``
    (4 x 4) and, for DICOM, ``SOPInstanceUID``; and ``native_<key>``, the slice itself for whoever
    draws on it.

    Raises:
        ValueError: ``slice_index`` lies outside the volume.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the volume by the slice."""
        item = dict(data)
        for key in self.key_iterator(item):
            native = item[key]
            volume = upright(native)
            index = _slice_index(item, volume.shape[-1])
            item = item | _slice_items(item, key, native, volume, index)
        return item


class CentralSlicesd(MapTransform):
    """Turn a volume upright and take its central sagittal slices: a list with one item a slice.

    The items are those of ``SagittalSliced``, in the order of the slices; the transforms that
    follow are applied to each, and MONAI's loader makes one batch of them. An item that has a
    ``slice_index`` gives that slice alone.

    Args:
        keys: one key.
        count: most slices that are taken.
        apart_mm: volumes of thinner slices give every second slice, or third ..., about so far
            apart.
        allow_missing_keys: as in MONAI.

    Raises:
        ValueError: ``slice_index`` lies outside the volume.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        count: int = 9,
        apart_mm: float = 3.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.count = count
        self.apart_mm = apart_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Return one item a slice."""
        item = dict(data)
        key = next(iter(self.key_iterator(item)))
        native = item[key]
        volume = upright(native)
        total, step_mm = volume.shape[-1], float(spacing_mm(volume.affine)[2])
        if "slice_index" in item:
            indices = [_slice_index(item, total)]
        else:
            indices = central_indices(total, self.count, max(1, round(self.apart_mm / step_mm)))
        return [item | _slice_items(item, key, native, volume, index) for index in indices]


def central_indices(total: int, count: int, step: int) -> list[int]:
    """Return at most ``count`` slices about the middle one of a volume, ``step`` apart."""
    middle = total // 2
    offsets = range(-((count - 1) // 2), count // 2 + 1)
    return [i for offset in offsets if 0 <= (i := middle + step * offset) < total]


def _slice_items(
    item: Mapping[Hashable, Any],
    key: Hashable,
    native: MetaTensor,
    volume: MetaTensor,
    index: int,
) -> dict[Hashable, Any]:
    slab = SpatialCrop(roi_slices=[slice(None), slice(None), slice(index, index + 1)])
    image = slab(volume)
    flat = DROP_SLICE_AXIS(image)
    frame = _native_slice(item, key, native, image) | {"index": index}
    frame |= {"count": int(volume.shape[-1])}
    return {"slice": frame, key: flat, f"native_{key}": flat}


def _slice_index(item: Mapping[Hashable, Any], count: int) -> int:
    index = int(item.get("slice_index", count // 2))
    if not 0 <= index < count:
        msg = (
            f"slice_index must lie within the {count} slices of the volume: got {index}. Name one "
        )
        msg += f"from 0 to {count - 1}."
        raise ValueError(msg)
    return index


def _native_slice(
    item: Mapping[Hashable, Any], key: Hashable, native: MetaTensor, image: MetaTensor
) -> dict[str, Any]:
    uids = item.get(f"{key}_instance_uids", [])
    if not uids:
        return _frame(image, 0)
    centre_ras = apply_affine(image.affine, [0.0, 0.0, 0.0])
    stored = int(np.rint(apply_affine(np.linalg.inv(native.affine), centre_ras)[2]))
    return _frame(native, stored) | {"SOPInstanceUID": uids[stored]}


def _frame(volume: MetaTensor, slice_index: int) -> dict[str, Any]:
    return {
        "rows": int(volume.shape[1]),
        "columns": int(volume.shape[2]),
        "lps_from_column_row": lps_from_column_row(volume.affine, slice_index),
    }
