"""The thread that sends what waits in the outbox.

A file is sent as it is, again and again while the other system is away. The system that gets an
object a second time, since we were killed before we could note the first, knows it by its UID and
its equal bytes.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from spine_monai.files import sha256_of_file
from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.audit import Audit
from spine_monai.pacs.node.log import log, without_names
from spine_monai.pacs.node.outbox import Outbox, Parcel
from spine_monai.pacs.remote import Destination, RemoteAwayError, RemoteRefusalError, Stored

POLL_S = 0.25
SPOILT = "its file was changed or removed; it is none of ours any more"
HURRY = "hurry"  # the setting by which another process asks to send now


class Sender:
    """Sends what waits in the outbox.

    Args:
        outbox: of the node.
        settings: how often, and how patiently.
        open_destination: gives the remote of a name.
        audit: gets a line for each object sent or refused.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Serve,
        open_destination: Callable[[str], Destination],
        audit: Audit,
    ) -> None:
        self.outbox, self.settings, self.audit = outbox, settings, audit
        self.open_destination = open_destination
        self.pauses = 0  # how often the destination was away, one after the other
        self.pause_until = 0.0
        self.rounds = 0  # how often all that was due was tried

    def run(self, stop: threading.Event, hurry: Callable[[], bool]) -> None:
        """Send until told to stop.

        Args:
            stop: tells so.
            hurry: whether somebody asks not to wait for the end of a pause.
        """
        while not stop.is_set():
            if hurry():
                self.pauses, self.pause_until = 0, 0.0
            is_pausing = time.time() < self.pause_until
            sent = 0 if is_pausing else self.send_due(stop)
            self.rounds += not is_pausing
            if not sent:
                stop.wait(POLL_S)

    def send_due(self, stop: threading.Event | None = None) -> int:
        """Send what is due now, over one connection; return how many were sent."""
        parcels = self.outbox.due(time.time())
        sent = 0
        for name in dict.fromkeys(parcel.remote for parcel in parcels):
            own = [parcel for parcel in parcels if parcel.remote == name]
            sent += self._send_to(name, own, stop)
        return sent

    def _send_to(self, name: str, parcels: list[Parcel], stop: threading.Event | None) -> int:
        sent = 0
        try:
            with self.open_destination(name) as remote:
                for parcel in parcels:
                    if stop is not None and stop.is_set():
                        break
                    sent += self._send(remote, parcel)
        except (RemoteAwayError, ValueError) as error:
            self._pause(name, parcels, error)
        return sent

    def _send(self, remote: Destination, parcel: Parcel) -> bool:
        if not parcel.file.is_file() or sha256_of_file(parcel.file) != parcel.sha256:
            self._leave(parcel)
            return False
        stored = _store(remote, parcel.file)
        self.pauses = 0
        if stored.is_done:
            self._close(parcel, "sent", stored)
        elif stored.is_final or parcel.tries + 1 >= self.settings.max_tries:
            self._close(parcel, "refused", stored)
        else:
            next_at = time.time() + self._delay_s(parcel.tries)
            self.outbox.postpone(parcel, without_names(stored.reason), next_at, counts=True)
        return stored.is_done

    def _leave(self, parcel: Parcel) -> None:
        """Do not send a file that is another one now: its study is done anew, or it was spoilt."""
        if self.outbox.is_sending(parcel):
            self._close(parcel, "refused", Stored(is_done=False, reason=SPOILT))
        else:
            later = time.time() + self.settings.retry_s
            self.outbox.postpone(parcel, "its study is done anew", later, counts=False)

    def _close(self, parcel: Parcel, outcome: str, stored: Stored) -> None:
        reason = without_names(stored.reason)
        self.audit.write(
            outcome, parcel.reference, destination=parcel.remote, file=parcel.file.name
        )
        self.outbox.close(parcel, outcome, reason, time.time())
        level = logging.INFO if outcome == "sent" else logging.ERROR
        log(f"result {outcome}", level, reference=parcel.reference, destination=parcel.remote)

    def _pause(self, name: str, parcels: list[Parcel], error: Exception) -> None:
        reason, delay_s = without_names(str(error)), self._delay_s(self.pauses)
        self.pauses += 1
        self.pause_until = time.time() + delay_s
        for parcel in self.outbox.due(time.time()):
            if parcel in parcels:
                self.outbox.postpone(parcel, reason, 0.0, counts=False)
        event = "destination is away" if isinstance(error, RemoteAwayError) else "it refuses us"
        again_in_s = round(delay_s, 1)
        log(event, logging.WARNING, destination=name, reason=reason, again_in_s=again_in_s)

    def _delay_s(self, times: int) -> float:
        longest: float = self.settings.longest_retry_s
        return min(longest, self.settings.retry_s * 2.0 ** min(times, 30))


def _store(remote: Destination, file: Path) -> Stored:
    try:
        return remote.store(file)
    except RemoteRefusalError:
        raise
    except ValueError as error:  # the file itself cannot be sent
        return Stored(is_done=False, reason=str(error), is_final=True)
