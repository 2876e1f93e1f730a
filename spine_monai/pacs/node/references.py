"""Names for studies that say nothing of a patient: HMACs with a key that stays in its file."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_FILE = "audit.key"
KEY_BYTES = 32
LETTERS = 16


class References:
    """Gives each study the same name each time, which only who has the key can trace back.

    Args:
        key: the secret.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, folder: Path) -> "References":
        """Read the key of a node's folder, and make it at the first start.

        Raises:
            ValueError: the file holds no key.
            OSError: it cannot be read or written.
        """
        file = folder / KEY_FILE
        if not file.exists():
            _write_key(file)
        key = file.read_bytes()
        if len(key) != KEY_BYTES:
            msg = f"{file} must hold a key of {KEY_BYTES} bytes: got {len(key)}. Bring it back from"
            raise ValueError(msg + " a backup; with another key all studies get other names.")
        return cls(key)

    def name(self, study_uid: str) -> str:
        """Return the name of a study: 16 hexadecimal digits."""
        return hmac.new(self._key, study_uid.encode(), hashlib.sha256).hexdigest()[:LETTERS]


def _write_key(file: Path) -> None:
    aside = file.with_name(f".{file.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
