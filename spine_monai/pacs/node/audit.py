"""The audit file: what was done with which study, when, by which model, and where it went."""

import json
import os
import threading
import time
from pathlib import Path

AUDIT_FILE = "audit.jsonl"


class Audit:
    """Appends a line an outcome; each is on disk before the call returns.

    Args:
        folder: of the node.
        model: digest of the weights.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.file, self.model = folder / AUDIT_FILE, model
        self._lock = threading.Lock()

    def write(self, outcome: str, reference: str, **fields: str | float | int | None) -> None:
        """Append a line.

        Args:
            outcome: what came of it: done, ignored, failed, poisoned, sent, refused, removed.
            reference: of the study.
            **fields: such as the destination's name and seconds; nothing of a patient.

        Raises:
            OSError: the disk is full.
        """
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"time": moment, "reference": reference, "outcome": outcome, "model": self.model}
        text = json.dumps(line | {key: value for key, value in fields.items() if value is not None})
        with self._lock, self.file.open("ab", buffering=0) as stream:
            os.chmod(stream.fileno(), 0o600)
            _append(stream.fileno(), f"{text}\n".encode())


def _append(descriptor: int, line: bytes) -> None:
    """Bring a line to the disk, or leave nothing of it."""
    end = os.fstat(descriptor).st_size
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        os.truncate(descriptor, end)
        raise
