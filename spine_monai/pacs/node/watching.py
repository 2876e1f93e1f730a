"""``pacs watch``: the objects of an Orthanc come in as those of a sender do, without an open port.

Every new instance that its ``/changes`` names is looked at, and fetched if it is MR; then the study
is quiet after the same time as one that was sent. (Orthanc's own ``StableStudy`` would save some
questions, but an Orthanc that is restarted before it never tells it.) Our results are no MR.
"""

import logging
import threading
from collections.abc import Callable
from io import BytesIO

from pydicom import dcmread

from spine_monai.pacs.config import PacsConfig, Serve, Watch
from spine_monai.pacs.node.intake import FullError, Intake
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.log import log, without_names
from spine_monai.pacs.node.orthanc import Orthanc
from spine_monai.pacs.node.serving import Plan, Source, run_node
from spine_monai.pacs.node.store import Arrival, Place
from spine_monai.pacs.node.threads import Threads
from spine_monai.pacs.remote import Destination, RemoteAwayError, RemoteRefusalError, open_remote
from spine_monai.readers.headers import MR_CLASSES

CURSOR = "watch_cursor"
PAGE = 100
BACK = "orthanc"  # the destination's name where results go back to the same Orthanc
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def watch(config: PacsConfig, settings: Serve, source: Watch) -> int:
    """Follow an Orthanc until a signal comes; return the signal's number.

    Args:
        config: the whole file.
        settings: its part ``serve``; results go to its ``send_to``, else back to the Orthanc.
        source: its part ``watch``.

    Raises:
        FolderInUseError: another process serves the folder.
        ValueError: something in the configuration or bundle is wrong.
        OSError: the folder cannot be written.
    """
    return run_node(plan_of(config, settings, source))


def plan_of(config: PacsConfig, settings: Serve, source: Watch) -> Plan:
    """Return what a node does that follows an Orthanc."""

    def open_orthanc() -> Orthanc:
        return Orthanc(source, config.node.max_object_mb)

    def open_destination(name: str) -> Destination:
        return open_remote(config, name) if settings.send_to else open_orthanc()

    def watcher(intake: Intake, ledger: Ledger, note: Callable[[str], None]) -> Source:
        return Watcher(open_orthanc, source.poll_s, intake, ledger, note)

    open_orthanc()
    return Plan(settings, watcher, settings.send_to or BACK, open_destination)


class Watcher:
    """Fetches the MR objects that come to an Orthanc.

    Args:
        open_orthanc: gives it.
        poll_s: between questions, when there is nothing new.
        intake: takes what came.
        ledger: keeps how far its changes were followed.
        note_fault: counts what was refused, by kind.
    """

    def __init__(
        self,
        open_orthanc: Callable[[], Orthanc],
        poll_s: float,
        intake: Intake,
        ledger: Ledger,
        note_fault: Callable[[str], None],
    ) -> None:
        self.open_orthanc, self.poll_s = open_orthanc, poll_s
        self.intake, self.ledger, self.note_fault = intake, ledger, note_fault
        self._end = threading.Event()

    def start(self, threads: Threads) -> None:
        """Follow it from now on."""
        threads.start("watcher", self._run)

    def stop(self) -> None:
        """Follow it no further."""
        self._end.set()

    def _run(self, stop: threading.Event) -> None:
        with self.open_orthanc() as orthanc:
            is_known = False
            while not (stop.is_set() or self._end.is_set()):
                try:
                    if not is_known:
                        self._check_cursor(orthanc)
                        is_known = True
                    is_done = self._follow(orthanc, stop)
                except (RemoteAwayError, RemoteRefusalError) as error:
                    reason = without_names(str(error))
                    log("Orthanc cannot be followed", logging.WARNING, reason=reason)
                    is_known, is_done = False, True
                except FullError as error:
                    log("no more is taken now", logging.WARNING, reason=str(error))
                    is_done = True
                if is_done:
                    self._end.wait(self.poll_s)

    def _check_cursor(self, orthanc: Orthanc) -> None:
        """Begin anew where the Orthanc has fewer changes than we have seen: it is another one."""
        if orthanc.last_change() < self._cursor:
            log("Orthanc has begun anew", logging.WARNING)
            self.ledger.set(CURSOR, "0")

    @property
    def _cursor(self) -> int:
        return int(self.ledger.setting(CURSOR, "0"))

    def _follow(self, orthanc: Orthanc, stop: threading.Event) -> bool:
        """Take what one page of changes names; return whether there is no more."""
        answer = orthanc.changes(self._cursor, PAGE)
        for change in answer["Changes"]:
            if stop.is_set() or self._end.is_set():
                return False
            if change["ChangeType"] == "NewInstance":
                self._fetch(orthanc, str(change["ID"]))
            self.ledger.set(CURSOR, str(int(change["Seq"])))
        return bool(answer["Done"])

    def _fetch(self, orthanc: Orthanc, instance: str) -> None:
        if orthanc.sop_class(instance) not in MR_CLASSES:
            return
        content = orthanc.file(instance)
        if content is None:
            return
        place = _place(content)
        if place is None:
            self.note_fault("not_understood")
        elif self.intake.keep(place, [content]) is Arrival.OTHER:
            self.note_fault("same_uid_other_bytes")


def _place(content: bytes) -> Place | None:
    try:
        dataset = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(UIDS))
        return Place(*(str(dataset[name].value) for name in UIDS))
    except Exception:  # on damaged bytes pydicom raises errors of any kind
        return None
