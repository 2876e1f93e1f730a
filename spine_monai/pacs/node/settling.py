"""What is done now and then: tell the ledger what came, let studies wait for work, tidy up."""

import threading
import time
from collections import Counter

from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.audit import Audit
from spine_monai.pacs.node.intake import Intake
from spine_monai.pacs.node.ledger import Ledger

POLL_S = 0.25
TIDY_S = 60.0
DAY_S = 86400.0


class Faults:
    """Counts what is refused, and tells the ledger later: a full disk must not spoil the answer.

    Args:
        ledger: that is told.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        """Count a fault."""
        with self._lock:
            self._counts[kind] += 1

    def tell(self) -> None:
        """Tell the ledger what was counted since last time.

        Raises:
            OSError: the ledger cannot be written; then it is told the next time.
        """
        with self._lock:
            counts = sorted(self._counts.items())
        for kind, count in counts:
            self.ledger.note_fault(kind, count, time.time())
            with self._lock:
                self._counts -= Counter({kind: count})


class Settling:
    """Lets studies settle.

    Args:
        intake: what came.
        ledger: how far each study is.
        settings: when a study is quiet, and for how long its objects are kept.
        audit: gets a line where objects are removed.
        faults: what was refused.
    """

    def __init__(
        self, intake: Intake, ledger: Ledger, settings: Serve, audit: Audit, faults: Faults
    ) -> None:
        self.intake, self.ledger, self.faults = intake, ledger, faults
        self.settings, self.audit = settings, audit
        self._tidied_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Do so until told to stop, and once more then."""
        while not stop.is_set():
            self.step()
            stop.wait(POLL_S)
        self.intake.tell()
        self.faults.tell()

    def step(self) -> None:
        """Do so once."""
        self.intake.tell()
        self.faults.tell()
        now = time.time()
        self.ledger.settle(now, self.settings.quiet_s, self.settings.longest_wait_s)
        if self.settings.keep_days is not None and now - self._tidied_at > TIDY_S:
            self._tidied_at = now
            self._tidy(now - self.settings.keep_days * DAY_S)

    def _tidy(self, before: float) -> None:
        for study in self.ledger.expired(before):
            if self.intake.remove(study.uid, study.reference):
                self.audit.write("removed", study.reference, objects=study.objects)
