"""Single-file volumes: NIfTI by nibabel, MHA, MHD and NRRD by SimpleITK.

Rule for NIfTI: the sform is used where its code is set, else the qform; a file with neither has no
place in the patient and is refused.
"""

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import ErrorLevel
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from spine_monai.geometry import ras_from_sitk
from spine_monai.readers.errors import StudyError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
# nibabel repairs worse than this in silence: a zero spacing would become 1 mm.
LEAST_ERROR = 30
UNREADABLE = (
    *(ImageFileError, HeaderDataError, OSError, EOFError, zlib.error),
    *(ValueError, TypeError, OverflowError),
)
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")


def is_volume_file(path: Path) -> bool:
    """Whether the file's name says that it holds one volume."""
    return path.name.lower().endswith(NIFTI_SUFFIXES + ITK_SUFFIXES)


def volume_stem(path: Path) -> str:
    """Return the file's name without the suffix of its format."""
    name = path.name
    for suffix in sorted(NIFTI_SUFFIXES + ITK_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def read_volume(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read one volume file.

    Returns:
        (I, J, K) array as float32, and its (4, 4) affine ras_from_index.

    Raises:
        StudyError: the file is damaged, has no geometry, or is not three-dimensional.
    """
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        array, affine = _read_nifti(path)
    else:
        array, affine = _read_itk(path)
    if array.ndim != 3:
        msg = f"{path} must hold one three-dimensional image: got shape {array.shape}."
        raise StudyError(msg)
    return array, affine


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    try:
        with ErrorLevel(LEAST_ERROR):
            image = nib.load(path)
        if image.get_data_dtype().kind not in "iuf":
            msg = f"{path} must hold grey values: got {image.get_data_dtype()}."
            raise StudyError(msg)
        array = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        if isinstance(error, StudyError):
            raise
        msg = f"{path} must be a readable NIfTI file: {type(error).__name__}. Copy it again."
        raise StudyError(msg) from error
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        msg = (
            f"{path} must say where it lies in the patient: sform_code and qform_code are both 0. "
            "Convert it again from DICOM with a tool that keeps the geometry."
        )
        raise StudyError(msg)
    if not (np.asarray(header["pixdim"][1:4]) > 0).all():  # NaN
        msg = f"{path} must have positive pixdim: got {list(map(float, header['pixdim'][1:4]))}."
        raise StudyError(msg)
    return array, np.asarray(image.affine, dtype=np.float64)


def _read_itk(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            msg = (
                f"{path} must hold one three-dimensional grey image: got size {reader.GetSize()}, "
            )
            msg += f"{reader.GetNumberOfComponents()} values a pixel."
            raise StudyError(msg)
        image = reader.Execute()
    except RuntimeError as error:
        msg = f"{path} must be a readable MHA or NRRD file. Copy it again."
        raise StudyError(msg) from error
    affine = ras_from_sitk(image.GetOrigin(), image.GetDirection(), image.GetSpacing())
    return sitk.GetArrayFromImage(image).T, affine
