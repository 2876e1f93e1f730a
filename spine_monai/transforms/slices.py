"""One sagittal slice of a volume, its place in the patient kept."""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation, SpatialCrop, SqueezeDim

from spine_monai.geometry import apply_affine, lps_from_column_row

UPRIGHT = Orientation("IPR", labels=(("L", "R"), ("P", "A"), ("I", "S")))


def upright(volume: MetaTensor) -> MetaTensor:
    """Bring a (1, I, J, K) volume to the axes row (inferior), column (posterior), slice (right)."""
    return cast(MetaTensor, UPRIGHT(volume))


class SagittalSliced(MapTransform):
    """Turn a volume upright (row down, column to posterior) and take one sagittal slice of it.

    The slice is the item's ``slice_index`` where there is one, else the middle one. Slices are
    counted towards the patient's right, from 0, whatever the order in the file. The (1, H, W)
    MetaTensor keeps its 4 x 4 affine.

    Adds to the item ``slice``: ``index``, and the native slice, as it stands in the file for DICOM
    and upright otherwise: ``rows``, ``columns``, ``lps_from_column_row`` (4 x 4) and, for DICOM,
    ``SOPInstanceUID``; and ``native_<key>``, the slice itself for whoever draws on it.

    Raises:
        ValueError: ``slice_index`` lies outside the volume.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.drop_axis = SqueezeDim(dim=-1, update_meta=False)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the volume by the slice."""
        item = dict(data)
        for key in self.key_iterator(item):
            native = item[key]
            volume = upright(native)
            index = _slice_index(item, volume.shape[-1])
            slab = SpatialCrop(roi_slices=[slice(None), slice(None), slice(index, index + 1)])
            image = slab(volume)
            item["slice"] = _native_slice(item, key, native, image) | {"index": index}
            item[key] = self.drop_axis(image)
            item[f"native_{key}"] = item[key]
        return item


def _slice_index(item: Mapping[Hashable, Any], count: int) -> int:
    index = int(item.get("slice_index", count // 2))
    if not 0 <= index < count:
        msg = f"slice_index must lie within the {count} slices of the volume: got {index}."
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
