"""Write a volume as a classic DICOM MR series: the demo study, and the studies of the tests.

UIDs are made from a seed, so that the same words give the same files.
"""

import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from spine_monai.files import write_whole
from spine_monai.geometry import LPS_FROM_RAS

SOFTWARE = "spine_monai"


def write_dicom_series(
    volume: ArrayLike,
    ras_from_index: ArrayLike,
    folder: Path,
    *,
    seed: str,
    attributes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one file a slice.

    Args:
        volume: (rows, columns, slices) whole numbers from 0 to 65535.
        ras_from_index: (4, 4) affine of those axes, at right angles.
        folder: where ``0001.dcm`` and so on go; made if need be.
        seed: names the study; its UIDs are derived from it.
        attributes: DICOM keywords and values that are set, or with ``None`` removed, at the end.

    Returns:
        The files, in the order of the slices.

    Raises:
        ValueError: the volume is not three-dimensional or does not fit into 16 bits.
    """
    array = np.asarray(volume)
    if array.ndim != 3 or array.min() < 0 or array.max() > 65535:
        msg = f"volume must be (rows, columns, slices) from 0 to 65535: got shape {array.shape}, "
        msg += f"{array.min()} to {array.max()}."
        raise ValueError(msg)
    lps_from_index = LPS_FROM_RAS @ np.asarray(ras_from_index, dtype=np.float64)
    files = [folder / f"{number + 1:04d}.dcm" for number in range(array.shape[2])]
    for number, file in enumerate(files):
        dataset = _slice_dataset(array[..., number], lps_from_index, number, seed)
        for keyword, value in (attributes or {}).items():
            _set(dataset, keyword, value)
        write_whole(file, partial(dataset.save_as, enforce_file_format=True))
    return files


def _slice_dataset(
    pixels: NDArray[Any], lps_from_index: NDArray[np.float64], number: int, seed: str
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _set_identity(dataset, number, seed)
    _set_geometry(dataset, lps_from_index, number)
    _set_pixels(dataset, pixels)
    return dataset


def _set_identity(dataset: Dataset, number: int, seed: str) -> None:
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = _uid(seed, "instance", number)
    dataset.StudyInstanceUID = _uid(seed, "study")
    dataset.SeriesInstanceUID = _uid(seed, "series")
    dataset.FrameOfReferenceUID = _uid(seed, "frame")
    dataset.Modality = "MR"
    dataset.Manufacturer = SOFTWARE
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "no identity was ever in the source"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BodyPartExamined = "LSPINE"
    dataset.MRAcquisitionType = "3D"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "ReferringPhysicianName", "EchoTime", "RepetitionTime"),
        *("EchoTrainLength", "PositionReferenceIndicator", "PatientPosition", "Laterality"),
    ):
        setattr(dataset, keyword, None)


def _set_geometry(dataset: Dataset, lps_from_index: NDArray[np.float64], number: int) -> None:
    between_rows, between_columns, step = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    along_column, along_row = (lps_from_index[:3, axis] for axis in (0, 1))
    position = lps_from_index @ [0, 0, number, 1]
    dataset.ImagePositionPatient = _decimals(position[:3])
    orientation = [*(along_row / between_columns), *(along_column / between_rows)]
    dataset.ImageOrientationPatient = _decimals(orientation)
    dataset.PixelSpacing = _decimals([between_rows, between_columns])
    dataset.SliceThickness = _decimals([step])[0]
    dataset.SpacingBetweenSlices = _decimals([step])[0]


def _set_pixels(dataset: Dataset, pixels: NDArray[Any]) -> None:
    bits = 8 if pixels.max() < 256 else 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()


def _set(dataset: Dataset, keyword: str, value: Any) -> None:
    if value is None:
        dataset.pop(keyword, None)
    else:
        setattr(dataset, keyword, value)


def _decimals(values: ArrayLike) -> list[str]:
    """Numbers as DICOM decimal strings: at most 16 characters, without a negative zero."""
    return [format_number_as_ds(float(value) + 0.0) for value in np.asarray(values).tolist()]


def _uid(seed: str, *parts: object) -> str:
    """A UID derived from a UUID (PS3.5 B.2), the same for the same words."""
    name = "/".join([SOFTWARE, seed, *map(str, parts)])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"
