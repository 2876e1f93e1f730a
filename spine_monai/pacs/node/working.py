"""The threads that hand studies to worker processes, one study at a time and one thread a worker.

A worker that dies costs its study a try, and after ``max_tries`` the study is poisoned. The ledger
counts the tries, over restarts too: a study that brings down the whole machine is set aside, too.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.audit import Audit
from spine_monai.pacs.node.isolation import PROGRAM
from spine_monai.pacs.node.ledger import Ledger, State, Study
from spine_monai.pacs.node.log import log, without_names
from spine_monai.pacs.node.outbox import Outbox
from spine_monai.pacs.node.reasons import why_failed, why_ignored
from spine_monai.pacs.node.store import Store
from spine_monai.workflows.cases import ListedStudy
from spine_monai.workflows.outputs import CASE_FILES
from spine_monai.workflows.processes import Worker, WorkerDeathError
from spine_monai.workflows.report import CaseReport
from spine_monai.workflows.tries import MAX_TRIES, remove_leftovers
from spine_monai.workflows.worker import Answer, Broken, Order

POLL_S = 0.25
POISON = "it ended the process that worked on it {tries} times, as by a crash or by using up memory"


@dataclass(frozen=True)
class Bench:
    """What all workers of a node share.

    Args:
        order: what each worker is told at first.
        settings: of the node.
        store: where objects lie.
        ledger: gives studies, and takes what came of them.
        outbox: takes results.
        audit: gets a line for each outcome.
        destination: name of who gets the results; they stay here where it is none.
    """

    order: Order
    settings: Serve
    store: Store
    ledger: Ledger
    outbox: Outbox
    audit: Audit
    destination: str | None = None

    @property
    def results(self) -> Path:
        """Where results lie, a folder a study."""
        return self.order.recipe.output_dir

    @property
    def program(self) -> str:
        """What a worker runs."""
        return PROGRAM.format(isolation=self.settings.isolate_workers)

    def begin(self, study: Study) -> bool:
        """Return whether a claimed study is to be done; one tried too often is set aside."""
        if study.tries > self.settings.max_tries:
            self.end(study, "poisoned", POISON.format(tries=study.tries - 1))
            return False
        remove_leftovers(self.results / study.reference)
        (self.order.tries / study.reference).unlink(missing_ok=True)  # the ledger counts
        log("work begins", reference=study.reference, try_number=study.tries)
        return True

    def item(self, study: Study) -> dict[str, Any]:
        """Return a study as a worker takes it."""
        folder = self.store.study_folder(study.uid)
        return {"id": study.reference, "image": ListedStudy(str(folder))}

    def conclude(self, study: Study, report: CaseReport) -> None:
        """Note what came of a study, and let its results be sent.

        The audit comes first: an outcome of which the disk takes no line has not been.

        Raises:
            OSError: the disk cannot be written.
        """
        if report.status in ("done", "skipped"):
            seconds = report.duration_s
            self.audit.write("done", study.reference, objects=study.objects, seconds=seconds)
            state = self.outbox.add(study.uid, self._files(study), self.destination, time.time())
            _tell(study, state, "done", seconds=seconds)
        elif reason := why_ignored(report.reason):
            self.end(study, "ignored", reason)
        else:
            self.end(study, "failed", why_failed(report.reason))

    def end(self, study: Study, state: State, reason: str) -> None:
        """Note that a study goes no further.

        Raises:
            OSError: the disk cannot be written.
        """
        self.audit.write(state, study.reference, objects=study.objects, reason=reason)
        now = self.ledger.finish(study.uid, state, time.time(), reason)
        _tell(study, now, state, reason=reason)

    def _files(self, study: Study) -> list[Path]:
        return [self.results / study.reference / CASE_FILES[name] for name in self.settings.formats]


class Hand:
    """One worker process and the study that it has.

    Args:
        bench: what it shares with others.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.deaths = 0  # of workers before they could do any study
        self.study: Study | None = None

    def run(self, stop: threading.Event) -> None:
        """Do studies until told to stop; the study in work is then put back.

        Raises:
            ValueError: the bundle, a format or a value is wrong.
            WorkerDeathError: workers die before they can do any study.
            OSError: the disk cannot be written; it may be run again.
        """
        self._put_back(counts=False)  # after such an error
        while not stop.is_set():
            worker = Worker(self.bench.order, self.bench.program)
            try:
                self._serve(worker, stop)
            finally:
                worker.stop()

    def _serve(self, worker: Worker, stop: threading.Event) -> None:
        """Hand studies to a worker until it is gone."""
        if not self._is_ready(worker, stop):
            return
        while not stop.is_set():
            if worker.process.poll() is not None:
                return
            self.study = self.bench.ledger.claim(time.time())
            if self.study is None:
                stop.wait(POLL_S)
            elif not self.bench.begin(self.study):
                self.study = None
            elif not self._do(worker, self.study, stop):
                return

    def _is_ready(self, worker: Worker, stop: threading.Event) -> bool:
        message = _next_message(worker, stop)
        if isinstance(message, Broken):
            if isinstance(message.error, OSError):
                self._wait_for_disk(message.error, stop)
                return False
            raise message.error
        if message is None and not stop.is_set():
            self.deaths += 1
            log("a worker ended before it was ready", logging.ERROR)
            if self.deaths >= MAX_TRIES:
                msg = f"workers must live: {self.deaths} ended before any study was begun. Use "
                raise WorkerDeathError(msg + "fewer serve.workers, if memory is short.")
        return message is not None

    def _do(self, worker: Worker, study: Study, stop: threading.Event) -> bool:
        """Do a study; return whether the worker can do another."""
        worker.hand_out(self.bench.item(study))
        message = _next_message(worker, stop)
        if isinstance(message, Answer):
            self.deaths = 0
            self.bench.conclude(study, message.report)
            self.study = None
            return True
        self._put_back(counts=message is None and not stop.is_set())
        if isinstance(message, Broken):
            self._wait_for_disk(message.error, stop)
        elif not stop.is_set():
            log("the worker of a study ended", logging.ERROR, reference=study.reference)
        return False

    def _put_back(self, *, counts: bool) -> None:
        if self.study is not None:
            self.bench.ledger.put_back(self.study.uid, time.time(), counts=counts)
            self.study = None

    def _wait_for_disk(self, error: Exception, stop: threading.Event) -> None:
        reason = without_names(f"{type(error).__name__}: {getattr(error, 'strerror', None)}")
        log("results cannot be written", logging.ERROR, reason=reason)
        stop.wait(self.bench.settings.retry_s)


def _tell(study: Study, state: str, outcome: str, **fields: Any) -> None:
    level = logging.ERROR if outcome in ("failed", "poisoned") else logging.INFO
    log(f"work ends: {outcome}", level, reference=study.reference, state=state, **fields)


def _next_message(worker: Worker, stop: threading.Event) -> Any:
    """The worker's next message; ``None`` where it is gone, or we are to stop."""
    while not stop.is_set():
        try:
            has_news = worker.connection.poll(POLL_S)
        except OSError:
            return None
        if has_news:
            return worker.receive()
    return None
