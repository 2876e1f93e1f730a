"""What the quality report says of each case, and which case comes first.

*Worst first*: cases that failed; then those to check (a landmark is absent or uncertain, the levels
are in doubt or out of order, a distance is far from usual, the size of the spine is, or grey values
are extreme); then those with another warning; then the rest. Within each group the least confidence
comes first (an absent landmark has none), then the widest radius, then the case id.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from spine_monai.viz.level_distances import LevelDistance, is_usual_size, measure_levels
from spine_monai.viz.thumbnails import THUMBNAIL_FILE, Thumbnail, read_thumbnail
from spine_monai.writers.json import RESULT_FILE, points_lps_of, read_case
from spine_monai.writers.run_report import REPORT_FILE, read_run_report

logger = logging.getLogger(__name__)

CHECK_CODES = {
    *("uncertain_landmarks", "level_in_doubt", "landmarks_out_of_order"),
    "extreme_grey_values",
}
EARLIER = "earlier"


class Concern(IntEnum):
    """How much a case asks to be looked at; the greater, the further up it stands."""

    NONE = 0
    WARNED = 1
    CHECK = 2
    FAILED = 3


@dataclass(frozen=True)
class CaseView:
    """One case as the page shows it.

    Args:
        case: id, the name of its folder.
        status: ``done``, ``skipped``, ``failed``, or ``earlier`` where another run made it.
        reason: why the series was taken, or why the case failed.
        duration_s: seconds spent on it in this run; ``None`` where it was not done in it.
        record: content of ``landmarks.json``; ``None`` where the case failed.
        files: names of the files in its folder.
        thumbnail: its slice, where there is one.
        warnings: ``code`` and ``message`` each.
    """

    case: str
    status: str
    reason: str
    duration_s: float | None = None
    record: Mapping[str, Any] | None = None
    files: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None
    warnings: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def landmarks(self) -> list[dict[str, Any]]:
        """The landmarks as they stand in ``landmarks.json``; none where the case failed."""
        return list(self.record["landmarks"]) if self.record else []

    @cached_property
    def levels(self) -> list[LevelDistance]:
        """Distances between neighbouring landmarks."""
        names = [entry["name"] for entry in self.landmarks]
        return measure_levels(names, points_lps_of(self.record, names)) if self.record else []

    @property
    def observations(self) -> list[str]:
        """What the page itself noticed about the distances between the landmarks."""
        far = [level for level in self.levels if level.judgement == "far"]
        said = [
            f"look at {level.upper} and {level.lower}: they lie {level.distance_mm:.0f} mm apart, "
            f"far from the usual {level.normal.median_mm * level.size:.0f} mm"
            for level in far
            if level.normal
        ]
        size = self.levels[0].size if self.levels else 1.0
        if not is_usual_size(size):
            message = f"check the pixel spacing: the landmarks lie {size:.2f} times as far apart "
            said.append(message + "as in other spines")
        return said

    @property
    def least_confidence(self) -> float | None:
        """The lowest confidence of a landmark, 0 where one is absent."""
        values = [entry["confidence"] or 0.0 for entry in self.landmarks]
        return min(values, default=None)

    @property
    def widest_radius_mm(self) -> float | None:
        """The widest 95 % radius of a landmark that was found."""
        radii = [entry["radius95_mm"] for entry in self.landmarks if entry["status"] != "absent"]
        return max(radii, default=None)

    @property
    def concern(self) -> Concern:
        """The group of the case."""
        if self.status == "failed":
            return Concern.FAILED
        codes = {warning["code"] for warning in self.warnings}
        is_unsure = any(entry["status"] != "found" for entry in self.landmarks)
        if is_unsure or codes & CHECK_CODES or self.observations:
            return Concern.CHECK
        return Concern.WARNED if codes else Concern.NONE

    @property
    def rank(self) -> tuple[float, float, float, str]:
        """What cases are sorted by, worst first."""
        radius_mm = self.widest_radius_mm
        return (
            -self.concern,
            self.least_confidence or 0.0,
            -(math.inf if radius_mm is None else radius_mm),
            self.case,
        )


@dataclass(frozen=True)
class RunView:
    """A whole output folder as the page shows it.

    Args:
        report: content of ``report.json``.
        cases: worst first.
        files: names of the files beside the case folders.
    """

    report: Mapping[str, Any]
    cases: list[CaseView]
    files: tuple[str, ...]


def read_run(output_dir: Path) -> RunView:
    """Read what lies in an output folder of ``localize``: this run's cases, and earlier ones.

    Raises:
        FileNotFoundError: there is no ``report.json``.
        ValueError: ``report.json`` cannot be read.
    """
    report = read_run_report(output_dir / REPORT_FILE)
    entries = {str(entry["case"]): entry for entry in report["cases"]}
    for file in output_dir.glob(f"*/{RESULT_FILE}"):
        entries.setdefault(file.parent.name, {"status": EARLIER, "reason": ""})
    views = [_read_case(output_dir / case, entry) for case, entry in entries.items()]
    return RunView(report, sorted(views, key=lambda view: view.rank), _files(output_dir))


def _read_case(folder: Path, entry: Mapping[str, Any]) -> CaseView:
    status, reason = str(entry["status"]), str(entry["reason"])
    duration_s = entry.get("duration_s") if status in ("done", "failed") else None
    if status == "failed":
        return CaseView(folder.name, status, reason, duration_s, files=_files(folder))
    try:
        record = read_case(folder / RESULT_FILE)
    except (ValueError, OSError) as error:
        logger.warning("case %s is shown as failed: %s", folder.name, error)
        return CaseView(folder.name, "failed", str(error), duration_s, files=_files(folder))
    return CaseView(
        folder.name,
        status,
        str(record.get("series_choice") or reason),
        duration_s,
        record,
        _files(folder),
        _thumbnail(folder),
        tuple(record.get("warnings", ())),
    )


def _thumbnail(folder: Path) -> Thumbnail | None:
    try:
        return read_thumbnail(folder / THUMBNAIL_FILE)
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("case %s is shown without its picture: %s", folder.name, error)
        return None


def _files(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    names = [path.name for path in folder.iterdir() if path.is_file()]
    hidden = (THUMBNAIL_FILE, "report.html")
    return tuple(sorted(n for n in names if not n.startswith(".") and n not in hidden))
