"""The door through which every object comes in, from a sender or fetched: store, then ledger."""

import threading
import time
from collections import Counter
from collections.abc import Iterable

from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.log import log
from spine_monai.pacs.node.references import References
from spine_monai.pacs.node.store import Arrival, Place, Store

DISK_FULL, QUEUE_FULL = "disk_full", "queue_full"


class FullError(RuntimeError):
    """No object is taken now; it may be sent again later.

    Args:
        kind: under which it is counted.
        reason: in words.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Intake:
    """Puts objects into the store, and tells the ledger a little later, many at a time.

    Nothing is lost by that: what is on disk is counted again at each start. Several threads may
    put objects in, one tells.

    Args:
        store: where objects lie.
        ledger: that is told.
        references: names of the studies.
        settings: the limits.
    """

    def __init__(
        self, store: Store, ledger: Ledger, references: References, settings: Serve
    ) -> None:
        self.store, self.ledger, self.references = store, ledger, references
        self.settings = settings
        self._lock = threading.Lock()
        self._news: set[str] = set()
        self._coming: Counter[str] = Counter()
        self._open = ledger.open_studies()

    def keep(self, place: Place, pieces: Iterable[bytes | memoryview]) -> Arrival:
        """Put an object on disk for good.

        Raises:
            FullError: the disk is nearly full, or too many studies wait.
            OSError: the disk cannot be written.
        """
        if self.store.free_mb() < self.settings.min_free_mb:
            raise FullError(DISK_FULL, "the disk of this node is nearly full")
        self._begin(place.study)
        arrival = Arrival.OTHER
        try:
            arrival = self.store.keep(place, pieces)
            return arrival
        finally:
            self._end(place.study, is_news=arrival is not Arrival.OTHER)

    @property
    def is_full(self) -> bool:
        """Whether no further study is taken."""
        return len(self._open) >= self.settings.max_waiting_studies

    def tell(self) -> int:
        """Tell the ledger what came since last time; return how many studies that were.

        Raises:
            OSError: the ledger cannot be written; then it is told the next time.
        """
        with self._lock:
            news, self._news = self._news, set()
        try:
            self._tell_all(news)
        except OSError:
            with self._lock:
                self._news |= news
            raise
        waiting = self.ledger.open_studies()
        with self._lock:
            self._open = waiting | self._news | self._coming.keys()
        return len(news)

    def count_all(self) -> None:
        """Let the ledger know what lies on disk, after a start."""
        self._tell_all(self.store.studies())
        self.tell()

    def remove(self, study: str, reference: str) -> bool:
        """Remove a finished study's objects, unless one has just come."""
        with self.store.lock:
            with self._lock:
                if study in self._news or self._coming[study]:
                    return False
            self.store.remove(study)
            self.ledger.forget_objects(study)
        log("objects removed", reference=reference)
        return True

    def _tell_all(self, studies: Iterable[str]) -> None:
        now = time.time()
        for study in sorted(studies):
            self._tell(study, now)

    def _tell(self, study: str, now: float) -> None:
        reference = self.references.name(study)
        objects = self.store.count(study)
        if objects and self.ledger.arrive(study, reference, objects, now):
            log("objects came", reference=reference, objects=objects)

    def _begin(self, study: str) -> None:
        with self._lock:
            if study not in self._open:
                if len(self._open) >= self.settings.max_waiting_studies:
                    raise FullError(QUEUE_FULL, "too many studies wait in this node")
                self._open.add(study)
            self._coming[study] += 1

    def _end(self, study: str, *, is_news: bool) -> None:
        with self._lock:
            self._coming -= Counter((study,))
            if is_news:
                self._news.add(study)
