"""From files to volumes with geometry: index a study, choose a series and say why, read it."""

from spine_monai.readers.errors import StudyError
from spine_monai.readers.study import LocatedStudy, Volume, locate_study, read_study

__all__ = ["LocatedStudy", "StudyError", "Volume", "locate_study", "read_study"]
