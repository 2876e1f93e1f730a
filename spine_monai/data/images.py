"""Find the image of a case by its name."""

from collections import defaultdict
from functools import cached_property
from pathlib import Path

from spine_monai.data.conversion import LeftOutError
from spine_monai.data.instances import AnnotatedImage
from spine_monai.files import place_of
from spine_monai.readers import StudyError
from spine_monai.readers.index import index_study
from spine_monai.readers.volumes import is_volume_file, volume_stem

CHANNEL_SUFFIX = "_0000"  # of the first channel of an image, as nnU-Net names its files
SEGMENTATION_SUFFIX = ".seg.nrrd"  # as 3D Slicer names masks


class ImageFinder:
    """The images below a folder, by the names that cases may have.

    A case is, in this order: a volume file (``<case>.nii.gz``, ``<case>_0000.nii.gz``, ``.mha``,
    ``.nrrd``), a folder of that name with one volume file that is no mask, or with DICOM, or a
    DICOM series whose SeriesInstanceUID it is.

    Args:
        folder: searched at any depth.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            msg = f"images must be a folder: {folder} is none."
            raise FileNotFoundError(msg)
        self.folder = folder
        self.volumes: dict[str, list[Path]] = defaultdict(list)
        self.folders: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                self.folders[path.name].append(path)
            elif is_volume_file(path):
                stem = volume_stem(path)
                for name in {stem, stem.removesuffix(CHANNEL_SUFFIX)}:
                    self.volumes[name].append(path)

    def find(self, case: str) -> Path:
        """Return the image of a case, as ``read_study`` takes it.

        Raises:
            LeftOutError: there is none, or there are several.
        """
        found = self.volumes.get(case) or self.folders.get(case) or self._series.get(case) or []
        if len(found) != 1:
            code = "several_images" if found else "image_not_found"
            msg = f"{self.folder} must hold one image named {case}, a volume file, a folder or a "
            raise LeftOutError(msg + f"SeriesInstanceUID: got {len(found)}.", code)
        return image_in(found[0]) if found[0].is_dir() else found[0]

    @cached_property
    def _series(self) -> dict[str, list[Path]]:
        """A file of each DICOM series."""
        try:
            series = index_study(self.folder).series
        except StudyError:  # there is no DICOM
            return {}
        return {one.uid: [AnnotatedImage(one.instances[0], one.name).study] for one in series}


def name_of_folder(file: Path) -> str:
    """Return the name of the folder where a file lies, or a link to it."""
    return place_of(file).parent.name


def image_in(folder: Path) -> Path:
    """Return the one volume file of a case folder that is no mask; without one, the folder: DICOM.

    Raises:
        LeftOutError: there are several.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_volume_file(file)]
    images = [file for file in files if not _is_mask(file)]
    if len(images) > 1:
        msg = f"{folder} must hold one image that is no mask: got {len(images)}."
        raise LeftOutError(msg, "several_images")
    return images[0] if images else folder


def _is_mask(file: Path) -> bool:
    return file.name.startswith("mask") or file.name.endswith(SEGMENTATION_SUFFIX)
