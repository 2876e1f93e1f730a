"""The whole export: studies in, images and landmarks without names out, a manifest of it all."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset

from spine_monai import __version__
from spine_monai.deidentify.key import read_or_make_key
from spine_monai.deidentify.manifest import (
    DONE,
    REFUSED,
    SKIPPED,
    Entry,
    add_entry,
    finished,
    own_export,
)
from spine_monai.deidentify.objects import export_object, patient_of, read_object
from spine_monai.deidentify.profile import PROFILE_VERSION
from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms
from spine_monai.deidentify.refusal import RefusedError
from spine_monai.deidentify.selection import (
    Selected,
    SelectionError,
    kinds_left_out,
    select_series,
)
from spine_monai.files import combined_sha256, sha256_of_file, sha256_of_stream
from spine_monai.readers import LocatedStudy, StudyError, locate_study

logger = logging.getLogger(__name__)

FOLDER = "landmarks"
NOTHING_LEFT = "none of its objects can be exported"


@dataclass(frozen=True)
class ExportOptions:
    """What the user decides for an export.

    Args:
        series_uid: the series to export; goes with one study.
        all_series: export every series of MR images.
        results: folder of ``localize``, whose landmarks go with the images.
    """

    series_uid: str | None = None
    all_series: bool = False
    results: Path | None = None


class Exporter:
    """Exports studies, each by itself.

    Args:
        out: folder of the export.
        key: from which pseudonyms are made.
        options: what the user decided.

    Raises:
        FileNotFoundError: there is no folder of results.
    """

    def __init__(self, out: Path, key: bytes, options: ExportOptions) -> None:
        self.out, self.options, self.pseudonyms = out, options, Pseudonyms(key)
        self.records = _records(options.results) if options.results else {}
        self.done_before = finished(out)

    def export_study(self, study: Path, number: int) -> list[Entry]:
        """Export what is chosen of a study, and write it into the manifest.

        Raises:
            OSError: the export cannot be written.
        """
        try:
            chosen = select_series(
                study, self.options.series_uid, all_series=self.options.all_series
            )
        except SelectionError as error:
            return [self._tell(Entry(REFUSED, number, str(error)))]
        left_out = kinds_left_out(study)
        return [self._tell(self._series(one, number, left_out)) for one in chosen]

    def _tell(self, entry: Entry) -> Entry:
        if entry.status != SKIPPED:
            add_entry(self.out, entry)
        if not entry.is_whole:
            reasons = "; ".join(f"{count} times: {why}" for why, count in entry.refused.items())
            reasons = f" ({reasons})" if reasons else ""
            logger.warning("study %d: %s%s", entry.study_number, entry.reason, reasons)
        return entry

    def _series(self, chosen: Selected, number: int, left_out: Counter[str]) -> Entry:
        try:
            patient = patient_of(_first_readable(chosen), self.pseudonyms)
            entry = self._begun(chosen, patient, number)
        except (RefusedError, StudyError) as error:
            return _refused(number, error, left_out)
        if entry.fingerprint in self.done_before:
            return replace(entry, status=SKIPPED)
        entry = replace(self._with_images(entry, chosen, patient), left_out=left_out)
        return self._with_landmarks(entry, chosen) if entry.objects else entry

    def _begun(self, chosen: Selected, patient: Patient, number: int) -> Entry:
        names = self.pseudonyms
        study_uid = str(chosen.instances[0].header.get("StudyInstanceUID") or "")
        folder = Path(patient.subject, names.folder("study", study_uid))
        return Entry(
            status=DONE,
            study_number=number,
            reason=chosen.reason,
            subject=patient.subject,
            study=names.uid(study_uid),
            series=names.uid(chosen.series_uid),
            folder=str(folder / names.folder("series", chosen.series_uid)),
            fingerprint=names.fingerprint(self._inputs(chosen)),
        )

    def _inputs(self, chosen: Selected) -> str:
        """What the export depends on: if it is the same, nothing is to do."""
        digests = []
        for source in chosen.sources:
            with source.open() as stream:
                digests.append(sha256_of_stream(stream))
        records = self.records.get(chosen.series_uid, [])
        inputs = [
            *(combined_sha256(digests), chosen.description, PROFILE_VERSION, __version__),
            *map(sha256_of_file, records),
        ]
        return json.dumps(inputs)

    def _with_images(self, entry: Entry, chosen: Selected, patient: Patient) -> Entry:
        folder = self.out / entry.folder
        for earlier in folder.glob("*.dcm"):
            earlier.unlink()
        written, refused, dropped = 0, Counter[str](), Counter[str]()
        for source in chosen.sources:
            try:
                dropped += export_object(read_object(source), patient, chosen.description, folder)
                written += 1
            except (RefusedError, StudyError) as error:
                refused[_reason_of(error)] += 1
        entry = replace(entry, objects=written, refused=refused, dropped=dropped)
        return entry if written else replace(entry, status=REFUSED, reason=NOTHING_LEFT)

    def _with_landmarks(self, entry: Entry, chosen: Selected) -> Entry:
        from spine_monai.deidentify.landmarks import export_landmarks

        records = self.records.get(chosen.series_uid, [])
        if not records:
            return entry
        try:
            exported = _located(self.out / entry.folder, entry)
            left_out = export_landmarks(records[0], exported, self.pseudonyms, self.out / FOLDER)
        except ValueError as error:
            why = "the exported series cannot be chosen" if isinstance(error, StudyError) else ""
            return replace(entry, landmarks_left_out=(why or str(error),))
        if len(records) > 1:
            left_out.append("the results have several records of the series: the first was taken")
        home = str(Path(FOLDER, entry.series))
        return replace(entry, landmarks=home, landmarks_left_out=tuple(left_out))


def deidentify(
    studies: Sequence[Path], out: Path, key_file: Path, options: ExportOptions = ExportOptions()
) -> list[Entry]:
    """Export studies without names; one that cannot be exported does not stop the others.

    Args:
        studies: DICOM folders, zips or files.
        out: folder of the export.
        key_file: holds the key; it is made where there is none.
        options: what to export.

    Returns:
        What became of each series, or of a study of which none was exported.

    Raises:
        ValueError: the key may be read by others or lies in the export, the export in a study, a
            series is named for several studies, or another run exports into the folder now.
        OSError: the export cannot be written.
    """
    _check_places(studies, out, key_file, options)
    key = read_or_make_key(key_file)
    entries = []
    with own_export(out):
        exporter = Exporter(out, key, options)
        for number, study in enumerate(studies, start=1):
            entries += exporter.export_study(study, number)
        if any(entry.landmarks for entry in entries):
            from spine_monai.writers.table import write_table  # imports MONAI, as landmarks do

            write_table(out / FOLDER)
    return entries


def _check_places(
    studies: Sequence[Path], out: Path, key_file: Path, options: ExportOptions
) -> None:
    if key_file.resolve().is_relative_to(out.resolve()):
        msg = "the key must not lie in the export: whoever has both can name the patients. Choose "
        msg += "another --key."
        raise ValueError(msg)
    if any(out.resolve().is_relative_to(study.resolve()) for study in studies):
        msg = (
            "the export must not lie in a study: it would be exported again. Choose another --out."
        )
        raise ValueError(msg)
    if options.series_uid and len(studies) > 1:
        msg = f"--series-uid must go with one study: got {len(studies)}. Export it by itself."
        raise ValueError(msg)


def _records(results: Path) -> dict[str, list[Path]]:
    from spine_monai.deidentify.landmarks import records_by_series

    return records_by_series(results)


def _first_readable(chosen: Selected) -> Dataset:
    error: Exception = RefusedError(NOTHING_LEFT)
    for source in chosen.sources:
        try:
            return read_object(source)
        except (RefusedError, StudyError) as found:
            error = found
    raise error


def _refused(number: int, error: Exception, left_out: Counter[str]) -> Entry:
    reason = _reason_of(error)
    return Entry(REFUSED, number, NOTHING_LEFT, refused=Counter([reason]), left_out=left_out)


def _reason_of(error: Exception) -> str:
    """The reason without the path that an error of reading names."""
    return str(error) if isinstance(error, RefusedError) else "its zip or file cannot be read"


def _located(folder: Path, entry: Entry) -> LocatedStudy:
    return replace(locate_study(folder, entry.series), stem=entry.folder)
