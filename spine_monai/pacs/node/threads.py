"""The threads of a node: trouble with the disk is waited out, any other trouble ends the node."""

import logging
import threading
from collections.abc import Callable

from spine_monai.pacs.node.log import log, without_names

Loop = Callable[[threading.Event], None]


class Threads:
    """Runs loops, each in a thread, until told to stop.

    Args:
        pause_s: before a loop that had trouble with the disk is run again.
    """

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def start(self, name: str, loop: Loop) -> None:
        """Run a loop, which returns soon after ``stop`` is set."""
        thread = threading.Thread(target=self._run, args=(name, loop), name=name)
        self._threads.append(thread)
        thread.start()

    def check(self) -> None:
        """Raise what ended a loop, if anything did."""
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Stop all loops, and wait until they have ended."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, loop: Loop) -> None:
        while not self.stop.is_set():
            try:
                loop(self.stop)
            except OSError as error:  # the database's trouble is one, too
                reason = without_names(f"{type(error).__name__}: {error}")
                log("trouble with the disk", logging.ERROR, thread=name, reason=reason)
                self.stop.wait(self.pause_s)
            except BaseException as error:
                self.error = self.error or error
                return
