"""What an association may send at all: bounds on a PDU, on an object, on silence.

pynetdicom reads a PDU of any length that its header claims and collects an object of any length in
memory. Here each association gets a gauge: a PDU that is longer than we said ends it; the bytes of
an object beyond the limit are thrown away as they come, so that its sender gets an answer; one that
goes on much longer ends the association.
"""

import ssl
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from spine_monai.pacs.config import Node

MAX_PDU_BYTES = 1 << 17
LONGEST_PDU_BYTES = 1 << 20  # an association request with all that may stand in it is shorter
COMMAND_BYTES = 1 << 16
PATIENCE = 4  # times the limit
IS_COMMAND, IS_LAST = 1, 2  # PS3.8 E.2


class Gauge:
    """What has come of the message that is being received.

    Args:
        limit: bytes of an object.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.command = self.data = 0
        self.is_over = self.is_closed = False

    def measure(self, value: bytes) -> bytes:
        """Take a fragment into account, and return what is to be kept of it."""
        header, size = value[0], len(value) - 1
        if header & IS_COMMAND:
            self.command += size
            if header & IS_LAST:
                self.data, self.is_over = 0, False
            return value
        self.command = 0
        self.data += size
        self.is_over = self.is_over or self.data > self.limit
        return value[:1] if self.is_over else value

    @property
    def is_endless(self) -> bool:
        """Whether no honest sender sends so much."""
        return self.command > COMMAND_BYTES or self.data > PATIENCE * self.limit


class Gauges:
    """The gauges of all associations.

    Args:
        node: its limits.
        note_fault: counts what was refused, by kind.
    """

    def __init__(self, node: Node, note_fault: Callable[[str], None]) -> None:
        self.limit, self.timeout_s = int(node.max_object_mb * 1e6), node.timeout_s
        self.note_fault = note_fault
        self._gauges: WeakKeyDictionary[Any, Gauge] = WeakKeyDictionary()

    @property
    def handlers(self) -> list[Any]:
        """What pynetdicom shall call."""
        return [(evt.EVT_CONN_OPEN, self._open), (evt.EVT_PDU_RECV, self._measure)]

    def is_too_large(self, association: Any) -> bool:
        """Whether the object that has just come is larger than the limit, and was cut."""
        return self._gauges[association].is_over

    def _open(self, event: Any) -> None:
        self._gauges[event.assoc] = Gauge(self.limit)
        link = event.assoc.dul.socket
        link.socket.settimeout(self.timeout_s)
        link.recv = self._bounded(link)

    def _bounded(self, link: Any) -> Callable[[int], bytearray]:
        def receive(size: int) -> bytearray:
            if size > LONGEST_PDU_BYTES:
                self.note_fault("too_long_pdu")
                msg = "a PDU must not be longer than announced"
                raise OSError(msg)
            try:
                return _receive(link.socket, size)
            except ssl.SSLError:
                self.note_fault("tls_refused")
                raise

        return receive

    def _measure(self, event: Any) -> None:
        if not isinstance(event.pdu, P_DATA_TF):
            return
        gauge, association = self._gauges[event.assoc], event.assoc
        if gauge.is_closed:
            return
        for item in event.pdu.presentation_data_value_items:
            if item.presentation_data_value:
                item.presentation_data_value = gauge.measure(item.presentation_data_value)
        if gauge.is_endless or association.dimse.msg_queue.qsize() > 1:
            kind = "endless_object" if gauge.is_endless else "requests_without_waiting"
            self.note_fault(kind)
            gauge.is_closed = True
            association.abort()


class LazyTls:
    """Wraps connections for TLS without waiting for the other side.

    pynetdicom's listening thread would wait for each caller's handshake, so that one who connects
    and says nothing would keep all others out. Here the handshake comes with the first bytes, in
    the association's own thread, which has a time limit.

    Args:
        context: with our certificate, which wants one of the caller.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def wrap_socket(self, connection: Any, *, server_side: bool) -> ssl.SSLSocket:
        """Wrap a connection; what ``ssl.SSLContext`` does, but for the handshake."""
        return self.context.wrap_socket(
            connection, server_side=server_side, do_handshake_on_connect=False
        )


def _receive(connection: Any, size: int) -> bytearray:
    """All of that many bytes, or what came before the other side closed."""
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size:
        count = connection.recv_into(view[done:])
        if not count:
            break
        done += count
    view.release()
    return content if done == size else content[:done]
