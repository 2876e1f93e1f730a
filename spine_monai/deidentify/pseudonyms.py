"""New identifiers by HMAC-SHA256: the same over runs and machines, and leading back by no way."""

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta

from pydicom.uid import UID_dictionary

MOST_DAYS = 365


@dataclass(frozen=True)
class Pseudonyms:
    """Makes new identifiers from old ones.

    Args:
        key: the secret; it is never shown.
    """

    key: bytes = field(repr=False)

    def uid(self, uid: str) -> str:
        """Return the UID in place of another; one that DICOM itself defines stays.

        Source: DICOM PS3.5 B.2, UUID derived UID.
        """
        if uid in UID_dictionary:
            return uid
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=5).int}"

    def subject(self, patient: str) -> str:
        """Return the subject key of a patient: ``S-`` and eight letters or digits."""
        return f"S-{self._short('subject', patient)}"

    def folder(self, kind: str, uid: str) -> str:
        """Return the name of a folder: ``study-`` or ``series-`` and eight letters or digits."""
        return f"{kind}-{self._short(kind, uid)}"

    def fingerprint(self, text: str) -> str:
        """Return what tells whether something is the same as before, to whoever has the key."""
        return self._digest("fingerprint", text).hex()

    def days_earlier(self, patient: str) -> timedelta:
        """Return by how many days the dates of a patient are moved: 1 to 365."""
        number = int.from_bytes(self._digest("days", patient)[:8], "big")
        return timedelta(days=1 + number % MOST_DAYS)

    def _short(self, purpose: str, text: str) -> str:
        return base64.b32encode(self._digest(purpose, text)[:5]).decode("ascii")

    def _digest(self, purpose: str, text: str) -> bytes:
        message = f"{purpose}\0{text}".encode("utf-8", errors="surrogateescape")
        return hmac.new(self.key, message, hashlib.sha256).digest()


@dataclass(frozen=True)
class Patient:
    """Whose images these are, and how the export calls them.

    Args:
        identity: PatientID and its issuer, or the study where there is none; never written.
        pseudonyms: of the key.
    """

    identity: str = field(repr=False)
    pseudonyms: Pseudonyms

    @property
    def subject(self) -> str:
        """Subject key."""
        return self.pseudonyms.subject(self.identity)

    def moved(self, day: date) -> date:
        """Return a date in the export.

        Raises:
            OverflowError: it would lie before the calendar.
        """
        return day - self.pseudonyms.days_earlier(self.identity)
