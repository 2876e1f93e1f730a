"""Another system as a DICOMweb service: QIDO-RS, WADO-RS, STOW-RS."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from spine_monai.pacs.config import DicomWeb
from spine_monai.pacs.keys import SERIES_KEYS, STUDY_KEYS
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError, Sink, Stored
from spine_monai.pacs.remotes.statuses import stored_as
from spine_monai.pacs.remotes.web_session import Meter, open_session, status_error, worded
from spine_monai.pacs.uids import is_uid

MEGABYTE = 1_000_000
PAGE = 200  # matches that are asked for at a time
AS_STORED = (("application/dicom", "*"),)
IN_WORDS = {400: "it cannot read it", 413: "it is too large", 415: "it does not take its kind"}


class WebRemote:
    """A DICOMweb service that we call.

    Args:
        service: whom we call.
        max_object_mb: the largest object, or page of matches, that is taken.

    Raises:
        ValueError: a secret is missing, or a certificate cannot be used.
    """

    def __init__(self, service: DicomWeb, max_object_mb: float = 256.0) -> None:
        silence_libraries()
        self.service = service
        self._meter = Meter(max_object_mb * MEGABYTE)
        self._session = open_session(service, self._meter)
        self._client = DICOMwebClient(
            service.url.rstrip("/"),
            session=self._session,
            timeout=service.timeout_s,
            permissive_uid=True,  # ours are checked before
        )
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def echo(self) -> str:
        """Return who answered QIDO-RS."""
        with worded(self.service):
            self._client.search_for_studies(limit=1)
        return f"{self.service.url} answers QIDO-RS"

    def find_studies(self, query: Mapping[str, str]) -> Iterator[Dataset]:
        """Yield identifiers of the studies that match."""
        filters = dict(query)
        yield from self._pages(
            "StudyInstanceUID",
            lambda **page: self._client.search_for_studies(
                fields=STUDY_KEYS, search_filters=filters, **page
            ),
        )

    def find_series(self, study_uid: str) -> Iterator[Dataset]:
        """Yield a study's series with what tells them apart."""
        self._check_uids(study_uid)
        yield from self._pages(
            "SeriesInstanceUID",
            lambda **page: self._client.search_for_series(study_uid, fields=SERIES_KEYS, **page),
        )

    def retrieve(self, study_uid: str, series_uid: str, sink: Sink) -> int:
        """Hand a series' objects to ``sink`` as they come, and return how many they were."""
        self._check_uids(study_uid, series_uid)
        count = 0
        try:
            for dataset in self._objects(study_uid, series_uid):
                sink(dataset)
                count += 1
        finally:
            self._meter.end()
        return count

    def store(self, file: Path) -> Stored:
        """Send an object that lies on disk, byte for byte as it is.

        Raises:
            RemoteAwayError: it could not be sent, and may be later.
            RemoteRefusalError: we may not send.
            ValueError: the file is no DICOM file, or too large.
        """
        if file.stat().st_size > self._meter.most:
            msg = f"{file.name} must have at most {self._meter.most / MEGABYTE:g} MB, "
            msg += "node.max_object_mb: it has more."
            raise ValueError(msg)
        content = file.read_bytes()
        if content[128:132] != b"DICM":
            msg = f"{file.name} must be a DICOM file with preamble and meta information."
            raise ValueError(msg)
        with worded(self.service):
            return self._outcome(self._post(content))

    def _pages(self, key: str, search: Callable[..., list[dict[str, Any]]]) -> Iterator[Dataset]:
        """Ask page by page until nothing new comes; some services ignore the offset."""
        seen: set[str] = set()
        offset = 0
        while True:
            with worded(self.service):
                page = [self._dataset(one) for one in search(limit=PAGE, offset=offset)]
            fresh = [one for one in page if str(one.get(key)) not in seen]
            if not fresh:
                return
            seen |= {str(one.get(key)) for one in fresh}
            offset += len(page)
            yield from fresh

    def _dataset(self, content: Any) -> Dataset:
        try:
            return Dataset.from_json(content)
        except Exception:  # whatever it is, its text may quote the answer
            msg = f"{self.service.url} must answer with DICOM JSON: it answered something else."
            raise RemoteRefusalError(msg) from None

    def _objects(self, study_uid: str, series_uid: str) -> Iterator[Dataset]:
        with worded(self.service):
            objects = self._client.iter_series(study_uid, series_uid, media_types=AS_STORED)
        while True:
            with worded(self.service):
                dataset = self._next(objects)
            if self._meter.is_torn:
                msg = f"{self.service.url} went away in the middle of its answer."
                raise RemoteAwayError(msg)
            if dataset is None:
                return
            self._meter.reset()
            yield dataset

    def _next(self, objects: Iterator[Dataset]) -> Dataset | None:
        try:
            return next(objects, None)
        except RemoteRefusalError:  # of the meter
            raise
        except (InvalidDicomError, ValueError, EOFError):
            msg = f"{self.service.url} must answer with DICOM objects: it answered something else."
            raise RemoteRefusalError(msg) from None

    def _post(self, content: bytes) -> requests.Response:
        mark = uuid.uuid4().hex
        head = f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={mark}'
        return self._session.post(
            f"{self.service.url.rstrip('/')}/studies",
            data=b"".join([head, content, f"\r\n--{mark}--\r\n".encode()]),
            headers={"Content-Type": kind, "Accept": "application/dicom+json"},
            timeout=self.service.timeout_s,
            allow_redirects=False,  # it would become a GET that succeeds
        )

    def _outcome(self, response: requests.Response) -> Stored:
        code = response.status_code
        failures = _failures(response)
        if failures and code in (200, 202, 409):
            return stored_as(failures[0])
        if code in (200, 202):
            return Stored(is_done=True, reason=f"stored (HTTP {code})")
        if code in IN_WORDS or code == 409:
            reason = f"{IN_WORDS.get(code, 'it does not take it')} (HTTP {code})"
            return Stored(is_done=False, reason=reason, is_final=True)
        raise status_error(self.service, code)

    @staticmethod
    def _check_uids(*uids: str) -> None:
        if not all(is_uid(uid) for uid in uids):
            msg = "a UID must be 1 to 64 digits and points: it is something else."
            raise ValueError(msg)


def _failures(response: requests.Response) -> list[int]:
    """Return the reasons of an answer's failures; an empty sequence of them means success."""
    try:
        answer = response.json()
        answer = answer[0] if isinstance(answer, list) else answer
        items = answer.get("00081198", {}).get("Value", [])
        return [int(item["00081197"]["Value"][0]) for item in items]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return []
