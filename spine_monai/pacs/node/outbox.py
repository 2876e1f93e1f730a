"""The results that wait to be sent: which file, with which digest, to whom, and how often tried."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from spine_monai.files import sha256_of_file
from spine_monai.pacs.node.database import Database
from spine_monai.pacs.node.ledger import State, finish_within

BATCH = 50


@dataclass(frozen=True)
class Parcel:
    """A result on its way.

    Args:
        id: of its row.
        study: UID; never logged.
        reference: of the study.
        file: that is sent.
        sha256: of the file when the row was made.
        remote: name of the destination.
        state: ``waiting``, ``sent``, ``refused``, or ``replaced`` by a later version of the file.
        tries: how often the other system did not take it for a reason of its own.
        reason: of the last time that it was not taken.
    """

    id: int
    study: str
    reference: str
    file: Path
    sha256: str
    remote: str
    state: str
    tries: int
    reason: str


class Outbox:
    """The results of a node that wait, in its database.

    Args:
        database: open.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, uid: str, files: Sequence[Path], remote: str | None, now: float) -> State:
        """Note that a study's work is done and its results are to be sent, together.

        Files that were sent before, byte for byte, are not sent again; those that an earlier
        version of them waits for takes their place. Nothing is sent of a study of which objects
        came meanwhile, as its results will be others.

        Args:
            uid: of the study.
            files: its results.
            remote: where to; ``None`` keeps them here.
            now: seconds since the epoch.

        Returns:
            The study's state after it.
        """
        digests = [sha256_of_file(file) for file in files]
        with self.database.writing() as connection:
            state = finish_within(connection, uid, "sending" if remote else "done", now)
            if state == "sending" and remote:
                for file, digest in zip(files, digests, strict=True):
                    _add(connection, uid, file, digest, remote)
                state = _conclude(connection, uid, now)
        return state

    def due(self, now: float) -> list[Parcel]:
        """Return what is to be sent now, the oldest first."""
        return self._parcels(
            "SELECT * FROM parcels WHERE state='waiting' AND next_at<=? ORDER BY id LIMIT ?",
            (now, BATCH),
        )

    def unsent(self) -> list[Parcel]:
        """Return what is neither sent nor replaced by a later version."""
        return self._parcels(
            "SELECT * FROM parcels WHERE state IN ('waiting', 'refused') ORDER BY id", ()
        )

    def counts(self) -> dict[str, int]:
        """Return the number of results in each state that has some."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT state, COUNT(*) FROM outbox GROUP BY state")
            return {row[0]: row[1] for row in rows.fetchall()}

    def close(self, parcel: Parcel, state: str, reason: str, now: float) -> State:
        """Note a parcel's end, ``sent`` or ``refused``; return its study's state."""
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE outbox SET state=?, reason=? WHERE id=?", (state, reason, parcel.id)
            )
            return _conclude(connection, parcel.study, now)

    def is_sending(self, parcel: Parcel) -> bool:
        """Return whether the study is finished but for the sending."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT state FROM studies WHERE uid=?", (parcel.study,)
            ).fetchone()
        return bool(row[0] == "sending")

    def postpone(self, parcel: Parcel, reason: str, next_at: float, *, counts: bool) -> None:
        """Let a parcel wait.

        Args:
            parcel: that was not taken.
            reason: why.
            next_at: seconds since the epoch.
            counts: whether the other system was there and did not take it.
        """
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE outbox SET tries=tries+?, reason=?, next_at=? WHERE id=?",
                (int(counts), reason, next_at, parcel.id),
            )

    def _parcels(self, query: str, values: tuple[float, ...]) -> list[Parcel]:
        with self.database.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        names = [field.name for field in fields(Parcel)]
        return [Parcel(**{n: row[n] for n in names} | {"file": Path(row["file"])}) for row in rows]


def _add(connection: sqlite3.Connection, uid: str, file: Path, digest: str, remote: str) -> None:
    connection.execute(
        "UPDATE outbox SET state='replaced' WHERE file=? AND remote=? AND sha256!=?"
        " AND state IN ('waiting', 'refused')",
        (str(file), remote, digest),
    )
    connection.execute(
        "INSERT INTO outbox (study, file, sha256, remote, state) VALUES (?, ?, ?, ?, 'waiting')"
        " ON CONFLICT DO UPDATE SET state='waiting' WHERE state='replaced'",
        (uid, str(file), digest, remote),
    )


def _conclude(connection: sqlite3.Connection, uid: str, now: float) -> State:
    """End a study's ``sending`` when nothing of it waits any more."""
    row = connection.execute("SELECT state FROM studies WHERE uid=?", (uid,)).fetchone()
    state: State = row[0]
    states = {
        row[0]
        for row in connection.execute("SELECT state FROM outbox WHERE study=?", (uid,)).fetchall()
    }
    if state != "sending" or "waiting" in states:
        return state
    if "refused" in states:
        return finish_within(connection, uid, "failed", now, "the destination refuses its results")
    return finish_within(connection, uid, "done", now)
