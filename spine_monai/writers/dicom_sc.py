"""``overlay.dcm``: a picture of the landmarks as a DICOM secondary capture, for any viewer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.readers.series import Series
from spine_monai.writers.dicom_reference import (
    image_reference,
    read_header,
    slice_instance,
)
from spine_monai.writers.dicom_study import (
    SOFTWARE,
    building,
    object_arguments,
    reading,
    save_in_study,
)
from spine_monai.writers.result import Result

SC_FILE = "overlay.dcm"
BODY_PART = "LSPINE"
DERIVATION = f"Landmarks found by {SOFTWARE}, drawn on the slice. Research only, unverified."


def write_capture(
    picture: NDArray[np.uint8],
    result: Result,
    content: Mapping[str, Any],
    series: Series,
    path: Path,
) -> None:
    """Write a picture of a result in the study of its images.

    Args:
        picture: (H, W, 3) RGB, upright: columns towards posterior, rows towards the feet. It must
            say itself that it is for research only.
        result: whose slice the picture shows.
        content: of ``landmarks.json``.
        series: the images; see ``check_is_dicom``.
        path: file to write.

    Raises:
        ValueError: the series does not hold the slice.
    """
    from highdicom.sc import SCImage

    instance = slice_instance(result, series)
    with building(series):
        dataset = SCImage(
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("P", "F"),
            study_instance_uid=series.uids["StudyInstanceUID"],
            **object_arguments("sc", content, series),
        )
        dataset.BurnedInAnnotation = "YES"
        dataset.BodyPartExamined = BODY_PART
        dataset.DerivationDescription = DERIVATION
        dataset.SourceImageSequence = [image_reference(instance)]
        save_in_study(dataset, read_header(instance), path)


def sc_reference(path: Path) -> tuple[str, ...]:
    """Read the SOPInstanceUIDs of the images that a picture was made from.

    Raises:
        ValueError: the file is no such picture.
    """
    with reading(path, "a secondary capture of landmarks"):
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        return tuple([str(item.ReferencedSOPInstanceUID) for item in dataset.SourceImageSequence])
