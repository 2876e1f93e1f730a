"""Files on disk and inside zips, both read where they are: nothing is unpacked to disk.

So the name of a zip's member is only a name: ``../x`` leads nowhere.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from spine_monai.readers.errors import StudyError

# An Enhanced MR file of a whole spine has some 200 MB. A member is read up to the size that the
# zip's directory names, so this also bounds what a bomb unpacks to.
MAX_MEMBER_BYTES = 1 << 30
ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Source:
    """Where the bytes of a file are.

    Args:
        path: the file; for one inside a zip, the zip's path followed by the name in it.
        archive: the zip that holds it, or ``None``.
        member: its name in the zip.
    """

    path: Path
    archive: Path | None = None
    member: str = ""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the bytes.

        Raises:
            OSError: the file cannot be opened.
            StudyError: its zip is damaged.
        """
        if self.archive is None:
            with self.path.open("rb") as stream:
                yield stream
        else:
            with open_zip(self.archive) as archive, open_member(archive, self) as stream:
                yield stream


def is_zip(path: Path) -> bool:
    """Whether the file's name says that it is a zip."""
    return path.suffix.lower() == ".zip"


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip.

    Raises:
        StudyError: it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except BROKEN as error:
        msg = f"{path} must be a readable zip: {type(error).__name__}. Copy it again."
        raise StudyError(msg) from error
    with archive:
        yield archive


@contextmanager
def open_member(archive: zipfile.ZipFile, source: Source) -> Iterator[IO[bytes]]:
    """Open one file of an open zip.

    Raises:
        StudyError: it is gone, too large, encrypted, or packed in an unknown way.
    """
    try:
        info = archive.getinfo(source.member)
        if info.file_size > MAX_MEMBER_BYTES:
            msg = f"{source.path} must be at most {MAX_MEMBER_BYTES} bytes: got {info.file_size}."
            raise StudyError(msg)
        stream = archive.open(info)
    except (*BROKEN, KeyError) as error:
        if isinstance(error, StudyError):
            raise
        msg = f"{source.path} must be readable: {type(error).__name__}. Unpack the zip."
        raise StudyError(msg) from error
    with stream:
        yield stream


def list_zip(path: Path) -> list[Source]:
    """Return the files in a zip, in the order of their names.

    Raises:
        StudyError: the zip is damaged or encrypted.
    """
    with open_zip(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
    encrypted = sum(bool(info.flag_bits & ENCRYPTED) for info in members)
    if encrypted:
        msg = f"{path} must not be encrypted: {encrypted} of its {len(members)} files are. Unpack "
        msg += "it with its password, and name the folder."
        raise StudyError(msg)
    names = sorted({info.filename for info in members})
    return [Source(path / name.lstrip("/"), path, name) for name in names]
