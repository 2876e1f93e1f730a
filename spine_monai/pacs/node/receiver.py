"""The Storage SCP: takes objects of those who may send them, and nothing else.

An object is answered with success when it is on disk for good. What is refused is counted by kind
in the ledger, with no word of what it was.
"""

import errno
import logging
import secrets
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from spine_monai.pacs.config import Node
from spine_monai.pacs.node.gauges import MAX_PDU_BYTES, Gauges, LazyTls
from spine_monai.pacs.node.intake import FullError, Intake
from spine_monai.pacs.node.log import log
from spine_monai.pacs.node.store import Arrival, Place
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.tls import server_context
from spine_monai.readers.headers import MR_CLASSES

PREAMBLE = b"\0" * 128 + b"DICM"
HEADER_BYTES = 1 << 20  # of a deflated object, until its SeriesInstanceUID must have come
LAST_TAG = 0x0020000E
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
TAGS = [Tag(keyword) for keyword in KEYWORDS]
# Of what a sender offers, the first of these is taken.
SYNTAXES = sorted(AllTransferSyntaxes, key=lambda syntax: syntax != ExplicitVRLittleEndian)
SUCCESS = 0x0000
DUPLICATE, INVALID_INSTANCE = 0x0111, 0x0117  # PS3.7 annex C
OUT_OF_RESOURCES, OTHER_CLASS, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000  # PS3.4 table B.2-1
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RefusalError(ValueError):
    """An object is not taken.

    Args:
        status: that its sender gets.
        kind: under which it is counted.
        comment: that its sender gets; no more than 64 characters, and nothing of the object.
    """

    def __init__(self, status: int, kind: str, comment: str) -> None:
        super().__init__(comment)
        self.status, self.kind, self.comment = status, kind, comment


class Receiver:
    """Listens for objects and for echoes.

    Args:
        node: who we are and who may call.
        intake: takes what came.
        note_fault: counts what was refused, by kind.
    """

    def __init__(self, node: Node, intake: Intake, note_fault: Callable[[str], None]) -> None:
        self.node, self.intake, self._note_fault = node, intake, note_fault
        self.gauges = Gauges(node, note_fault)
        self.ae = _entity(node)

    def start(self, _threads: Any = None) -> None:
        """Listen from now on, in threads of pynetdicom's own.

        Raises:
            OSError: the address is taken, or not ours.
            ValueError: the certificate cannot be used.
        """
        silence_libraries()
        context = None if self.node.tls is None else server_context(self.node.tls)
        self._server = self.ae.start_server(
            (self.node.host, self.node.port),
            block=False,
            ssl_context=None if context is None else LazyTls(context),
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_REJECTED, self._rejected),
                *self.gauges.handlers,
            ],
        )
        log("listening", host=self.node.host, port=self.node.port, tls=self.node.tls is not None)

    def stop(self) -> None:
        """Close the port, and end the associations that are open."""
        self.ae.shutdown()

    def _store(self, event: Any) -> Dataset:
        try:
            arrival = self._keep(event)
        except RefusalError as refusal:
            self._note(refusal.kind)
            return _status(refusal.status, refusal.comment)
        if arrival is Arrival.OTHER:
            self._note("same_uid_other_bytes")
            return _status(DUPLICATE, "another object has this UID; it stays as it is")
        if arrival is Arrival.SAME:
            self._note_fault("sent_again")
        return _status(SUCCESS)

    def _keep(self, event: Any) -> Arrival:
        if self.gauges.is_too_large(event.assoc):
            raise RefusalError(OUT_OF_RESOURCES, "too_large", "larger than this node takes")
        encoded, request = event.request.DataSet, event.request
        syntax = UID(event.context.transfer_syntax)
        place = _place(encoded, syntax, request)
        with encoded.getbuffer() as content:
            try:
                return self.intake.keep(place, (_file_start(event.file_meta), content))
            except FullError as error:
                raise RefusalError(OUT_OF_RESOURCES, error.kind, str(error)) from None
            except OSError as error:
                raise _disk_refusal(error) from None

    def _rejected(self, event: Any) -> None:
        asked = event.assoc.requestor.primitive
        if asked.called_ae_title != self.node.aet:
            self._note("wrong_called_aet")
        elif asked.calling_ae_title not in self.node.allowed_calling_aets:
            self._note("unknown_calling_aet")
        else:
            self._note("too_many_associations")

    def _note(self, kind: str) -> None:
        self._note_fault(kind)
        log("refused", logging.WARNING, kind=kind)


def _entity(node: Node) -> AE:
    ae = AE(ae_title=node.aet)
    ae.require_called_aet = True
    # pynetdicom takes an empty list as leave for everybody; nobody knows this title.
    ae.require_calling_aet = list(node.allowed_calling_aets) or [secrets.token_hex(8)]
    ae.maximum_associations = node.max_associations
    ae.maximum_pdu_size = MAX_PDU_BYTES
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = node.timeout_s
    ae.add_supported_context(Verification)
    for sop_class in MR_CLASSES:
        ae.add_supported_context(sop_class, SYNTAXES)
    return ae


def _place(encoded: BytesIO, syntax: UID, request: Any) -> Place:
    """Where an object belongs, by its data set, which must agree with its command."""
    found = _uids(encoded, syntax)
    if found["SOPClassUID"] != request.AffectedSOPClassUID:
        raise RefusalError(OTHER_CLASS, "other_class", "not of the SOP class that was announced")
    if found["SOPInstanceUID"] != request.AffectedSOPInstanceUID:
        raise RefusalError(INVALID_INSTANCE, "other_instance", "not the instance announced")
    try:
        return Place(found["StudyInstanceUID"], found["SeriesInstanceUID"], found["SOPInstanceUID"])
    except ValueError:
        raise RefusalError(INVALID_INSTANCE, "invalid_uid", "a UID of it is none") from None


def _uids(encoded: BytesIO, syntax: UID) -> dict[str, str]:
    encoded.seek(0)
    try:
        stream = encoded if syntax != DeflatedExplicitVRLittleEndian else _inflated_start(encoded)
        dataset = read_dataset(
            stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, _vr, _length: tag > LAST_TAG,
            specific_tags=TAGS,
        )
        return {keyword: str(dataset[keyword].value) for keyword in KEYWORDS}
    except Exception:  # on damaged bytes pydicom raises errors of any kind
        raise RefusalError(NOT_UNDERSTOOD, "not_understood", "has no readable UIDs") from None
    finally:
        encoded.seek(0)


def _inflated_start(encoded: BytesIO) -> BytesIO:
    """No more than the start: a few kilobytes may unpack to gigabytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return BytesIO(inflater.decompress(encoded.getvalue(), HEADER_BYTES))


def _file_start(meta: Any) -> bytes:
    stream = BytesIO()
    stream.write(PREAMBLE)
    write_file_meta_info(stream, meta)
    return stream.getvalue()


def _disk_refusal(error: OSError) -> RefusalError:
    if error.errno in NO_SPACE:
        return RefusalError(OUT_OF_RESOURCES, "disk_full", "the disk of this node is full")
    return RefusalError(OUT_OF_RESOURCES, "disk_error", "cannot be written here")


def _status(code: int, comment: str = "") -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment
    return status
