"""A call to another DICOM node: an association, and what it means if it is refused or ends."""

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import SOPClass

from spine_monai.pacs.config import Dimse, Node
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError
from spine_monai.pacs.tls import client_context

Handler = tuple[Any, Callable[..., Any]]
REJECTIONS = {  # by source and diagnostic, PS3.8 table 9-21
    (1, 2): "it does not know what we want to talk about",
    (1, 3): "it does not know our AE title, node.aet",
    (1, 7): "its AE title is another one",
}
KNOW_US = "it must know our AE title, node.aet, and let it do this."
PASSING = 2  # the result of a rejection that may be different soon


class DroppedError(RemoteAwayError):
    """The connection was closed before an answer came, without a word."""


class NothingSupportedError(RemoteRefusalError):
    """The other side knows us, but takes nothing of what we want to send or ask."""


class Call:
    """An association that we asked for; use it in a ``with``.

    Args:
        node: who we are.
        remote: whom we call.
        contexts: what we want to talk about.
        roles: where the other side sends us objects.
        handlers: of pynetdicom's events.

    Raises:
        RemoteAwayError: nobody answers, or it has no time now.
        RemoteRefusalError: it does not want us.
        ValueError: a certificate cannot be used.
    """

    def __init__(
        self,
        node: Node,
        remote: Dimse,
        contexts: Sequence[PresentationContext],
        *,
        roles: Sequence[Any] = (),
        handlers: Sequence[Handler] = (),
    ) -> None:
        self.remote = remote
        self._is_aborted_by_it = self._is_aborted_by_us = False
        tls = (client_context(remote.tls), remote.host) if remote.tls else None
        self.association = _entity(node, remote).associate(
            remote.host,
            remote.port,
            contexts=list(contexts),
            ae_title=remote.aet,
            ext_neg=list(roles),
            tls_args=tls,
            evt_handlers=[
                (evt.EVT_PDU_RECV, self._received),
                (evt.EVT_PDU_SENT, self._were_sent),
                *handlers,
            ],
        )
        if not self.association.is_established:
            raise _why_not(self.association, remote)

    def __enter__(self) -> "Call":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.end()
        else:
            self.association.abort()

    @property
    def is_open(self) -> bool:
        """Whether it still stands."""
        return bool(self.association.is_established)

    def accepts(self, sop_class: str, syntax: str) -> bool:
        """Return whether objects of that class may be sent in that transfer syntax."""
        return any(
            one.abstract_syntax == sop_class and syntax in one.transfer_syntax and one.as_scu
            for one in self.association.accepted_contexts
        )

    def end(self) -> None:
        """Say good-bye, where it still stands."""
        if self.is_open:
            self.association.release()

    def give_up(self) -> None:
        """End it from another thread, as no answer came in time; who waits for one is told."""
        self._is_aborted_by_us = True
        self.association.dul.socket.close()

    def code(self, status: Dataset, what: str) -> int:
        """Return the status' number; an empty one means that the association has ended.

        Raises:
            RemoteRefusalError: the other side ended it, on purpose.
            DroppedError: the connection was closed.
            RemoteAwayError: no answer came in time.
        """
        if "Status" in status:
            return int(status.Status)
        self.association.join(timeout=1)  # the other side's reason may still be on its way
        raise self._why_silent(what)

    def _why_silent(self, what: str) -> Exception:
        name = name_of(self.remote)
        if self._is_aborted_by_it:
            return RemoteRefusalError(f"{name} ended the association at {what}: {KNOW_US}")
        if self._is_aborted_by_us:
            seconds = f"{self.remote.timeout_s:g} s"
            return RemoteAwayError(f"{name} did not answer {what} within {seconds}.")
        return DroppedError(f"{name} went away at {what}.")

    def _received(self, event: Any) -> None:
        self._is_aborted_by_it |= isinstance(event.pdu, A_ABORT_RQ)

    def _were_sent(self, event: Any) -> None:
        self._is_aborted_by_us |= isinstance(event.pdu, A_ABORT_RQ)


def name_of(remote: Dimse) -> str:
    """Return what messages call a node."""
    return f"{remote.aet} at {remote.host}:{remote.port}"


def class_name(uid: str) -> str:
    """Return a SOP class in words; one that is not known by its number."""
    return str(SOPClass(uid).name) if SOPClass(uid).is_valid else "an unknown class"


def _entity(node: Node, remote: Dimse) -> AE:
    entity = AE(node.aet)
    entity.connection_timeout = entity.acse_timeout = remote.timeout_s
    entity.dimse_timeout = entity.network_timeout = remote.timeout_s
    return entity


def _why_not(association: Association, remote: Dimse) -> Exception:
    """What to raise where there is no association."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer.result == PASSING:
            return RemoteAwayError(f"{name_of(remote)} has no time for us now.")
        place = (answer.result_source, answer.diagnostic)
        reason = REJECTIONS.get(place, f"it gives no reason that we know {place}")
        return RemoteRefusalError(f"{name_of(remote)} refuses us: {reason}.")
    if association.acceptor.primitive is not None and not association.accepted_contexts:
        return NothingSupportedError(f"{name_of(remote)} supports none of what we want to do.")
    return _probe(remote)


def _probe(remote: Dimse) -> Exception:
    """Ask the network alone, as pynetdicom keeps the reason to itself."""
    name = name_of(remote)
    try:
        start = time.monotonic()
        with socket.create_connection((remote.host, remote.port), remote.timeout_s) as line:
            if remote.tls:
                with client_context(remote.tls).wrap_socket(line, server_hostname=remote.host):
                    pass
        waited = time.monotonic() - start
    except ssl.SSLCertVerificationError as error:
        return RemoteRefusalError(f"{name} shows a wrong certificate: {error.verify_message}.")
    except ssl.SSLError as error:
        return RemoteRefusalError(f"{name} does not speak TLS with us: {error.reason}.")
    except OSError as error:
        return RemoteAwayError(f"{name} does not answer: {error.strerror or 'no answer in time'}.")
    hint = "" if waited < remote.timeout_s else ", and is slow"
    hint += "" if remote.tls else "; does it want TLS?"
    return RemoteAwayError(f"{name} is there, but gives us no association{hint}")
