"""Another system as a DICOM node: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import _config, build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from spine_monai.pacs.config import Dimse, Node
from spine_monai.pacs.keys import SERIES_KEYS, STUDY_KEYS, identifier
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError, Sink, Stored
from spine_monai.pacs.remotes.association import (
    KNOW_US,
    Call,
    DroppedError,
    NothingSupportedError,
    class_name,
    name_of,
)
from spine_monai.pacs.remotes.contexts import get_contexts, get_roles, result_contexts
from spine_monai.pacs.remotes.moving import MEGABYTE, Inbox, ended_when_silent, open_node
from spine_monai.pacs.remotes.statuses import NOT_AUTHORIZED, stored_as
from spine_monai.pacs.tls import client_context

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove
SUCCESS, PENDING, RESOURCES = 0x0000, (0xFF00, 0xFF01), 0xA7
MOST_DROPS, PAUSE_S = 2, 0.5  # of new associations by who is there: it does not want us
UNKNOWN_DESTINATION = 0xA801


class DimseRemote:
    """A DICOM node that we call.

    Args:
        node: who we are.
        remote: whom we call.

    Raises:
        ValueError: a certificate cannot be used.
    """

    def __init__(self, node: Node, remote: Dimse) -> None:
        silence_libraries()
        self.node, self.remote = node, remote
        if remote.tls is not None:
            client_context(remote.tls)
        self._line: Call | None = None  # kept open for objects to send
        self._sent: set[tuple[str, str]] = set(result_contexts())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._line is not None and kind is not None:
            self._line.association.abort()
        self._hang_up()

    def echo(self) -> str:
        """Return who answered C-ECHO."""
        with Call(self.node, self.remote, [build_context(Verification)]) as call:
            self._check(call.code(call.association.send_c_echo(), "C-ECHO"), "C-ECHO")
        return f"{name_of(self.remote)} answers C-ECHO"

    def find_studies(self, query: Mapping[str, str]) -> Iterator[Dataset]:
        """Yield identifiers of the studies that match; C-FIND is over when the first one comes."""
        yield from self._find(identifier("STUDY", STUDY_KEYS, query))

    def find_series(self, study_uid: str) -> Iterator[Dataset]:
        """Yield a study's series with what tells them apart."""
        yield from self._find(identifier("SERIES", SERIES_KEYS, {"StudyInstanceUID": study_uid}))

    def retrieve(self, study_uid: str, series_uid: str, sink: Sink) -> int:
        """Hand a series' objects to ``sink`` and return how many they were."""
        wanted = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
        question, inbox = identifier("SERIES", (), wanted), Inbox(sink, self.node.max_object_mb)
        if self.remote.retrieve == "get":
            self._get(question, inbox)
        else:
            self._move(question, inbox)
        return inbox.count

    def store(self, file: Path) -> Stored:
        """Send an object that lies on disk, byte for byte as it is.

        Raises:
            RemoteAwayError: it could not be sent, and may be later.
            RemoteRefusalError: we may not send.
            ValueError: the file is no DICOM file, or too large.
        """
        self._check_size(file)
        kind, drops = _kind_of(file), 0
        while True:
            is_fresh = self._line is None or not self._line.is_open
            try:
                return self._store(file, kind)
            except RemoteRefusalError:
                self._hang_up()
                if is_fresh:
                    raise
            except DroppedError:
                self._hang_up()
                drops += is_fresh
                if drops == MOST_DROPS:
                    msg = f"{name_of(self.remote)} ends each association at C-STORE: {KNOW_US}"
                    raise RemoteRefusalError(msg) from None
                time.sleep(PAUSE_S)

    def _find(self, question: Dataset) -> list[Dataset]:
        found: list[Dataset] = []
        with Call(self.node, self.remote, [build_context(FIND)]) as call:
            for status, answer in call.association.send_c_find(question, FIND):
                code = call.code(status, "C-FIND")
                if code not in PENDING:
                    self._check(code, "C-FIND")
                elif answer is not None:
                    found.append(answer)
        return found

    def _get(self, question: Dataset, inbox: Inbox) -> None:
        with Call(
            self.node, self.remote, get_contexts(), roles=get_roles(), handlers=inbox.handlers
        ) as call:
            self._follow(call, call.association.send_c_get(question, GET), inbox, "C-GET")

    def _move(self, question: Dataset, inbox: Inbox) -> None:
        with (
            open_node(self.node, self.remote, inbox),
            Call(self.node, self.remote, [build_context(MOVE)]) as call,
            ended_when_silent(call, inbox),
        ):
            answers = call.association.send_c_move(question, self.node.aet, MOVE)
            self._follow(call, answers, inbox, "C-MOVE")

    def _follow(self, call: Call, answers: Any, inbox: Inbox, what: str) -> None:
        for status, _ in answers:
            inbox.touch()
            inbox.check()
            code = call.code(status, what)
            if code in PENDING:
                continue
            if code == UNKNOWN_DESTINATION:
                msg = f"{name_of(self.remote)} must know our AE title, host and port, node.aet, "
                msg += "node.host and node.port, to send us objects."
                raise RemoteRefusalError(msg)
            failed = int(status.get("NumberOfFailedSuboperations") or 0)
            if failed:
                msg = f"{name_of(self.remote)} could not send {failed} objects (0x{code:04X})."
                raise RemoteAwayError(msg)
            self._check(code, what)
        inbox.check()

    def _check(self, code: int, what: str) -> None:
        """Raise what a final status means that is neither success nor a warning."""
        if code == SUCCESS or code >> 12 == 0xB:
            return
        msg = f"{name_of(self.remote)} answered {what} with status 0x{code:04X}."
        if code >> 8 == RESOURCES:
            raise RemoteAwayError(msg)
        raise RemoteRefusalError(msg)

    def _store(self, file: Path, kind: tuple[str, str]) -> Stored:
        try:
            call = self._call_for(kind)
        except NothingSupportedError:
            call = None
        if call is None or not call.accepts(*kind):
            reason = f"it does not take {class_name(kind[0])} in the file's transfer syntax"
            return Stored(is_done=False, reason=reason, is_final=True)
        _config.STORE_SEND_CHUNKED_DATASET = True  # send the file's bytes, without decoding them
        code = call.code(call.association.send_c_store(file), "C-STORE")
        if code == NOT_AUTHORIZED:
            msg = f"{name_of(self.remote)} does not let our AE title, node.aet, send objects."
            raise RemoteRefusalError(msg)
        return stored_as(code)

    def _call_for(self, kind: tuple[str, str]) -> Call:
        if self._line is not None and self._line.is_open and kind in self._sent:
            return self._line
        self._hang_up()
        self._sent.add(kind)
        contexts = [build_context(name, syntax) for name, syntax in sorted(self._sent)]
        self._line = Call(self.node, self.remote, contexts)
        return self._line

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.end()
            self._line = None

    def _check_size(self, file: Path) -> None:
        size_mb = file.stat().st_size / MEGABYTE
        if size_mb > self.node.max_object_mb:
            msg = f"{file.name} must have at most {self.node.max_object_mb:g} MB, "
            msg += f"node.max_object_mb: it has {size_mb:.0f}."
            raise ValueError(msg)


def _kind_of(file: Path) -> tuple[str, str]:
    """Return a file's SOP class and transfer syntax."""
    try:
        meta = dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError):
        msg = f"{file.name} must be a DICOM file with its meta information."
        raise ValueError(msg) from None
