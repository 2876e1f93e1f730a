"""The objects that came, each on disk for good before anybody is told that we have it.

An object lies at ``incoming/<study>/<series>/<instance>.dcm``. It is written aside, synced and
renamed; its folder is synced too. The first object of a UID stays; nothing is ever written over.
"""

import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from spine_monai.files import sync_folder
from spine_monai.pacs.uids import is_uid

SUFFIX = ".dcm"
CHUNK_BYTES = 1 << 20


class Arrival(Enum):
    """What came of an object."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"


@dataclass(frozen=True)
class Place:
    """Where an object belongs.

    Args:
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.

    Raises:
        ValueError: one of them is no UID.
    """

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        for part in ("study", "series", "instance"):
            if not is_uid(getattr(self, part)):
                msg = f"the UID of the {part} must be digits between single dots, 64 at most."
                raise ValueError(msg)


class Store:
    """The objects of a node's folder. Several threads may use it.

    Args:
        folder: of the node.
    """

    def __init__(self, folder: Path) -> None:
        self.incoming, self.aside = folder / "incoming", folder / "aside"
        self.lock = threading.Lock()

    def open(self) -> None:
        """Make the folders, and remove what a process that was killed had half done.

        Raises:
            OSError: the disk cannot be written.
        """
        shutil.rmtree(self.aside, ignore_errors=True)
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.aside.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.incoming.parent.parent, self.incoming.parent):
            sync_folder(folder)

    def keep(self, place: Place, pieces: Iterable[bytes | memoryview]) -> Arrival:
        """Put an object on disk for good.

        Args:
            place: where it belongs.
            pieces: its bytes.

        Returns:
            ``NEW``; ``SAME`` where it was there before; ``OTHER`` where another one of that UID is,
            which stays.

        Raises:
            OSError: the disk is full or cannot be written; then nothing is left of the object.
        """
        target = self.path(place)
        aside = self.aside / uuid.uuid4().hex
        try:
            _write_through(aside, pieces)
            with self.lock:
                arrival = self._place(aside, target)
            sync_folder(target.parent)  # also where another thread has just placed it
            return arrival
        finally:
            aside.unlink(missing_ok=True)

    def path(self, place: Place) -> Path:
        """Return where an object lies."""
        return self.study_folder(place.study) / place.series / f"{place.instance}{SUFFIX}"

    def study_folder(self, study: str) -> Path:
        """Return where a study's objects lie.

        Raises:
            ValueError: ``study`` is no UID.
        """
        if not is_uid(study):
            msg = "the UID of the study must be digits between single dots, 64 at most."
            raise ValueError(msg)
        return self.incoming / study

    def studies(self) -> Iterator[str]:
        """Yield the studies of which there are objects on disk."""
        for folder in sorted(self.incoming.iterdir()):
            if is_uid(folder.name) and self.count(folder.name):
                yield folder.name

    def count(self, study: str) -> int:
        """Return how many objects of a study are on disk."""
        return sum(1 for _ in self.study_folder(study).glob(f"*/*{SUFFIX}"))

    def remove(self, study: str) -> None:
        """Remove a study's objects; hold ``lock`` while it is decided, and call it within."""
        folder = self.study_folder(study)
        if folder.is_dir():
            aside = self.aside / uuid.uuid4().hex
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)

    def free_mb(self) -> float:
        """Return how much of the disk is free."""
        return shutil.disk_usage(self.incoming).free / 1e6

    def _place(self, aside: Path, target: Path) -> Arrival:
        if target.exists():
            return Arrival.SAME if _are_equal(aside, target) else Arrival.OTHER
        self._make_folder(target.parent)
        aside.rename(target)
        return Arrival.NEW

    def _make_folder(self, folder: Path) -> None:
        for one in (folder.parent, folder):
            if not one.is_dir():
                one.mkdir(mode=0o700)
                sync_folder(one.parent)


def _write_through(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def _are_equal(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while piece := first.read(CHUNK_BYTES):
            if piece != second.read(CHUNK_BYTES):
                return False
    return True
