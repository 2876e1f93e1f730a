"""Find the eleven lumbar landmarks on spine MRI, in patient millimetres.

For research only: never for diagnosis, treatment or any other clinical use.

The names below are the public interface; they are imported when first used, so that
``import spine_monai`` is quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.11.2"

_HOMES = {
    "FusionModel": "spine_monai.fusion",
    "LUMBAR11": "spine_monai.landmarks",
    "LandmarkSet": "spine_monai.landmarks",
    "StudyError": "spine_monai.readers",
    "Xception": "spine_monai.networks",
    "decode_heatmaps": "spine_monai.heatmaps",
    "encode_heatmaps": "spine_monai.heatmaps",
    "evaluate": "spine_monai.workflows",
    "load_registry": "spine_monai.landmarks",
    "localize": "spine_monai.workflows",
    "radial_errors": "spine_monai.metrics",
    "read_study": "spine_monai.readers",
    "summarize": "spine_monai.metrics",
    "train": "spine_monai.workflows",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - a list, made from the table above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'spine_monai' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
