"""The series of a DICOM study, and which of them is the sagittal T2 one.

Only headers are read. Nothing is guessed from file names or InstanceNumber.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    EnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from spine_monai.readers.errors import StudyError

MAX_OBLIQUENESS_DEG = 30.0
T2_MIN_ECHO_TIME_MS = 60.0
T2_MIN_REPETITION_TIME_MS = 1500.0
HEADER_KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "ImageType",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]
UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class Instance:
    """One DICOM file and the part of its header that geometry and choice need.

    Args:
        path: the file.
        header: its readable attributes.
        unreadable: keywords of the attributes whose values are no such values.
    """

    path: Path
    header: pydicom.Dataset
    unreadable: tuple[str, ...] = ()

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID, or an empty string."""
        return str(self.header.get("SOPInstanceUID", ""))

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64]:
        """Return a numeric attribute.

        Raises:
            StudyError: it is absent, has another number of values, or one of them is not finite.
        """
        found = self.header.get(keyword)
        try:
            values = np.atleast_1d(np.asarray([] if found is None else found, dtype=np.float64))
        except (TypeError, ValueError) as error:  # whose text would quote the value
            msg = f"{self.path} must have {count} finite values of {keyword}: got no numbers."
            raise StudyError(msg) from error
        if values.shape != (count,) or not np.isfinite(values).all():
            msg = (
                f"{self.path} must have {count} finite values of {keyword}: got {values.tolist()}."
            )
            raise StudyError(msg)
        return values

    @property
    def normal_lps(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        along_row, along_column = self.numbers("ImageOrientationPatient", 6).reshape(2, 3)
        normal = np.cross(along_row, along_column)
        if not np.isclose(np.linalg.norm(normal), 1.0, atol=1e-2):
            msg = f"{self.path} must have two unit vectors at right angles as "
            msg += f"ImageOrientationPatient: got {along_row.tolist()} and {along_column.tolist()}."
            raise StudyError(msg)
        return normal / np.linalg.norm(normal)

    @property
    def height_mm(self) -> float:
        """Position along the normal of the slice."""
        return float(self.numbers("ImagePositionPatient", 3) @ self.normal_lps)


@dataclass(frozen=True)
class Series:
    """The instances that share one SeriesInstanceUID, in order along their normal where known.

    Args:
        uid: SeriesInstanceUID.
        instances: one a file.
        unreadable_beside: files of the study that are DICOM but cannot be read; they may belong to
            this series.
    """

    uid: str
    instances: tuple[Instance, ...]
    unreadable_beside: tuple[Path, ...] = ()

    @property
    def header(self) -> pydicom.Dataset:
        """Header of the first instance."""
        return self.instances[0].header

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in the order of the instances."""
        return tuple(instance.path for instance in self.instances)

    @property
    def label(self) -> str:
        """How messages call the series: by number and UID, never by its description."""
        return f"series {self.header.get('SeriesNumber') or '?'} ({self.uid})"

    @property
    def uids(self) -> dict[str, str]:
        """The UIDs that stay the same over the series."""
        return {key: str(self.header[key].value) for key in UID_KEYWORDS if self.header.get(key)}

    @property
    def is_derived(self) -> bool:
        """Whether ImageType says that the images were made from other ones."""
        return "DERIVED" in [str(value).upper() for value in self.header.get("ImageType") or []]

    @cached_property
    def failed_rule(self) -> str:
        """The first rule of choice that the series fails, in words; empty where it passes all."""
        return next(filter(None, (rule(self) for rule in RULES)), "")


def index_study(path: Path) -> list[Series]:
    """Read the headers below a folder, or of one file's series, and group them by series.

    Args:
        path: a folder, searched at any depth, or one DICOM file, whose series is looked up in its
            folder.

    Raises:
        StudyError: no file there is DICOM.
    """
    folder = path if path.is_dir() else path.parent
    pattern = "**/*" if path.is_dir() else "*"
    candidates = sorted(file for file in folder.glob(pattern) if file.is_file())
    instances = [found for file in candidates if (found := _read_header(file))]
    read = {instance.path for instance in instances}
    unreadable = tuple(file for file in candidates if file not in read and _looks_like_dicom(file))
    if path.is_file():
        instances = _same_series(instances, path)
    if not instances:
        count = 1 if path.is_file() else len(candidates)
        msg = f"{path} must hold DICOM images: none of its {count} files is one."
        if unreadable:
            msg += f" {len(unreadable)} look like DICOM but have a damaged header: {unreadable[0]}."
        raise StudyError(msg)
    return _group(instances, unreadable)


def choose_series(series: Iterable[Series], path: Path) -> tuple[Series, str]:
    """Choose the one sagittal T2 series, and say why.

    Original images win over derived ones; two equals are never chosen between.

    Args:
        series: the candidates.
        path: what the caller named, for the message.

    Raises:
        StudyError: none passes the rules, or more than one does.
    """
    candidates = list(series)
    passed = [one for one in candidates if not one.failed_rule]
    best = [one for one in passed if not one.is_derived] or passed
    if len(best) == 1:
        derived = "; it is DERIVED, but no original one passed" if best[0].is_derived else ""
        reason = f"the sagittal T2 series of {len(candidates)} found; T2 by "
        reason += f"{_weighting(best[0])[1]}{derived}"
        return best[0], f"{best[0].label}: {reason}"
    if best:
        names = "; ".join(one.label for one in best)
        msg = (
            f"{path} must hold one sagittal T2 series: got {len(best)}: {names}. Name one of them "
        )
        msg += "by the path of one of its files."
        raise StudyError(msg)
    rejected = "; ".join(f"{one.label}: {one.failed_rule}" for one in candidates)
    msg = f"{path} must hold a sagittal T2 series: none of {len(candidates)} is one. {rejected}."
    raise StudyError(msg)


def _read_header(file: Path) -> Instance | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes raw values, which may name a patient
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=HEADER_KEYWORDS)
        except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError):
            return None
        unreadable = tuple(key for key in HEADER_KEYWORDS if not _is_readable(header, key))
    for keyword in unreadable:
        del header[keyword]
    return Instance(file, header, unreadable) if header.get("SeriesInstanceUID") else None


def _is_readable(header: pydicom.Dataset, keyword: str) -> bool:
    """Whether a value can be converted, which pydicom does when it is first asked for."""
    try:
        header.get(keyword)
    except Exception:
        return False
    return True


def _looks_like_dicom(file: Path) -> bool:
    """Whether a file has the DICOM prefix and is no DICOMDIR."""
    with file.open("rb") as stream:
        start = stream.read(512)
    return start[128:132] == b"DICM" and MediaStorageDirectoryStorage.encode() not in start


def _same_series(instances: list[Instance], path: Path) -> list[Instance]:
    uids = {i.header.SeriesInstanceUID for i in instances if i.path == path}
    return [i for i in instances if i.header.SeriesInstanceUID in uids]


def _group(instances: list[Instance], unreadable: tuple[Path, ...]) -> list[Series]:
    groups: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        groups[str(instance.header.SeriesInstanceUID)].append(instance)
    return [Series(uid, tuple(_sorted(group)), unreadable) for uid, group in groups.items()]


def _sorted(instances: list[Instance]) -> list[Instance]:
    try:
        return sorted(instances, key=lambda instance: instance.height_mm)
    except StudyError:
        return instances


def _is_magnetic_resonance(series: Series) -> str:
    sop_class = series.header.get("SOPClassUID")
    if sop_class == EnhancedMRImageStorage:
        return "it is Enhanced (multi-frame) MR, which cannot be read yet"
    return "" if sop_class == MRImageStorage else "it is not an MR image series"


def _has_readable_header(series: Series) -> str:
    broken = [instance for instance in series.instances if instance.unreadable]
    if not broken:
        return ""
    return f"{broken[0].path} has no valid {', '.join(broken[0].unreadable)}"


def _is_no_localizer(series: Series) -> str:
    types = [str(value).upper() for value in series.header.get("ImageType") or []]
    return "it is a localizer" if "LOCALIZER" in types else ""


def _is_sagittal(series: Series) -> str:
    try:
        turns = np.stack([i.numbers("ImageOrientationPatient", 6) for i in series.instances])
        normal = series.instances[0].normal_lps
    except StudyError as error:
        return str(error).rstrip(".")
    if not np.allclose(turns, turns[0], atol=np.radians(1.0)):
        return "its slices have different orientations"
    angle = float(np.degrees(np.arccos(np.clip(abs(normal[0]), 0, 1))))
    if angle <= MAX_OBLIQUENESS_DEG:
        return ""
    return f"it is not sagittal (its plane is turned {angle:.0f} degrees from it)"


def _has_slices(series: Series) -> str:
    count = len(series.instances)
    return "" if count > 1 else "it has 1 slice where at least 2 are needed"


def _is_t2(series: Series) -> str:
    weighting, evidence = _weighting(series)
    return "" if weighting == "T2" else f"it is not T2-weighted ({evidence})"


RULES: tuple[Callable[[Series], str], ...] = (
    _has_readable_header,
    _is_magnetic_resonance,
    _is_no_localizer,
    _is_sagittal,
    _has_slices,
    _is_t2,
)


def _weighting(series: Series) -> tuple[str, str]:
    """Weighting and the evidence for it: the numbers first, the text where they are missing."""
    header = series.header
    text = f"{header.get('SeriesDescription', '')} {header.get('ProtocolName', '')}".upper()
    if header.get("InversionTime") or "STIR" in text or "TIRM" in text:
        return "STIR", "inversion recovery"
    echo, repetition = (_single_number(header, key) for key in ("EchoTime", "RepetitionTime"))
    if echo and repetition:
        is_t2 = echo >= T2_MIN_ECHO_TIME_MS and repetition >= T2_MIN_REPETITION_TIME_MS
        return "T2" if is_t2 else "other", f"TE {echo:g} ms, TR {repetition:g} ms"
    evidence = "the word T2 in its description, TE and TR being absent"
    return ("T2", evidence) if "T2" in text else ("unknown", "TE, TR and the word T2 are absent")


def _single_number(header: pydicom.Dataset, keyword: str) -> float:
    """The attribute's value; 0 where it is absent, no number, or has several values."""
    try:
        return float(header.get(keyword) or 0.0)
    except (TypeError, ValueError):
        return 0.0
