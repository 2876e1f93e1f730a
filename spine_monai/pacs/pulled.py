"""The manifest of a pull: a line for each series that has come or failed, so that the next goes on.

``.pull.jsonl`` in the output folder: its name begins with a point so that ``localize OUT/*`` takes
the studies alone. A line is on the disk before the next series begins. A crash may tear the last
one; it is cut off, and that series fetched again. The file is locked while a run writes it.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spine_monai.files import take_lock

FORMAT, FORMAT_VERSION = "spine_monai.pull", 1
FILE = ".pull.jsonl"
DONE, FAILED = "done", "failed"


class PullInUseError(RuntimeError):
    """Another run fetches into this folder now."""


@dataclass(frozen=True)
class SeriesRecord:
    """What became of a series.

    Args:
        study: its StudyInstanceUID.
        series: its SeriesInstanceUID.
        status: ``done`` or ``failed``.
        objects: that lie in its folder.
        expected: that the PACS said it has; ``None`` if it did not say.
        tries: in this run.
        reason: why it failed.
    """

    study: str
    series: str
    status: str
    objects: int
    expected: int | None
    tries: int
    reason: str = ""


class Pulled:
    """A manifest that is open for a run's lines; use it in a ``with``.

    Args:
        out: the folder that is filled.

    Raises:
        PullInUseError: another run has it.
        ValueError: the file is no manifest.
        OSError: it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.path = out, out / FILE
        self._stream = self.path.open("a+b")
        try:
            self._lock()
            self._records = self._read()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        if self.path.stat().st_size == 0:
            self._write({"format": FORMAT, "format_version": FORMAT_VERSION})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def folder(self, study_uid: str, series_uid: str) -> Path:
        """Return where a series' objects lie; both UIDs have been checked."""
        return self.out / study_uid / series_uid

    def is_done(self, study_uid: str, series_uid: str, expected: int | None) -> bool:
        """Return whether a series is here whole: its line says so, and so do its files.

        Args:
            study_uid: of its study.
            series_uid: its own.
            expected: how many objects the PACS has of it now, where it says so.
        """
        record = self._records.get(series_uid)
        if record is None or record.status != DONE or record.objects < (expected or 0):
            return False
        folder = self.folder(study_uid, series_uid)
        return sum(1 for _ in folder.glob("*.dcm")) >= record.objects

    def add(self, record: SeriesRecord) -> None:
        """Write what became of a series, and wait until it is on the disk."""
        self._records[record.series] = record
        self._write(asdict(record) | {"ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")})

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _lock(self) -> None:
        if not take_lock(self._stream.fileno()):
            msg = f"{self.path} is in use: another run fetches into this folder now. Run again "
            msg += "when it has ended."
            raise PullInUseError(msg)

    def _read(self) -> dict[str, SeriesRecord]:
        """Return the last word on each series; what a crash left of a line is cut off."""
        self._stream.seek(0)
        content = self._stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._stream.truncate(len(whole))
        lines = [self._line(number, line) for number, line in enumerate(whole.splitlines(), 1)]
        return {record.series: record for record in lines if record is not None}

    def _line(self, number: int, line: bytes) -> SeriesRecord | None:
        try:
            content = dict(json.loads(line))
            if number == 1 and (content["format"], content["format_version"]) == (
                FORMAT,
                FORMAT_VERSION,
            ):
                return None
            content.pop("ended")
            return SeriesRecord(**content)
        except (ValueError, KeyError, TypeError):
            msg = f"{self.path} must hold lines of {FORMAT} version {FORMAT_VERSION}: line "
            msg += f"{number} is none. Move the file away; the series are then fetched again."
            raise ValueError(msg) from None
