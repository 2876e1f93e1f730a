"""What to read of a study: the volume file, or the series that is chosen or named."""

from dataclasses import dataclass
from pathlib import Path

from spine_monai.files import combined_sha256, sha256_of_file, sha256_of_stream
from spine_monai.readers.choice import Choice, choice_error, choose, choose_named, notes_about
from spine_monai.readers.errors import StudyError
from spine_monai.readers.index import StudyIndex, index_study
from spine_monai.readers.pictures import is_picture_file
from spine_monai.readers.series import Series
from spine_monai.readers.volumes import files_of_volume, is_volume_file, volume_stem

ONE_VOLUME = "the file holds one volume"
ONE_PICTURE = "the file is a picture of one slice"
NO_GEOMETRY = {
    "code": "no_patient_geometry",
    "message": "a picture does not say where it lies in the patient: distances are true if the size"
    " of its pixels is, positions in LPS are made up",
}


@dataclass(frozen=True)
class LocatedStudy:
    """A study found on disk, its series chosen, its pixels not yet read.

    Args:
        path: what the caller named.
        stem: short name from the file or folder; the case id where there is no better one.
        reason: why this series was taken.
        series: the chosen DICOM series, or ``None`` for a volume file.
        notes: what a user of the result should know about the choice, each with code and message.
        pixel_spacing_mm: of a picture, between its rows and columns; else ``None``.
    """

    path: Path
    stem: str
    reason: str
    series: Series | None = None
    notes: tuple[dict[str, str], ...] = ()
    pixel_spacing_mm: float | None = None

    @property
    def warnings(self) -> list[dict[str, str]]:
        """What a user of the result should know about the study, each with code and message."""
        return list(self.notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the pixels."""
        return self.series.files if self.series else files_of_volume(self.path)

    @property
    def digest(self) -> str:
        """SHA-256 of the files' content, the same for a folder and a zip of it."""
        if self.series is None:
            return combined_sha256(map(sha256_of_file, self.files))
        instances = {instance.path: instance for instance in self.series.instances}
        digests = []
        for instance in instances.values():
            with instance.open() as stream:
                digests.append(sha256_of_stream(stream))
        return combined_sha256(digests)


@dataclass(frozen=True)
class UnusableStudy:
    """A study that could not be located; whoever reads it gets the reason as its error."""

    path: Path
    error: StudyError


def locate_study(
    path: str | Path, series_uid: str | None = None, *, pixel_spacing_mm: float | None = None
) -> LocatedStudy:
    """Find what to read at a path: a volume file, a DICOM file's series, or the best series.

    Args:
        path: a ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` file, a DICOM file (its series is used),
            or a folder or ``.zip`` of DICOM files at any depth.
        series_uid: the series to use, whatever it is weighted by; ``UID:2`` for its second part.
        pixel_spacing_mm: of a ``.png`` or ``.jpg`` picture, which needs it.

    Raises:
        StudyError: nothing usable lies there; the message says why.
    """
    study = Path(path)
    if study.is_file() and is_picture_file(study):
        _check_unnamed(study, series_uid)
        return _located_picture(study, pixel_spacing_mm)
    if pixel_spacing_mm is not None:
        msg = f"{study} must be a PNG or JPEG picture to be given a pixel spacing: other files say "
        msg += "their own. Leave out --pixel-spacing."
        raise StudyError(msg)
    if holds_one_volume(study):
        _check_unnamed(study, series_uid)
        return LocatedStudy(study, volume_stem(study), ONE_VOLUME)
    _, choice = survey_study(study, series_uid)
    if choice.chosen is None:
        raise choice_error(choice, study)
    stem = study.stem if study.is_file() else study.name
    return LocatedStudy(study, stem, choice.reason, choice.chosen.series, notes_about(choice))


def holds_one_volume(study: Path) -> bool:
    """Whether a path is a volume file, with nothing to choose.

    Raises:
        StudyError: there is no such path.
    """
    if not study.exists():
        msg = f"study must exist: {study} does not. Check the path."
        raise StudyError(msg)
    return study.is_file() and is_volume_file(study)


def nothing_to_choose(study: Path) -> str:
    """Return what a file with one image is, in words; nothing where there may be series.

    Raises:
        StudyError: there is no such path.
    """
    if holds_one_volume(study):
        return ONE_VOLUME
    return ONE_PICTURE if study.is_file() and is_picture_file(study) else ""


def survey_study(study: Path, series_uid: str | None = None) -> tuple[StudyIndex, Choice]:
    """Index the DICOM files at a path and choose a series, or take the one that is named.

    Raises:
        StudyError: there is no DICOM image, or the named series cannot be used.
    """
    index = index_study(study)
    return index, choose_named(index, series_uid) if series_uid else choose(index)


def _check_unnamed(study: Path, series_uid: str | None) -> None:
    if series_uid is not None:
        msg = (
            f"{study} must be DICOM to have one of its series named: it holds one image. Leave out "
        )
        msg += "--series-uid."
        raise StudyError(msg)


def _located_picture(picture: Path, pixel_spacing_mm: float | None) -> LocatedStudy:
    if pixel_spacing_mm is None:
        msg = f"{picture} must come with the size of its pixels, which a picture does not hold. "
        msg += "Give --pixel-spacing MM."
        raise StudyError(msg)
    notes = (NO_GEOMETRY,)
    return LocatedStudy(
        picture, picture.stem, ONE_PICTURE, notes=notes, pixel_spacing_mm=pixel_spacing_mm
    )
