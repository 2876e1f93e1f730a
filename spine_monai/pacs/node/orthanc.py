"""The REST interface of an Orthanc: its changes, its files, and results put into it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from spine_monai.pacs.config import DicomWeb, Watch
from spine_monai.pacs.remote import RemoteRefusalError, Stored
from spine_monai.pacs.remotes.web_session import Meter, open_session, status_error, worded

NOT_THERE = 404
STORED = {"Success": "stored", "AlreadyStored": "it had it before"}


class Orthanc:
    """An Orthanc that we ask; use it in a ``with``, one thread at a time.

    Args:
        source: where it is, and who we are.
        max_object_mb: the largest object that is taken.

    Raises:
        ValueError: a secret is missing or would go in the clear, or a certificate cannot be used.
    """

    def __init__(self, source: Watch, max_object_mb: float) -> None:
        self.service = DicomWeb(
            url=source.url,
            authority=source.authority,
            user=source.user,
            password=source.password,
            timeout_s=source.timeout_s,
        )
        self._session = open_session(self.service, Meter(max_object_mb * 1e6))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def echo(self) -> str:
        """Return how it answers to what `watch` asks first.

        Raises:
            RemoteAwayError: it does not answer.
            RemoteRefusalError: it refuses us, or is no Orthanc.
        """
        return f"{self.service.url} answers as Orthanc, at change {self.last_change()}"

    def changes(self, since: int, limit: int) -> dict[str, Any]:
        """Return the changes after a number, the oldest first: ``Changes``, ``Last``, ``Done``."""
        return self._json("/changes", {"since": since, "limit": limit})

    def last_change(self) -> int:
        """Return the number of the latest change."""
        last = self._json("/changes?last", {}).get("Last")
        if not isinstance(last, int):
            raise self._no_orthanc()
        return last

    def sop_class(self, instance: str) -> str | None:
        """Return an instance's SOP class; ``None`` where it is gone."""
        content = self._get(f"/instances/{instance}/metadata/SopClassUid", {})
        return None if content is None else content.decode("ascii", "replace").strip()

    def file(self, instance: str) -> bytes | None:
        """Return an instance's file; ``None`` where it is gone."""
        return self._get(f"/instances/{instance}/file", {})

    def store(self, file: Path) -> Stored:
        """Put an object that lies on disk into it, byte for byte as it is."""
        with worded(self.service):
            answer = self._session.post(
                f"{self._root}/instances",
                data=file.read_bytes(),
                headers={"Content-Type": "application/dicom"},
                timeout=self.service.timeout_s,
            )
            if answer.status_code in (401, 403) or answer.status_code >= 500:
                raise status_error(self.service, answer.status_code)
            if not answer.ok:
                reason = f"it does not take the object (HTTP {answer.status_code})"
                return Stored(is_done=False, reason=reason, is_final=True)
            word = _word(answer.json())
        reason = STORED.get(word, "it answered something unknown")
        return Stored(is_done=word in STORED, reason=reason)

    @property
    def _root(self) -> str:
        return self.service.url.rstrip("/")

    def _json(self, path: str, parameters: Mapping[str, int]) -> dict[str, Any]:
        with worded(self.service):
            answer = self._ask(path, parameters)
            if not answer.ok:
                raise status_error(self.service, answer.status_code)
            content = answer.json()
        if not isinstance(content, dict):
            raise self._no_orthanc()
        return content

    def _no_orthanc(self) -> RemoteRefusalError:
        msg = f"{self.service.url} must be the REST interface of an Orthanc: it answers something "
        return RemoteRefusalError(msg + "else. Check `url`.")

    def _get(self, path: str, parameters: Mapping[str, int]) -> bytes | None:
        with worded(self.service):
            answer = self._ask(path, parameters)
            if answer.status_code == NOT_THERE:
                return None
            if not answer.ok:
                raise status_error(self.service, answer.status_code)
            content: bytes = answer.content
            return content

    def _ask(self, path: str, parameters: Mapping[str, int]) -> Any:
        return self._session.get(
            self._root + path, params=parameters, timeout=self.service.timeout_s
        )


def _word(content: Any) -> str:
    return str(content.get("Status")) if isinstance(content, dict) else ""
