"""The folder of a node, which one process at a time may serve."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from spine_monai.files import take_lock

LOCK_FILE = "serve.lock"
TRIES, PAUSE_S = 5, 0.05


class FolderInUseError(ValueError):
    """Another process serves the folder."""


class FolderLock:
    """The right to serve a folder; it ends with the process, however that ends.

    Args:
        folder: of the node; made if need be, readable by its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stream = (self.folder / LOCK_FILE).open("a")
        if not self._is_taken():
            self._stream.close()
            msg = "serve.folder must be served by one process at a time: another one serves "
            msg += f"{self.folder}. Stop it first, or name another folder."
            raise FolderInUseError(msg)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def _is_taken(self) -> bool:
        """Try for a moment: another process may be only asking whether the folder is served."""
        for _ in range(TRIES):
            if take_lock(self._stream.fileno()):
                return True
            time.sleep(PAUSE_S)
        return False
