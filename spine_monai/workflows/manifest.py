"""The manifest of a run: one line for each case that is finished, so that the next run goes on.

``manifest-<I>-of-<N>.jsonl`` in the output folder, JSON lines. A line with ``format`` says what a
run was about to do (its *job*); a line with ``id`` what became of a case. Each line is on the disk
before the next case counts. A crash may tear the last line; it is cut off, and that case done
again. The file is locked while a run writes it.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from spine_monai import __version__
from spine_monai.files import take_lock
from spine_monai.workflows.report import CaseReport, software_versions
from spine_monai.workflows.shards import Shard

FORMAT = "spine_monai.manifest"
FORMAT_VERSION = 1
KIND = (FORMAT, FORMAT_VERSION)
KEYS = {"id", "status", "reason", "warnings", "tries", "seconds", "digest", "job"}
PATTERN = "manifest-*-of-*.jsonl"
TIME = "%Y-%m-%dT%H:%M:%S%z"
BLOCK = 1 << 16
DONE, FAILED, POISON = "done", "failed", "poison"


class ManifestInUseError(RuntimeError):
    """Another run writes this manifest now."""


def job_key(job: Mapping[str, Any]) -> str:
    """Return what tells one job's lines from another's: a digest of what the job is."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:16]


class Manifest:
    """A manifest open for one run's lines; use it in a ``with``.

    Args:
        output_dir: where it lies.
        shard: the part of the cases that it is about.
        job: bundle, options and formats of the run, ready for JSON.

    Raises:
        ManifestInUseError: another run has it.
        OSError: it cannot be written, or the file system has no locks.
    """

    def __init__(self, output_dir: Path, shard: Shard, job: Mapping[str, Any]) -> None:
        self.path = output_dir / f"manifest-{shard.name}.jsonl"
        self.job, self.key = job, job_key(job)
        output_dir.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("a+b")
        try:
            _lock(self._stream.fileno(), self.path)
            _cut_torn_line(self._stream.fileno())
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "Manifest":
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "job": self.key}
        software = {"name": "spine_monai", "version": __version__, **software_versions()}
        self._write(head | {"started": _now(), "software": software, **self.job})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()

    def add(self, report: CaseReport, slice_index: int | None = None) -> None:
        """Write what became of a case, and wait until it is on the disk.

        Args:
            report: what became of it.
            slice_index: the slice that the case asked for; ``None`` left it to the evidence.
        """
        status = POISON if report.is_poison else FAILED if report.status == "failed" else DONE
        line = {
            "id": report.case,
            "status": status,
            "reason": report.reason,
            "warnings": list(report.warnings),
            "tries": report.tries,
            "seconds": round(report.duration_s, 3),
            "digest": report.digest,
            "slice_index": slice_index,
            "ended": _now(),
            "job": self.key,
        }
        self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


class Word(NamedTuple):
    """Where the manifests have their last word on a case, its status and the slice asked for."""

    status: str
    path: Path
    offset: int
    slice_index: int | None = None

    def report(self) -> CaseReport:
        """Read the line as the report of a case.

        Raises:
            OSError: the manifest is gone.
        """
        line = self._line()
        return CaseReport(
            line["id"],
            "done" if line["status"] == DONE else "failed",
            line["reason"],
            line["warnings"],
            line["seconds"],
            digest=line["digest"],
            tries=line["tries"],
            is_poison=line["status"] == POISON,
        )

    def is_later_than(self, earlier: "Word") -> bool:
        """Say whether the case ended later with this word than with one read before it.

        Raises:
            OSError: a manifest is gone.
        """
        return self.path == earlier.path or self._end() > earlier._end()

    def _end(self) -> tuple[float, bool]:
        """When the case ended; of one second, success counts as later."""
        ended = datetime.strptime(self._line()["ended"], TIME)
        return ended.timestamp(), self.status == DONE

    def _line(self) -> dict[str, Any]:
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return dict(json.loads(stream.readline()))


def last_words(output_dir: Path, key: str) -> dict[str, Word]:
    """Return the last word on each case in any manifest of a folder: what came of it latest.

    Args:
        output_dir: where the manifests lie.
        key: of the job that they must be about.

    Raises:
        ValueError: a file is no manifest.
    """
    words: dict[str, Word] = {}
    for path in sorted(output_dir.glob(PATTERN)):
        for offset, line in _lines(path):
            if "id" not in line or line["job"] != key:
                continue
            word = Word(sys.intern(line["status"]), path, offset, line.get("slice_index"))
            earlier = words.get(line["id"])
            if earlier is None or word.is_later_than(earlier):
                words[line["id"]] = word
    return words


def first_start(output_dir: Path, key: str) -> float | None:
    """Return when the first run of a job began, in seconds since 1970; ``None`` if none did."""
    heads = [
        line["started"]
        for path in output_dir.glob(PATTERN)
        for _, line in _lines(path)
        if "id" not in line and line["job"] == key
    ]
    return min((datetime.strptime(text, TIME).timestamp() for text in heads), default=None)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Offset and content of each whole line; a last one that is torn is left out."""
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            yield offset, _content(line, path, number)
            offset += len(line)


def _content(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        content = json.loads(line)
        is_ours = "id" in content or (content["format"], content["format_version"]) == KIND
        if is_ours and set(content) >= ({"job"} if "id" not in content else KEYS):
            return dict(content)
    except (ValueError, KeyError, TypeError):
        pass
    msg = f"{path} must hold lines of {FORMAT} version {FORMAT_VERSION}: line {number} is none. "
    msg += "Move the file away; cases with results are then checked, not done again."
    raise ValueError(msg)


def _lock(descriptor: int, path: Path) -> None:
    try:
        is_ours = take_lock(descriptor)
    except OSError as error:
        msg = f"{path} must lie on a file system with locks (flock): {error.strerror}. Choose "
        msg += "another --out, or mount it with locks."
        raise OSError(error.errno, msg) from error
    if not is_ours:
        msg = f"{path} is in use: another run does this shard now. Run again when it has ended."
        raise ManifestInUseError(msg)


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what a crash left of a line at the end."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - BLOCK)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)


def _now() -> str:
    return time.strftime(TIME)
