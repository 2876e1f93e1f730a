"""``deidentified.jsonl``: what was exported and what was not, one line a series.

It holds new identifiers only. The last line about a series counts; a torn one at the end is left
out.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spine_monai import __version__
from spine_monai.deidentify.profile import METHOD, OPTIONS, PROFILE_VERSION
from spine_monai.files import take_lock

MANIFEST_FILE = "deidentified.jsonl"
FORMAT, FORMAT_VERSION = "spine_monai.deidentified", 1
DONE, REFUSED, SKIPPED = "done", "refused", "skipped"


@dataclass(frozen=True)
class Entry:
    """What became of a series, or of a study of which none was exported.

    Args:
        status: ``done`` or ``refused``; ``skipped`` where an earlier run did it.
        study_number: place of the study among those of the call, from 1.
        reason: why this series, or why nothing.
        subject: subject key.
        study: new StudyInstanceUID.
        series: new SeriesInstanceUID.
        folder: of the images, below the export.
        objects: how many were written.
        refused: how many objects were not written, by the reason.
        dropped: how often attributes were dropped, by keyword.
        left_out: how many objects of the study are of kinds that are never exported.
        landmarks: folder of the landmarks, below the export; empty where there are none.
        landmarks_left_out: why landmarks or a form of them were left out.
        fingerprint: of what was read and how, for whoever has the key.
    """

    status: str
    study_number: int
    reason: str
    subject: str = ""
    study: str = ""
    series: str = ""
    folder: str = ""
    objects: int = 0
    refused: Mapping[str, int] = field(default_factory=Counter)
    dropped: Mapping[str, int] = field(default_factory=Counter)
    left_out: Mapping[str, int] = field(default_factory=Counter)
    landmarks: str = ""
    landmarks_left_out: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was asked for was exported, now or before."""
        return self.status != REFUSED and not self.refused


@contextmanager
def own_export(out: Path) -> Iterator[None]:
    """Have an export for this run alone.

    Raises:
        ValueError: another run writes it now.
        OSError: it cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / MANIFEST_FILE).open("ab") as stream:
        if not take_lock(stream.fileno()):
            msg = f"{out / MANIFEST_FILE} is in use: another run exports into this folder now. Run "
            msg += "again when it has ended."
            raise ValueError(msg)
        yield


def add_entry(out: Path, entry: Entry) -> None:
    """Write a line, and wait until it is on the disk."""
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "software": {"name": "spine_monai", "version": __version__},
        "profile": {"version": PROFILE_VERSION, "method": METHOD, "options": OPTIONS},
    }
    line = json.dumps(head | vars(entry), sort_keys=True, allow_nan=False) + "\n"
    with (out / MANIFEST_FILE).open("a+b") as stream:
        stream.seek(0, os.SEEK_END)
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else f"\n{line}"
        stream.write(line.encode("ascii"))
        stream.flush()
        os.fsync(stream.fileno())


def finished(out: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of exports that are still whole, by their fingerprint.

    Args:
        out: folder of the export.
    """
    last: dict[str, dict[str, Any]] = {}
    for line in _lines(out / MANIFEST_FILE):
        if line.get("series"):
            last[line["series"]] = line
    return {line["fingerprint"]: line for line in last.values() if _is_there(out, line)}


def _is_there(out: Path, line: Mapping[str, Any]) -> bool:
    images = len(list((out / str(line["folder"])).glob("*.dcm")))
    is_whole = line["status"] == DONE and images == line["objects"] > 0
    return is_whole and (out / str(line["landmarks"])).is_dir()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            content = json.loads(line)
        except ValueError:  # a crash tore it
            continue
        if isinstance(content, dict) and content.get("format_version") == FORMAT_VERSION:
            yield content
