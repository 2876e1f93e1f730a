"""Files that appear whole, that one process has at a time; their digests and places."""

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file aside, then rename it into place; on any error nothing is left.

    Args:
        path: where the file shall appear; its folder is made.
        write: called with the path to fill. It has the suffix of ``path``.

    Raises:
        OSError: the folder cannot be written.
    """
    write_all_whole({path: write})


def write_all_whole(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Fill all files aside, then rename them into place in their order.

    If one cannot be filled, none appears, and nothing is left.

    Args:
        writers: where each file shall appear, and what fills it; see ``write_whole``.

    Raises:
        OSError: a folder cannot be written.
    """
    asides = {path: path.with_name(f".{uuid.uuid4().hex}-{path.name}") for path in writers}
    for path in writers:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for path, write in writers.items():
            write(asides[path])
        for path, aside in asides.items():
            aside.replace(path)
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)


def place_of(path: str | Path) -> Path:
    """Return where a file or a link to it lies: links to folders are followed, its own is not.

    What a file's link leads to is no name to go by: git-annex and DataLad keep files elsewhere.
    """
    path = Path(path)
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk: else a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_lock(descriptor: int) -> bool:
    """Lock an open file for this process, however it ends, and return whether it was free.

    Raises:
        OSError: the file system has no locks (flock).
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return sha256_of_stream(stream)


def sha256_of_stream(stream: IO[bytes]) -> str:
    """Return the SHA-256 of the bytes that a stream still holds, in hexadecimal."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Return one SHA-256 for a set of files, whatever their names and order."""
    return combined_sha256(sha256_of_file(path) for path in paths)


def combined_sha256(digests: Iterable[str]) -> str:
    """Return one SHA-256 for those of a set of files, whatever their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
