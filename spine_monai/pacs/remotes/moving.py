"""Objects that come to us: on our own association (C-GET), or to our node while C-MOVE runs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt

from spine_monai.pacs.config import Dimse, Node
from spine_monai.pacs.remote import Sink
from spine_monai.pacs.remotes.association import Call
from spine_monai.pacs.remotes.contexts import TRANSFER_SYNTAXES, storage_classes
from spine_monai.pacs.tls import server_context

MEGABYTE = 1_000_000
OUT_OF_RESOURCES, SUCCESS = 0xA700, 0x0000


class Inbox:
    """Hands objects to a sink one after the other, and keeps the first error for who waits.

    Args:
        sink: takes each object.
        max_object_mb: the largest object that is taken.
    """

    def __init__(self, sink: Sink, max_object_mb: float) -> None:
        self._sink, self._most = sink, max_object_mb * MEGABYTE
        self._lock = threading.Lock()
        self._bytes: dict[int, int] = {}  # since the last object, by association
        self._is_busy, self._touched_s = False, time.monotonic()
        self.count = 0
        self.error: BaseException | None = None

    @property
    def handlers(self) -> list[tuple[Any, Any]]:
        """What pynetdicom must tell it."""
        return [(evt.EVT_C_STORE, self._take), (evt.EVT_DATA_RECV, self._weigh)]

    def check(self) -> None:
        """Raise what the sink raised, if it did."""
        if self.error is not None:
            raise self.error

    @property
    def silence_s(self) -> float:
        """For how long nothing has come; 0 while the sink works."""
        return 0.0 if self._is_busy else time.monotonic() - self._touched_s

    def touch(self) -> None:
        """Count something that came as a sign of life."""
        self._touched_s = time.monotonic()

    def _take(self, event: Any) -> int:
        with self._lock:
            self._bytes[id(event.assoc)] = 0
            if self.error is not None:
                return OUT_OF_RESOURCES
            self._is_busy = True
            try:
                self._sink(_object_of(event))
            except BaseException as error:  # raised again by check(), in the thread that waits
                self.error = error
                return OUT_OF_RESOURCES
            finally:
                self.touch()
                self._is_busy = False
            self.count += 1
            return SUCCESS

    def _weigh(self, event: Any) -> None:
        self.touch()
        key = id(event.assoc)
        self._bytes[key] = self._bytes.get(key, 0) + len(event.data)
        if self._bytes[key] <= self._most:
            return
        if self.error is None:
            msg = f"an object must have at most {self._most / MEGABYTE:g} MB, node.max_object_mb: "
            msg += "a larger one came."
            self.error = ValueError(msg)
        event.assoc.dul.socket.close()  # no more of it is read


def _object_of(event: Any) -> Dataset:
    dataset: Dataset = event.dataset
    dataset.file_meta = event.file_meta
    return dataset


@contextmanager
def open_node(node: Node, remote: Dimse, inbox: Inbox) -> Iterator[None]:
    """Run our node for the objects of one other, and for nobody else.

    Raises:
        ValueError: the port is taken, or a certificate cannot be used.
    """
    entity = AE(node.aet)
    entity.require_called_aet = True
    entity.require_calling_aet = [remote.aet]
    entity.maximum_associations = node.max_associations
    entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = node.timeout_s
    for name in storage_classes():
        entity.add_supported_context(name, TRANSFER_SYNTAXES)
    tls = server_context(node.tls) if node.tls else None
    place = (node.host, node.port)
    try:
        entity.start_server(place, block=False, evt_handlers=inbox.handlers, ssl_context=tls)
    except OSError as error:
        msg = f"our node needs {node.host}:{node.port}, node.host and node.port, to receive what "
        msg += f"C-MOVE sends: {error.strerror}."
        raise ValueError(msg) from None
    try:
        yield
    finally:
        entity.shutdown()


@contextmanager
def ended_when_silent(call: Call, inbox: Inbox) -> Iterator[None]:
    """End a C-MOVE when neither objects nor answers have come for as long as the other side has.

    Some answer it once, after the last object, which may be much later than one answer may take.
    """
    call.association.dimse_timeout = None
    most_s, is_over = call.remote.timeout_s, threading.Event()

    def watch() -> None:
        while not is_over.wait(min(1.0, most_s / 4)):
            if inbox.silence_s > most_s:
                call.give_up()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
