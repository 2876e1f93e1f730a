"""What one run did: ``report.json``."""

import json
import platform
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal

from spine_monai import __version__
from spine_monai.files import write_whole
from spine_monai.landmarks import LandmarkSet
from spine_monai.writers.run_report import REPORT_FILE, REPORT_FORMAT, REPORT_FORMAT_VERSION

CaseStatus = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class CaseReport:
    """What happened to one case.

    Args:
        case: its id.
        status: ``done``, ``skipped`` (finished before) or ``failed``.
        reason: why the series was taken, or why the case was skipped or failed.
        warnings: what the user should know, each with ``code`` and ``message``.
        duration_s: seconds spent on it.
        landmarks: the result where the case is done; not part of the file.
        digest: SHA-256 of the study, where it was read; not part of the file.
        tries: how often it was begun, this time included; 0 where nobody counted.
        is_poison: whether it failed because every try killed the process that made it.
    """

    case: str
    status: CaseStatus
    reason: str
    warnings: Sequence[Mapping[str, str]] = ()
    duration_s: float = 0.0
    landmarks: LandmarkSet | None = None
    digest: str | None = None
    tries: int = 0
    is_poison: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """The JSON-ready record."""
        return {
            "case": self.case,
            "status": self.status,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "duration_s": round(self.duration_s, 3),
        }


Reports = Generator[CaseReport, None, None]


@dataclass
class RunReport:
    """What ran, with which versions and weights, and the fate of each case.

    Args:
        bundle: description of the bundle.
        formats: kinds of files that were written.
        started: when, in seconds since 1970.
        cases: the fate of each case; of a run with a manifest only the failed ones, the others
            stand in the manifest.
        others: how many further cases had which status.
    """

    bundle: Mapping[str, Any]
    formats: tuple[str, ...]
    started: float
    cases: list[CaseReport] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @classmethod
    def start(cls, bundle: Mapping[str, Any], formats: tuple[str, ...]) -> "RunReport":
        """Return the report of a run that begins now."""
        return cls(bundle, formats, time.time())

    @property
    def failed(self) -> list[CaseReport]:
        """The cases that failed."""
        return [case for case in self.cases if case.status == "failed"]

    @property
    def counts(self) -> Counter[str]:
        """How many cases had which status."""
        return self.others + Counter(case.status for case in self.cases)

    def count(self, case: CaseReport) -> None:
        """Add a case, and keep no more of it than its status unless it failed."""
        if case.status == "failed":
            self.cases.append(case)
        else:
            self.others[case.status] += 1

    def write(self, output_dir: Path, cases: Iterable[CaseReport] | None = None) -> None:
        """Write ``report.json``, whole or not at all.

        Args:
            output_dir: where it goes.
            cases: the cases that stand in it; those of this report where not given.
        """
        entries = self.cases if cases is None else cases
        write_whole(output_dir / REPORT_FILE, lambda path: self._write_to(path, entries))

    def _write_to(self, path: Path, cases: Iterable[CaseReport]) -> None:
        """One case after the other, so that a million of them need no memory."""
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started))
        head = {
            "format": REPORT_FORMAT,
            "format_version": REPORT_FORMAT_VERSION,
            "use": "research only, not for clinical use",
            "software": {"name": "spine_monai", "version": __version__, **software_versions()},
            "bundle": self.bundle,
            "formats": list(self.formats),
            "started": started,
            "duration_s": round(time.time() - self.started, 3),
        }
        with path.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(head, indent=1).removesuffix("\n}") + ',\n "cases": [')
            _write_entries(stream, (json.dumps(case.content, indent=1) for case in cases))
            stream.write("]\n}\n")


def _write_entries(stream: IO[str], entries: Iterator[str]) -> None:
    separator = "\n"
    for entry in entries:
        stream.write(separator + "  " + entry.replace("\n", "\n  "))
        separator = ",\n"
    stream.write("\n " if separator != "\n" else "")


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make the result."""
    packages = ("monai", "torch", "pytorch-ignite", "numpy", "pydicom", "SimpleITK", "nibabel")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
