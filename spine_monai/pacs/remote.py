"""What another system can do for us, whether it speaks DIMSE or DICOMweb."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pydicom import Dataset

from spine_monai.pacs.config import PacsConfig

Sink = Callable[[Dataset], object]  # takes an object, with ``file_meta``, as it comes


class RemoteAwayError(ConnectionError):
    """The other system cannot be reached, or went away; what was asked may be asked again later."""


class RemoteRefusalError(ValueError):
    """The other system is there, but does not do what it was asked: a right or an identity."""


@dataclass(frozen=True)
class Stored:
    """What the other system said to an object.

    Args:
        is_done: it has it, now or from before.
        reason: its status in words, with its number; no UID.
        is_final: to send it again would be in vain.
    """

    is_done: bool
    reason: str
    is_final: bool = False


class Destination(Protocol):
    """A system that takes results; use it in a ``with``. One thread at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def store(self, file: Path) -> Stored:
        """Send an object that lies on disk, byte for byte as it is."""


class Remote(Destination, Protocol):
    """A system that is asked, too."""

    def echo(self) -> str:
        """Return who answered, in words; raise ``RemoteAwayError`` or ``RemoteRefusalError``."""

    def find_studies(self, query: Mapping[str, str]) -> Iterator[Dataset]:
        """Yield identifiers (StudyInstanceUID, StudyDate ...) of the studies that match."""

    def find_series(self, study_uid: str) -> Iterator[Dataset]:
        """Yield a study's series with what tells them apart (UID, Modality, description ...)."""

    def retrieve(self, study_uid: str, series_uid: str, sink: Sink) -> int:
        """Hand a series' objects to ``sink`` and return how many they were.

        What ``sink`` raises ends the transfer and is raised here.
        """


def open_remote(config: PacsConfig, name: str) -> Remote:
    """Return the system of that name; nothing is asked of it yet.

    Args:
        config: with ``name`` among its remotes.
        name: of the system.

    Raises:
        ValueError: there is none of that name, or a secret is missing.
        ImportError: what it needs is not installed.
    """
    if name not in config.remotes:
        known = ", ".join(sorted(config.remotes)) or "none"
        msg = f"the remote must be among those of the configuration, {known}: got {name}."
        raise ValueError(msg)
    remote = config.remotes[name]
    if remote.dimse is not None:
        from spine_monai.pacs.remotes.dimse import DimseRemote

        return DimseRemote(config.node, remote.dimse)
    from spine_monai.pacs.remotes.dicomweb import WebRemote

    return WebRemote(remote.service, config.node.max_object_mb)
