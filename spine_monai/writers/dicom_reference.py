"""What the DICOM results refer to: the images of the series, the slice, and the landmarks on it.

The objects are built from small copies of the headers that hold geometry and UIDs only; the
patient's identity is added to the finished object (``dicom_study``), so that no step between can
quote it.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.landmarks import Landmark, Status
from spine_monai.readers import LocatedStudy
from spine_monai.readers.series import Instance, Series
from spine_monai.writers.result import Result

COPIED_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Rows", "Columns", "PixelSpacing", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
)
# highdicom reads them from the images it refers to.
EMPTY_KEYWORDS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime"),
)


@dataclass(frozen=True)
class Mark:
    """A landmark that was found, as it goes into an object.

    Args:
        landmark: its name, kind and code.
        status: ``found`` or ``uncertain``.
        point_lps: (3,) point in mm, finite.
        confidence: 0 to 1, or NaN.
        radius95_mm: radius that holds 95 % of the belief, or NaN.
    """

    landmark: Landmark
    status: Status
    point_lps: NDArray[np.float64]
    confidence: float
    radius95_mm: float


def require_highdicom() -> None:
    """Check that the extra for DICOM results is installed.

    Raises:
        ImportError: it is not.
    """
    if find_spec("highdicom") is None:
        msg = "DICOM results need highdicom, which is not installed: "
        msg += "pip install 'spine_monai[dicom]'."
        raise ImportError(msg)


def check_is_dicom(study: LocatedStudy, *, in_patient_space: bool = True) -> Series:
    """Return the DICOM series that results of a study can refer to.

    Args:
        study: what was read.
        in_patient_space: whether the results hold points in the patient, as SR does, and not only
            in the images.

    Raises:
        ValueError: the study is a volume file, or its series lacks a UID.
    """
    if study.series is None:
        msg = f"{study.path} must be DICOM to get results as DICOM: it is a volume file, which "
        msg += "names no study to put them in. Leave out the formats sr, sc and gsps for it."
        raise ValueError(msg)
    needed = {"StudyInstanceUID"} | ({"FrameOfReferenceUID"} if in_patient_space else set())
    missing = needed - set(study.series.uids)
    if missing:
        formats = "formats sr, sc and gsps" if "StudyInstanceUID" in missing else "format sr"
        msg = f"{study.series.label} must have {' and '.join(sorted(missing))} to get results as "
        msg += f"DICOM: it has none. Leave out the {formats} for it."
        raise ValueError(msg)
    return study.series


def marks_of(result: Result) -> list[Mark]:
    """Return the landmarks that have a place, in the registry's order.

    Raises:
        ValueError: no landmark has one.
    """
    landmarks = result.landmarks
    rows = zip(
        landmarks.registry.landmarks,
        landmarks.statuses,
        landmarks.points_lps,
        landmarks.confidence.tolist(),
        landmarks.radius95_mm.tolist(),
        strict=True,
    )
    marks = [Mark(*row) for row in rows if np.isfinite(row[2]).all()]
    if not marks:
        msg = f"case {result.case} must have a landmark to be written as DICOM: none was found. "
        msg += "Leave out the formats sr and gsps for it."
        raise ValueError(msg)
    return marks


def note_of(mark: Mark, calibrated: bool) -> str:
    """Return how sure a landmark is, in words: ``uncertain, confidence 25 %``."""
    words: list[str] = [] if mark.status == "found" else [mark.status]
    if np.isfinite(mark.confidence):
        kind = "confidence" if calibrated else "uncalibrated confidence"
        percent = "over 99" if mark.confidence > 0.99 else f"{100 * mark.confidence:.0f}"
        words.append(f"{kind} {percent} %")
    return ", ".join(words) or mark.status


def slice_instance(result: Result, series: Series) -> Instance:
    """Return the instance, or the frame of a multi-frame one, that the result's slice shows.

    Raises:
        ValueError: the series has no such instance.
    """
    uid = result.slice.get("SOPInstanceUID")
    same = [one for one in series.instances if one.sop_instance_uid == uid]
    if not same:
        msg = f"{series.label} must hold the slice of case {result.case}: it has no instance {uid}."
        raise ValueError(msg)
    origin_lps = np.asarray(result.slice["lps_from_column_row"])[:3, 3]
    return min(same, key=lambda one: _distance_mm(one, origin_lps))


def place_marks(result: Result, series: Series) -> list[tuple[Instance, list[Mark]]]:
    """Return the images that show landmarks, and which.

    All landmarks are shown on the result's slice, those beside it at their projection; where they
    were taken from several slices, each is shown on the one that it lies on.

    Raises:
        ValueError: no landmark has a place, or the series does not hold the slice.
    """
    marks = marks_of(result)
    images = series.instances if result.landmark_slices else (slice_instance(result, series),)
    normal = images[0].normal_lps
    heights_mm = np.array([one.numbers("ImagePositionPatient", 3) @ normal for one in images])
    nearest = [int(np.abs(heights_mm - mark.point_lps @ normal).argmin()) for mark in marks]
    return [
        (images[n], [m for m, own in zip(marks, nearest, strict=True) if own == n])
        for n in sorted(set(nearest))
    ]


def reference_image(instance: Instance, series: Series) -> Any:
    """Return a dataset that highdicom can refer to: geometry and UIDs, nobody's identity."""
    image = pydicom.Dataset()
    for keyword in COPIED_KEYWORDS:
        if instance.header.get(keyword) is not None:
            image.add(instance.header[keyword])
    for keyword in EMPTY_KEYWORDS:
        setattr(image, keyword, "")
    # Of an image of another modality, highdicom does not expect the geometry to be complete.
    image.Modality = "MR" if "SliceThickness" in image else ""
    image.SamplesPerPixel = 1
    image.NumberOfFrames = max(frame_number(one) or 1 for one in series.instances)
    return image


def image_reference(instance: Instance) -> Any:
    """Return an item that names an image, or a frame of it, as another object's source."""
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = instance.header.SOPClassUID
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    number = frame_number(instance)
    if number is not None:
        item.ReferencedFrameNumber = number
    return item


def frame_number(instance: Instance) -> int | None:
    """Return the number, from 1, of a frame in its multi-frame file; ``None`` of a whole file."""
    return None if instance.frame is None else instance.frame + 1


def read_header(instance: Instance) -> Any:
    """Read all of a file's header but the pixels; call it, and use what it gives, in ``quiet``."""
    with instance.open() as stream:
        return pydicom.dcmread(stream, stop_before_pixels=True, force=True)


def value_of_frame(header: Any, instance: Instance, keyword: str) -> Any | None:
    """Return an attribute of an image: of a multi-frame one, that of the instance's frame.

    Args:
        header: all of the file's header.
        instance: the image, or the frame.
        keyword: attribute at the root of a classic header, in a functional group of another one.
    """
    number = frame_number(instance)
    groups = [*header.get("SharedFunctionalGroupsSequence", [])]
    if number is not None:
        groups += header.get("PerFrameFunctionalGroupsSequence", [])[number - 1 : number]
    macros = [e.value[0] for group in groups for e in group if e.VR == "SQ" and e.value]
    return next((macro.get(keyword) for macro in macros if keyword in macro), header.get(keyword))


def _distance_mm(instance: Instance, point_lps: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(instance.numbers("ImagePositionPatient", 3) - point_lps))
