"""UIDs of which paths are made; the rule is stricter than that of readers, who only quote them."""

import re

from pydicom import Dataset

LONGEST_UID = 64
UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and therefore can be a file's name: digits between single dots."""
    return len(text) <= LONGEST_UID and UID.fullmatch(text) is not None


def checked_uid(dataset: Dataset, keyword: str) -> str:
    """Return a UID of which a path may be made.

    Raises:
        ValueError: it is none; the message does not quote it.
    """
    uid = str(dataset.get(keyword) or "")
    if not is_uid(uid):
        msg = f"{keyword} must be 1 to 64 digits and points: it is something else."
        raise ValueError(msg)
    return uid
