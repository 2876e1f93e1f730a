"""What one run did: ``report.json``."""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from spine_monai import __version__
from spine_monai.files import write_text
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
    """

    case: str
    status: CaseStatus
    reason: str
    warnings: Sequence[Mapping[str, str]] = ()
    duration_s: float = 0.0
    landmarks: LandmarkSet | None = None

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


@dataclass
class RunReport:
    """What ran, with which versions and weights, and the fate of each case."""

    bundle: Mapping[str, Any]
    formats: tuple[str, ...]
    started: float
    cases: list[CaseReport] = field(default_factory=list)

    @classmethod
    def start(cls, bundle: Mapping[str, Any], formats: tuple[str, ...]) -> "RunReport":
        """Return the report of a run that begins now."""
        return cls(bundle, formats, time.time())

    @property
    def failed(self) -> list[CaseReport]:
        """The cases that failed."""
        return [case for case in self.cases if case.status == "failed"]

    def write(self, output_dir: Path) -> None:
        """Write ``report.json``, whole or not at all."""
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started))
        content = {
            "format": REPORT_FORMAT,
            "format_version": REPORT_FORMAT_VERSION,
            "use": "research only, not for clinical use",
            "software": {"name": "spine_monai", "version": __version__, **_versions()},
            "bundle": self.bundle,
            "formats": list(self.formats),
            "started": started,
            "duration_s": round(time.time() - self.started, 3),
            "cases": [case.content for case in self.cases],
        }
        write_text(output_dir / REPORT_FILE, json.dumps(content, indent=1) + "\n")


def _versions() -> dict[str, str]:
    packages = ("monai", "torch", "pytorch-ignite", "numpy", "pydicom", "SimpleITK", "nibabel")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
