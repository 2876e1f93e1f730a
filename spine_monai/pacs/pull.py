"""Studies fetched from a PACS into a folder that ``spine-monai localize OUT/*`` takes."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset
from tqdm import tqdm

from spine_monai.files import sync_folder, write_whole
from spine_monai.pacs.config import PacsConfig, Pull
from spine_monai.pacs.keys import check_series_keys, parse_query
from spine_monai.pacs.pace import Throttle, wait_for
from spine_monai.pacs.pulled import DONE, FAILED, Pulled, SeriesRecord
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import Remote, RemoteAwayError, RemoteRefusalError, open_remote
from spine_monai.pacs.survey import FoundSeries, survey
from spine_monai.pacs.uids import checked_uid

logger = logging.getLogger(__name__)
RETRY_S = 1.0  # before the second try, doubled for each further one


@dataclass
class PullResult:
    """What a run did.

    Args:
        series: that the PACS has of the studies.
        done: fetched now.
        before: here from an earlier run.
        failed: could not be fetched.
        objects: fetched now.
        is_away: the PACS went away, so that the rest was not tried.
    """

    series: int = 0
    done: int = 0
    before: int = 0
    failed: int = 0
    objects: int = 0
    is_away: bool = False

    @property
    def text(self) -> str:
        """One line for the user."""
        wanted = self.done + self.before + self.failed
        return (
            f"{wanted} of {self.series} series are wanted: {self.done} fetched "
            f"({self.objects} objects), {self.before} here before, {self.failed} failed"
        )


def find(config: PacsConfig, query: str) -> list[FoundSeries]:
    """Return the series that a pull would meet, wanted or not; nothing is fetched.

    Args:
        config: with a part ``pull``.
        query: such as ``StudyDate=20260101-20260131 ModalitiesInStudy=MR``.

    Raises:
        ValueError: the query or ``pull.series`` cannot be, or the PACS refuses us.
        RemoteAwayError: the PACS does not answer.
    """
    silence_libraries()
    settings, keys = _settings(config), parse_query(query)
    with open_remote(config, settings.remote) as remote:
        return list(survey(remote, keys, settings.series))


def pull(
    config: PacsConfig, query: str, out: Path, *, at_once: bool = False, progress: bool = True
) -> PullResult:
    """Fetch the wanted series of the studies that match; what is here already is not fetched again.

    Args:
        config: with a part ``pull``.
        query: such as ``StudyDate=20260101-20260131 ModalitiesInStudy=MR``.
        out: folder; objects go to ``<study>/<series>/<SOPInstanceUID>.dcm`` in it.
        at_once: whatever ``pull.hours`` says.
        progress: show a bar on a terminal.

    Raises:
        ValueError: the query or ``pull.series`` cannot be, or the PACS refuses us.
        RemoteAwayError: the PACS does not answer.
        PullInUseError: another run fetches into the folder now.
        OSError: the folder cannot be written.
    """
    silence_libraries()
    settings, keys = _settings(config), parse_query(query)
    settings = settings.model_copy(update={"hours": None}) if at_once else settings
    with Pulled(out) as manifest, open_remote(config, settings.remote) as remote:
        _wait(settings)
        found = list(survey(remote, keys, settings.series))
        result = PullResult(series=sum(bool(one.number) for one in found))
        missing = _missing(found, manifest, result)
        with _bar(missing, progress=progress) as bar:
            fetcher = _Fetcher(settings, remote, manifest, bar)
            for series in missing:
                _wait(settings)
                if not fetcher.fetch(series, result):
                    break
    return result


def _settings(config: PacsConfig) -> Pull:
    if config.pull is None:
        msg = "the configuration must have the part `pull`; see docs/reference/pacs-yaml.md."
        raise ValueError(msg)
    check_series_keys(config.pull.series)
    return config.pull


def _wait(settings: Pull) -> None:
    wait_for(settings.hours, lambda text: logger.info("studies are fetched from %s", text))


def _missing(
    found: Sequence[FoundSeries], manifest: Pulled, result: PullResult
) -> list[FoundSeries]:
    """Return what is wanted and not here, and count the rest."""
    missing = []
    for series in found:
        if series.is_faulty:
            logger.warning("%s: %s", series.name, series.reason)
            result.failed += 1
        elif not series.reason:
            if manifest.is_done(series.study_uid, series.series_uid, series.expected):
                result.before += 1
            else:
                missing.append(series)
    return missing


def _bar(missing: Sequence[FoundSeries], *, progress: bool) -> "tqdm[Any]":
    counts = [series.expected for series in missing]
    total = None if None in counts else sum(count or 0 for count in counts)
    return tqdm(desc="pull", unit="object", total=total, disable=None if progress else True)


class _Fetcher:
    """Fetches series, each into its folder, as often as it may be tried."""

    def __init__(self, settings: Pull, remote: Remote, manifest: Pulled, bar: "tqdm[Any]") -> None:
        self._settings, self._remote, self._manifest, self._bar = settings, remote, manifest, bar
        self._throttle = Throttle(settings.objects_per_s)

    def fetch(self, series: FoundSeries, result: PullResult) -> bool:
        """Fetch a series, and return whether to go on: not if the PACS is away."""
        objects, tries, error = self._try_often(series)
        status = DONE if error is None else FAILED
        self._manifest.add(
            SeriesRecord(
                *(series.study_uid, series.series_uid, status, objects, series.expected, tries),
                reason=str(error or ""),
            )
        )
        if error is None:
            result.done, result.objects = result.done + 1, result.objects + objects
            return True
        logger.warning("%s: failed after %d tries: %s", series.name, tries, error)
        result.failed += 1
        result.is_away = isinstance(error, RemoteAwayError) and self._is_away()
        return not result.is_away

    def _try_often(self, series: FoundSeries) -> tuple[int, int, Exception | None]:
        objects, error = 0, None
        for tries in range(1, self._settings.max_tries + 1):
            objects, error = self._try(series)
            if error is None or isinstance(error, RemoteRefusalError):
                return objects, tries, error
            if tries < self._settings.max_tries:
                time.sleep(RETRY_S * 2 ** (tries - 1))
        return objects, self._settings.max_tries, error

    def _try(self, series: FoundSeries) -> tuple[int, Exception | None]:
        folder = self._manifest.folder(series.study_uid, series.series_uid)
        sink = _Folder(folder, series, self._throttle, self._bar)
        try:
            self._remote.retrieve(series.study_uid, series.series_uid, sink)
        except (RemoteAwayError, ValueError) as error:
            return len(sink.uids), error
        sink.end()
        count, expected = len(sink.uids), max(1, series.expected or 1)
        if count < expected:
            return count, RemoteAwayError(f"{count} of {expected} objects came.")
        return count, None

    def _is_away(self) -> bool:
        try:
            self._remote.echo()
        except RemoteAwayError:
            return True
        except RemoteRefusalError:
            return False
        return False


class _Folder:
    """Takes a series' objects, each whole or not at all, and nothing that is not of the series."""

    def __init__(
        self, folder: Path, series: FoundSeries, throttle: Throttle, bar: "tqdm[Any]"
    ) -> None:
        self._folder, self._series, self._throttle, self._bar = folder, series, throttle, bar
        self.uids: set[str] = set()

    def __call__(self, dataset: Dataset) -> None:
        own = (dataset.get("StudyInstanceUID"), dataset.get("SeriesInstanceUID"))
        if own != (self._series.study_uid, self._series.series_uid):
            msg = "an object must be of the series that was asked for: one of another came."
            raise ValueError(msg)
        uid = checked_uid(dataset, "SOPInstanceUID")
        self._throttle.take()
        try:
            write_whole(self._folder / f"{uid}.dcm", lambda path: _save(dataset, path))
        except OSError as error:  # its own words name the path, which is made of UIDs
            msg = f"{self._series.name}: its folder in --out must be writable: {error.strerror}"
            raise OSError(error.errno, msg) from None
        self.uids.add(uid)
        self._bar.update()

    def end(self) -> None:
        """Have the names of the files on the disk too."""
        if self._folder.is_dir():
            sync_folder(self._folder)


def _save(dataset: Dataset, path: Path) -> None:
    with path.open("wb") as stream:
        try:
            dataset.save_as(stream, enforce_file_format=True)
        except OSError:
            raise
        except Exception:  # its text may quote a value
            msg = "an object must be one that DICOM can hold: it is damaged."
            raise ValueError(msg) from None
        stream.flush()
        os.fsync(stream.fileno())
