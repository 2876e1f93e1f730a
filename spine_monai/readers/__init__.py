"""From files to volumes with geometry: index a study, choose a series and say why, read it.

The names below are imported when first used, so that indexing does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spine_monai.readers.errors import StudyError
    from spine_monai.readers.location import LocatedStudy, locate_study
    from spine_monai.readers.study import Volume, read_study

_HOMES = {
    "LocatedStudy": "spine_monai.readers.location",
    "StudyError": "spine_monai.readers.errors",
    "Volume": "spine_monai.readers.study",
    "locate_study": "spine_monai.readers.location",
    "read_study": "spine_monai.readers.study",
}
__all__ = ["LocatedStudy", "StudyError", "Volume", "locate_study", "read_study"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'spine_monai.readers' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
