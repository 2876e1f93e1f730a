"""What a hard case is, the phantom that they all hold, and how it is written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.data.synthetic import make_study

PHANTOM = make_study(shape=(48, 40, 6), spacing_mm=(4.3, 3.7, 4.4), oblique_deg=(8, -6, 12), seed=7)
OTHER = make_study(shape=(48, 40, 6), spacing_mm=(4.3, 3.7, 4.4), oblique_deg=(8, -6, 12), seed=8)
IDENTITY = {"PatientName": "Doe^Jane", "SeriesDescription": "Jane Doe sag"}
# All series of a case are of one study, and its images of one frame, unless the case is about that.
STUDY = {"StudyInstanceUID": "2.25.1001", "FrameOfReferenceUID": "2.25.1002"}
T1 = {"EchoTime": "12", "RepetitionTime": "500"}


@dataclass(frozen=True)
class Written:
    """A study on disk and the truth about it.

    Args:
        path: what a user would name.
        volume: (rows, columns, slices) values; of refused studies it does not matter.
        ras_from_index: (4, 4) affine.
    """

    path: Path
    volume: NDArray[Any] = field(default_factory=lambda: PHANTOM.volume)
    ras_from_index: NDArray[np.float64] = field(default_factory=lambda: PHANTOM.ras_from_index)


@dataclass(frozen=True)
class HardCase:
    """One case of the matrix.

    Args:
        group: heading in the table.
        title: what is the matter with the files.
        build: writes them into an empty folder.
        refused: what the message must hold, the reason first; empty if the study is to be read.
        warns: codes of the warnings, if it is to be read.
    """

    group: str
    title: str
    build: Callable[[Path], Written]
    refused: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How tests call it."""
        return self.build.__name__


CASES: list[HardCase] = []


def hard_case(
    group: str, title: str, *, refused: Iterable[str] = (), warns: Iterable[str] = ()
) -> Callable[[Callable[[Path], Written]], Callable[[Path], Written]]:
    """Add the decorated builder to the cases."""

    def add(build: Callable[[Path], Written]) -> Callable[[Path], Written]:
        CASES.append(HardCase(group, title, build, tuple(refused), tuple(warns)))
        return build

    return add


def write(folder: Path, *, seed: str = "case", study=PHANTOM, **attributes: Any) -> list[Path]:
    """Write a phantom as a sagittal T2 series, one file a slice."""
    return study.write_dicom(folder, seed=seed, **(IDENTITY | STUDY | attributes))


def change(files: Iterable[Path], edit: Callable[[int, pydicom.Dataset], object]) -> None:
    """Let ``edit(number, dataset)`` change each file."""
    for number, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        edit(number, dataset)
        dataset.save_as(file, enforce_file_format=True)


def set_in(files: Iterable[Path], **attributes: Any) -> None:
    """Set attributes of files; ``None`` removes one."""

    def edit(_number: int, dataset: pydicom.Dataset) -> None:
        for keyword, value in attributes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    change(files, edit)


def move(dataset: pydicom.Dataset, offset_lps: NDArray[np.float64]) -> None:
    """Move an image in the patient."""
    position = np.array(dataset.ImagePositionPatient, float) + offset_lps
    dataset.ImagePositionPatient = [f"{value:.9g}" for value in position]


def normal_of(dataset: pydicom.Dataset) -> NDArray[np.float64]:
    """Unit vector across an image, in LPS."""
    axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    return np.cross(*axes)
