"""What a node has done and has still to do, asked and changed from another process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spine_monai.pacs.node.database import DATABASE_FILE, Database
from spine_monai.pacs.node.folder import FolderInUseError, FolderLock
from spine_monai.pacs.node.ledger import IN_TROUBLE, Ledger, Study
from spine_monai.pacs.node.outbox import Outbox, Parcel
from spine_monai.pacs.node.sending import HURRY

DRAIN = "drain"  # the setting by which another process asks to end when all is done
POLL_S = 0.2


@dataclass(frozen=True)
class Overview:
    """What a node has done and has still to do.

    Args:
        is_served: whether a process serves the folder.
        studies: number of studies by state.
        results: number of results by state.
        faults: how often what was refused.
        troubled: studies that failed or are poisoned.
        unsent: results that could not be sent so far, or are refused.
    """

    is_served: bool
    studies: dict[str, int]
    results: dict[str, int]
    faults: dict[str, int]
    troubled: Sequence[Study]
    unsent: Sequence[Parcel]

    @property
    def content(self) -> dict[str, Any]:
        """The JSON-ready record; it holds no UID."""
        return {
            "is_served": self.is_served,
            "studies": self.studies,
            "results": self.results,
            "faults": self.faults,
            "troubled": [_troubled(study) for study in self.troubled],
            "unsent": [_unsent(parcel) for parcel in self.unsent],
        }


@contextmanager
def opened(folder: Path) -> Iterator[Database]:
    """Open the database of a node.

    Raises:
        FileNotFoundError: there is none: nothing has been served there.
    """
    if not (folder / DATABASE_FILE).is_file():
        msg = f"serve.folder must be the folder of a node: {folder} has no {DATABASE_FILE}. Start "
        raise FileNotFoundError(msg + "`spine-monai pacs serve` first.")
    with Database(folder) as database:
        yield database


def overview(folder: Path) -> Overview:
    """Return what a node has done and has still to do, whether it runs or not."""
    with opened(folder) as database:
        ledger, outbox = Ledger(database), Outbox(database)
        return Overview(
            is_served(folder),
            ledger.counts(),
            outbox.counts(),
            ledger.faults(),
            ledger.studies(*IN_TROUBLE),
            [parcel for parcel in outbox.unsent() if parcel.reason],
        )


def retry(folder: Path, references: Sequence[str] | None) -> int:
    """Let studies in trouble be done again, and their results sent again; return how many.

    Args:
        folder: of the node, which may run.
        references: of the studies; all that are in trouble where not given.

    Raises:
        ValueError: a reference is of no such study.
    """
    with opened(folder) as database:
        ledger = Ledger(database)
        known = {study.reference for study in ledger.studies()}
        if unknown := sorted(set(references or ()) - known):
            msg = "a reference must be one that `spine-monai pacs status` shows: got "
            raise ValueError(msg + ", ".join(unknown) + ".")
        count = ledger.retry(references, time.time())
        ledger.set(HURRY, str(time.time()))
        return count


def ask_to_drain(folder: Path) -> bool:
    """Ask the process that serves a folder to end when all is done, and wait until it has ended.

    Returns:
        Whether there was one.
    """
    if not is_served(folder):
        return False
    with opened(folder) as database:
        Ledger(database).set(DRAIN, str(time.time()))
    while is_served(folder):
        time.sleep(POLL_S)
    return True


def is_served(folder: Path) -> bool:
    """Return whether a process serves a folder."""
    try:
        with FolderLock(folder):
            return False
    except FolderInUseError:
        return True


def _troubled(study: Study) -> dict[str, Any]:
    names = ("reference", "state", "reason", "objects", "tries")
    return {name: getattr(study, name) for name in names}


def _unsent(parcel: Parcel) -> dict[str, Any]:
    names = ("reference", "remote", "state", "reason", "tries")
    return {"file": parcel.file.name} | {name: getattr(parcel, name) for name in names}
