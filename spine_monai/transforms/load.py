"""Load a study as a volume in the one orientation that the networks know."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from spine_monai.readers import read_study


class LoadSpineStudyd(MapTransform):
    """Read the sagittal T2 series of a study, or a volume file.

    MONAI's ``LoadImaged`` is not used: handed a folder, it mixes series and invents geometry.

    Adds to the item, beside the (1, I, J, K) MetaTensor under each key:
        ``<key>_source``: where the image came from (kind, path, UIDs).
        ``<key>_instance_uids``: SOPInstanceUID of each slice, empty for volume files.
        ``<key>_warnings``: what reading found that a user should know, each with code and message.

    Raises:
        StudyError: the study cannot be used.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each study by its volume."""
        item = dict(data)
        for key in self.key_iterator(item):
            volume = read_study(item[key])
            item[key] = volume.image
            item[f"{key}_source"] = volume.source
            item[f"{key}_instance_uids"] = list(volume.instance_uids)
            item[f"{key}_warnings"] = list(volume.warnings)
        return item
