"""What lies at a path: every DICOM image below it, grouped into series; other files are counted.

Only headers are read. Files are told apart by their content, never by their names.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from zipfile import ZipFile

from tqdm import tqdm

from spine_monai.readers.archive import (
    BROKEN,
    Source,
    is_zip,
    list_zip,
    open_member,
    open_zip,
)
from spine_monai.readers.errors import StudyError
from spine_monai.readers.grouping import group_series
from spine_monai.readers.headers import CHUNK_BYTES, Frame, Ignored, is_dicomdir, read_images
from spine_monai.readers.quiet import silence_pydicom
from spine_monai.readers.series import Instance, Series

SECONDS_OF_PATIENCE = 1.0


@dataclass(frozen=True)
class StudyIndex:
    """The series below a path, and what else lies there.

    Args:
        path: what the caller named.
        series: parts of series, each on one grid; in the order of SeriesNumber.
        ignored: how many files gave no image, by the reason.
        damaged: the DICOM files that cannot be read.
    """

    path: Path
    series: tuple[Series, ...]
    ignored: Counter[Ignored]
    damaged: tuple[Path, ...]

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)


def index_study(path: Path) -> StudyIndex:
    """Read the headers below a folder, in a zip, or of one file's series.

    Args:
        path: a folder, searched at any depth, zips in it too; a zip; a DICOMDIR, which stands for
            its folder; or one DICOM file, whose series is looked up in its folder.

    Raises:
        StudyError: there is no DICOM image, or the zip is damaged or encrypted.
    """
    silence_pydicom()
    path = path.parent if path.is_file() and _is_dicomdir(path) else path
    sources, unreadable = _sources(path)
    ignored, instances = Counter({Ignored.DAMAGED: len(unreadable)}), []
    for source, found in _read_all(sources):
        if isinstance(found, Ignored):
            ignored[found] += 1
            unreadable += [source.path] if found is Ignored.DAMAGED else []
        else:
            instances += [_instance(source, frame) for frame in found]
    if path.is_file() and not is_zip(path):
        instances = _same_series(instances, path)
    if not instances:
        raise StudyError(_nothing_found(path, len(sources), unreadable))
    series = group_series(instances, tuple(unreadable))
    return StudyIndex(path, series, ignored, tuple(unreadable))


def _is_dicomdir(file: Path) -> bool:
    with file.open("rb") as stream:
        return is_dicomdir(stream.read(CHUNK_BYTES))


def _instance(source: Source, frame: Frame) -> Instance:
    return Instance(source.path, frame.header, frame.unreadable, frame.number, source)


def _same_series(instances: list[Instance], path: Path) -> list[Instance]:
    uids = {i.header.SeriesInstanceUID for i in instances if i.path == path}
    return [i for i in instances if i.header.SeriesInstanceUID in uids]


def _nothing_found(path: Path, count: int, damaged: list[Path]) -> str:
    count = 1 if path.is_file() and not is_zip(path) else count
    msg = f"{path} must hold DICOM images: none of its {count} files is one."
    if damaged:
        msg += f" {len(damaged)} look like DICOM but have a damaged header: {damaged[0]}."
    return msg


def _sources(path: Path) -> tuple[list[Source], list[Path]]:
    """The files to look into, and what cannot be opened."""
    if is_zip(path) and path.is_file():
        return list_zip(path), []
    files, unreadable = _files_below(path) if path.is_dir() else (_files_in(path.parent), [])
    sources = []
    for file in files:
        try:
            sources += list_zip(file) if path.is_dir() and is_zip(file) else [Source(file)]
        except (StudyError, OSError):
            unreadable.append(file)
    return sources, unreadable


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files at any depth, and the folders that cannot be listed.

    Linked folders are searched too, each folder once, so that a loop of links ends.
    """
    files: list[Path] = []
    closed: list[Path] = []
    seen = {_identity(folder)}
    for root, names, here in os.walk(
        folder, followlinks=True, onerror=lambda error: closed.append(Path(str(error.filename)))
    ):
        below = {name: _identity(Path(root, name)) for name in sorted(names)}
        names[:] = [name for name, identity in below.items() if identity not in seen]
        seen.update(below.values())
        files += [file for name in sorted(here) if (file := Path(root, name)).is_file()]
    return files, closed


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _read_all(sources: list[Source]) -> Iterator[tuple[Source, list[Frame] | Ignored]]:
    progress = tqdm(
        *(sources, "headers"), unit=" files", disable=None, leave=False, delay=SECONDS_OF_PATIENCE
    )
    for path, group in itertools.groupby(progress, key=attrgetter("archive")):
        with open_zip(path) if path else nullcontext() as archive:
            for source in group:
                yield source, _read(source, archive)


def _read(source: Source, archive: ZipFile | None) -> list[Frame] | Ignored:
    try:
        with open_member(archive, source) if archive else source.open() as stream:
            return read_images(stream)
    except (OSError, *BROKEN):
        return Ignored.DAMAGED
