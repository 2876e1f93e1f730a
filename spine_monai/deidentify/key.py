"""The key from which pseudonyms are made: 32 random bytes in a file that only its owner may read.

Whoever has the key and an original can tell which export is its; without it nothing leads back.
"""

import os
import re
import secrets
import stat
from pathlib import Path

KEY_BYTES = 32
KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


def read_or_make_key(path: Path) -> bytes:
    """Read the key, or make it where there is no file yet.

    Args:
        path: a file of 64 hexadecimal digits; it is made with mode 0600.

    Raises:
        ValueError: others may read the file, or it holds no such key.
        OSError: it can be neither read nor made.
    """
    try:
        return _make(path)
    except FileExistsError:
        return _read(path)


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(key.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return key


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        content = stream.read(4 * KEY_BYTES).strip().lower()
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        msg = f"{path} must be for its owner alone: its mode is {stat.S_IMODE(mode):04o}. Run "
        msg += f"`chmod 600 {path}`, and make another key if others may have read it."
        raise ValueError(msg)
    text = content.decode("ascii", errors="replace")
    if not KEY.fullmatch(text):
        msg = f"{path} must hold {2 * KEY_BYTES} hexadecimal digits, as this command makes them: "
        msg += f"got {len(text)} characters. Name another file to make a key."
        raise ValueError(msg)
    return bytes.fromhex(text)
