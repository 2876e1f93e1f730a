"""The signals that end a node: it is asked to, and ends when its work is put down."""

import signal
import threading
from types import FrameType
from typing import Self

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Takes SIGTERM and SIGINT; use it in a ``with``, in the main thread.

    ``number`` is that of the first signal that came, 0 before.
    """

    def __init__(self) -> None:
        self.number = 0
        self._came = threading.Event()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in ENDING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Wait until a signal comes, or some seconds."""
        self._came.wait(seconds)

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - its interface
        self.number = self.number or number
        self._came.set()
