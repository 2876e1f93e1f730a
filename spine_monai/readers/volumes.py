"""Single-file volumes: NIfTI by nibabel, MHA, MHD and NRRD by SimpleITK.

Rules for NIfTI. The sform is used where its code is set, else the qform, and where both are set and
differ, a warning says so; a file with neither has no place in the patient and is refused. Lengths
are in mm, or of unknown unit and taken for mm; metres and micrometres are refused. A file holds one
volume: further axes have length 1. Its size must be exactly the one that its header names.
MHA and NRRD files must state their place and hold their values whole; see ``text_headers``.
"""

import gzip
import itertools
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import ErrorLevel
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from spine_monai.geometry import apply_affine, ras_from_sitk, spacing_mm
from spine_monai.readers.decoding import MAX_VOXELS, DecodingError, read_image
from spine_monai.readers.errors import StudyError
from spine_monai.readers.reading import Reading, warning
from spine_monai.readers.text_headers import check_text_header, files_of_mhd

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
# nibabel repairs worse than this in silence: a zero spacing would become 1 mm.
LEAST_ERROR = 30
UNREADABLE = (
    *(ImageFileError, HeaderDataError, OSError, EOFError, zlib.error),
    *(ValueError, TypeError, OverflowError),
)
SPACE_UNIT_BITS = 0x07
UNITS_TAKEN_FOR_MM = (0, 2)
# The qform's float32 quaternion places voxels within micrometres; another place is a tenth of one.
SAME_PLACE_MM = 0.1
CHUNK_BYTES = 1 << 20


def is_volume_file(path: Path) -> bool:
    """Whether the file's name says that it holds one volume."""
    return path.name.lower().endswith(NIFTI_SUFFIXES + ITK_SUFFIXES)


def files_of_volume(path: Path) -> tuple[Path, ...]:
    """Return a volume's file, and the file of its values where an MHD header names another."""
    return files_of_mhd(path) if path.suffix.lower() == ".mhd" else (path,)


def volume_stem(path: Path) -> str:
    """Return the file's name without the suffix of its format."""
    name = path.name
    for suffix in sorted(NIFTI_SUFFIXES + ITK_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def read_volume(path: Path) -> Reading:
    """Read one volume file.

    Raises:
        StudyError: the file is damaged, has no geometry, or is not three-dimensional.
    """
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return _read_nifti(path)
    return _read_itk(path)


def _read_nifti(path: Path) -> Reading:
    try:
        with ErrorLevel(LEAST_ERROR):
            image: Any = nib.load(path)
        _check_kind(path, image)
        _check_place(path, image.header)
        _check_length(path, image)
        array = _scaled(image)
    except UNREADABLE as error:
        if isinstance(error, StudyError):
            raise
        msg = f"{path} must be a readable NIfTI file: {type(error).__name__}. Copy it again."
        raise StudyError(msg) from error
    affine = np.asarray(image.affine, dtype=np.float64)
    return Reading(array, affine, warnings=tuple(_nifti_warnings(image)))


def _check_kind(path: Path, image: Any) -> None:
    """One grey volume of a size that fits into memory."""
    shape = image.shape
    if not isinstance(image, nib.Nifti1Image):  # CIFTI has the same suffix
        msg = f"{path} must hold one three-dimensional image: got {type(image).__name__}."
        raise StudyError(msg)
    if image.get_data_dtype().kind not in "iuf":
        msg = f"{path} must hold grey values: got {image.get_data_dtype()}."
        raise StudyError(msg)
    if len(shape) < 3 or math.prod(shape[3:]) != 1:
        msg = f"{path} must hold one three-dimensional image: got shape {shape}."
        raise StudyError(msg)
    if not 0 < math.prod(shape) <= MAX_VOXELS:
        msg = f"{path} must hold at most {MAX_VOXELS} voxels: got shape {shape}."
        raise StudyError(msg)


def _check_place(path: Path, header: Any) -> None:
    unit = int(header["xyzt_units"]) & SPACE_UNIT_BITS
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        msg = (
            f"{path} must say where it lies in the patient: sform_code and qform_code are both 0. "
            "Convert it again from DICOM with a tool that keeps the geometry."
        )
        raise StudyError(msg)
    if not (np.asarray(header["pixdim"][1:4]) > 0).all():  # NaN
        msg = f"{path} must have positive pixdim: got {list(map(float, header['pixdim'][1:4]))}."
        raise StudyError(msg)
    if unit not in UNITS_TAKEN_FOR_MM:
        msg = f"{path} must have lengths in mm: xyzt_units says {unit} (1 metre, 3 micrometre). "
        msg += "Convert it to mm."
        raise StudyError(msg)


def _check_length(path: Path, image: Any) -> None:
    """Whether the file is as long as its header says; compressed, its checksum is checked too."""
    expected = int(image.dataobj.offset) + image.dataobj.dtype.itemsize * math.prod(image.shape)
    is_compressed = path.name.lower().endswith(".gz")
    got = _inflated_length(path, expected) if is_compressed else path.stat().st_size
    if got != expected:
        more = "or more " if is_compressed and got > expected else ""
        msg = f"{path} must be as long as its header says: expected {expected} bytes, got {got} "
        msg += f"{more}(dim {image.shape}, {image.get_data_dtype()}). Copy it again."
        raise StudyError(msg)


def _inflated_length(path: Path, expected: int) -> int:
    """Bytes that a compressed file unpacks to; not counted on far beyond what is expected."""
    length = 0
    with gzip.open(path) as stream:
        while length <= expected and (chunk := stream.read(CHUNK_BYTES)):
            length += len(chunk)
    return length


def _scaled(image: Any) -> NDArray[np.float32]:
    """The (I, J, K) values in float32, without a copy in float64."""
    with np.errstate(over="ignore"):  # infinite values are refused with all volumes
        array = np.array(image.dataobj.get_unscaled(), dtype=np.float32)
        array *= np.float32(image.dataobj.slope)
        array += np.float32(image.dataobj.inter)
    return array.reshape(image.shape[:3])


def _nifti_warnings(image: Any) -> list[dict[str, str]]:
    """Where qform or pixdim, which were not used, contradict the sform."""
    header = image.header
    if int(header["sform_code"]) == 0:
        return []
    pixdim, used = np.asarray(header["pixdim"][1:4]), spacing_mm(image.affine)
    if not np.allclose(pixdim, used, rtol=0.01):
        message = f"pixdim says {pixdim.round(3).tolist()} mm, but the sform "
        return [warning("pixdim_differs", f"{message}{used.round(3).tolist()} mm, which was used")]
    if int(header["qform_code"]) and (apart_mm := _forms_apart_mm(header)) > SAME_PLACE_MM:
        message = f"qform and sform differ by up to {apart_mm:.1f} mm; the sform was used"
        return [warning("qform_differs", message)]
    return []


def _forms_apart_mm(header: Any) -> float:
    """How far qform and sform put a corner of the volume from each other."""
    try:
        difference = header.get_qform() - header.get_sform()
    except ValueError:  # the quaternion is none
        return math.inf
    corners = np.array(list(itertools.product(*((0, n - 1) for n in header.get_data_shape()[:3]))))
    return float(np.linalg.norm(apply_affine(difference, corners), axis=-1).max())


def _read_itk(path: Path) -> Reading:
    try:
        info, array = read_image(path, (3,))
    except DecodingError as error:
        msg = f"{path} must be a readable MHA or NRRD file of one three-dimensional grey image: "
        msg += f"{error}. Copy it again."
        raise StudyError(msg) from error
    if info["components"] != 1:
        msg = f"{path} must hold one three-dimensional grey image: got size {info['size']}, "
        msg += f"{info['components']} values a pixel."
        raise StudyError(msg)
    check_text_header(path, info)
    affine = ras_from_sitk(info["origin"], info["direction"], info["spacing"])
    return Reading(array.T, affine)
