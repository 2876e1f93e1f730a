"""Worker processes that take cases from one queue; one that dies costs its case a try, no more.

Each worker is a Python process of its own with its own networks. It holds one case at a time, so
that it is known over which case it died. It is replaced, and its case waits behind the others; a
worker that gets a case which has killed too often sees so by the marks (``tries``) and reports it.
"""

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Container, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.records import package_level, replay
from spine_monai.workflows.report import CaseReport, Reports
from spine_monai.workflows.slice_choice import Item
from spine_monai.workflows.tries import MAX_TRIES
from spine_monai.workflows.worker import Answer, Broken, Order

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PROGRAM = "from spine_monai.workflows.worker import main; main()"


class WorkerDeathError(ValueError):
    """Workers die before they can do any case."""


class Worker:
    """A worker process as its owner sees it.

    Args:
        order: what it is told at first.
        program: what it runs; another one does something of its own before.
    """

    def __init__(self, order: Order, program: str = PROGRAM) -> None:
        self.connection, theirs = Pipe()
        self.item: Item | None = None
        self.is_ready = False
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        threads = dict.fromkeys(THREADS, str(order.threads))
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | threads | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C is for the owner, which then ends its workers
            )
        self._send(order)

    def hand_out(self, item: Item) -> None:
        """Give it a case; if it is dead, that shows when its answer is awaited."""
        self.item = item
        self._send(item)

    def receive(self) -> Any:
        """Return its next message; ``None`` if it is dead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def stop(self) -> int:
        """End it, by force if it takes too long to clean up, and return its exit code."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.connection.close()
        return self.process.wait()

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            logger.debug("worker %d is gone", self.process.pid)


class Crew:
    """Worker processes and the queue before them; use it in a ``with``.

    Args:
        recipe: how each worker builds its program.
        count: number of workers; they share the processors.
        tries: folder of the marks of cases in work.
    """

    def __init__(self, recipe: Recipe, count: int, tries: Path) -> None:
        threads = max(1, processors() // count)
        self.order = Order(recipe, tries, threads, package_level())
        self.count = count
        self.workers: list[Worker] = []
        self.again: deque[Item] = deque()
        self.deaths = 0
        self.is_loaded = False

    def __enter__(self) -> "Crew":
        for _ in range(self.count):
            self.workers.append(Worker(self.order))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.stop()

    def run(self, items: Iterable[Item], alone: Container[str] = ()) -> Reports:  # noqa: ARG002
        """Do all items and yield each one's report when it is there, in any order.

        Args:
            items: the cases.
            alone: unused; each case has a process to itself.

        Raises:
            ValueError: the bundle, a format or a value is wrong.
            OSError: the output folder cannot be written.
            WorkerDeathError: workers die before they can do any case.
        """
        waiting = iter(items)
        while self._hand_out(waiting):
            news = wait([worker.connection for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.connection in news]:
                report = self._hear(worker)
                if report is not None:
                    yield report

    def _hand_out(self, waiting: Iterator[Item]) -> bool:
        """Give each idle worker a case; false when all cases are finished."""
        idle = [worker for worker in self.workers if worker.is_ready and worker.item is None]
        for number, worker in enumerate(idle):
            item = next(waiting, None) or (self.again.popleft() if self.again else None)
            if item is None:
                return number > 0 or any(worker.item for worker in self.workers)
            worker.hand_out(item)
        return True

    def _hear(self, worker: Worker) -> CaseReport | None:
        message = worker.receive()
        if message is None:
            self._replace(worker)
            return None
        if isinstance(message, Broken):
            raise message.error
        worker.is_ready, worker.item = True, None
        if not isinstance(message, Answer):
            replay(() if self.is_loaded else message.records)  # all say the same
            self.is_loaded = True
            return None
        replay(message.records)
        self.deaths = 0
        return message.report

    def _replace(self, worker: Worker) -> None:
        cause = _cause(worker.stop())
        if worker.item is not None:
            logger.warning("case %s: its worker ended (%s)", worker.item["id"], cause)
            self.again.append(worker.item)
        else:
            self.deaths += 1
        if self.deaths >= MAX_TRIES:
            msg = f"workers must live: {self.deaths} ended before any case was done, the last by "
            msg += f"{cause}. Use fewer --workers, if memory is short."
            raise WorkerDeathError(msg)
        self.workers[self.workers.index(worker)] = Worker(self.order)


def processors() -> int:
    """Return how many processors this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
