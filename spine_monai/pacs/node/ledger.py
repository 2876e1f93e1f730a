"""What is known of each study: how far it is, how often it was tried, why it went no further.

A study is first ``receiving``; when it is quiet, ``waiting``; ``working`` while a worker has it;
``sending`` until all its results are with the other system; then ``done``. ``ignored`` has no
series that can be used, ``failed`` says why, ``poisoned`` ended the process that worked on it too
often. Objects that come later open it again. The files on disk are the truth: ``arrive`` counts
them, so that what a killed process did not note is noted at the next start.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spine_monai.pacs.node.database import Database

State = Literal[
    "receiving", "waiting", "working", "sending", "done", "ignored", "failed", "poisoned"
]
OPEN = ("receiving", "waiting", "working")
IN_TROUBLE = ("failed", "poisoned")


@dataclass(frozen=True)
class Study:
    """A study as the ledger knows it.

    Args:
        uid: StudyInstanceUID; never logged.
        reference: its name in logs and folders.
        state: how far it is.
        objects: of it that came.
        generation: how often objects came after it had been seen.
        tries: how often work on it was begun.
        reason: why it went no further.
        changed_at: seconds since the epoch.
    """

    uid: str
    reference: str
    state: State
    objects: int
    generation: int
    tries: int
    reason: str
    changed_at: float


class Ledger:
    """The studies of a node, in its database.

    Args:
        database: open.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def arrive(self, uid: str, reference: str, objects: int, now: float) -> bool:
        """Note how many objects of a study are on disk; return whether that is news.

        A study that was finished is opened again; one in work will be when the work ends.

        Args:
            uid: of the study.
            reference: its name.
            objects: of it on disk, more than none.
            now: seconds since the epoch.
        """
        with self.database.writing() as connection:
            row = connection.execute("SELECT * FROM studies WHERE uid=?", (uid,)).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO studies (uid, reference, state, first_at, last_at, changed_at,"
                    " objects) VALUES (?, ?, 'receiving', ?, ?, ?, ?)",
                    (uid, reference, now, now, now, objects),
                )
                return True
            if row["is_kept"] and row["objects"] == objects:
                return False
            _open_again(connection, row, objects, now)
            return True

    def settle(self, now: float, quiet_s: float, longest_wait_s: float) -> int:
        """Let studies wait for work that are quiet, or came long ago; return how many."""
        with self.database.writing() as connection:
            return connection.execute(
                "UPDATE studies SET state='waiting', changed_at=:now WHERE state='receiving' AND"
                " (last_at <= :now - :quiet OR first_at <= :now - :longest)",
                {"now": now, "quiet": quiet_s, "longest": longest_wait_s},
            ).rowcount

    def claim(self, now: float) -> Study | None:
        """Take the study that waits longest into work; those tried before come last."""
        with self.database.writing() as connection:
            row = connection.execute(
                "UPDATE studies SET state='working', tries=tries+1, worked=generation, reason='',"
                " changed_at=? WHERE uid=(SELECT uid FROM studies WHERE state='waiting'"
                " ORDER BY tries, changed_at LIMIT 1) RETURNING *",
                (now,),
            ).fetchone()
            return None if row is None else _study(row)

    def put_back(self, uid: str, now: float, *, counts: bool) -> None:
        """Let a study in work wait again.

        Args:
            uid: of the study.
            now: seconds since the epoch.
            counts: whether the try was its fault.
        """
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE studies SET state='waiting', tries=tries-?, changed_at=?"
                " WHERE uid=? AND state='working'",
                (0 if counts else 1, now, uid),
            )

    def finish(self, uid: str, state: State, now: float, reason: str = "") -> State:
        """Note the outcome of work, unless objects came meanwhile: then it is received again.

        Returns:
            The study's state after it.
        """
        with self.database.writing() as connection:
            return finish_within(connection, uid, state, now, reason)

    def recover(self, now: float) -> int:
        """Let studies wait again over which the last process was ended; return how many."""
        with self.database.writing() as connection:
            return connection.execute(
                "UPDATE studies SET state='waiting', changed_at=? WHERE state='working'", (now,)
            ).rowcount

    def retry(self, references: Sequence[str] | None, now: float) -> int:
        """Let studies in trouble wait again, and their results be sent again.

        Args:
            references: of the studies; all that are in trouble where not given.
            now: seconds since the epoch.

        Returns:
            How many studies there were.
        """
        count = 0
        for study in self.studies(*IN_TROUBLE, "ignored", "sending"):
            if (
                study.reference in references
                if references is not None
                else study.state != "ignored"
            ):
                count += self._retry(study, now)
        return count

    def studies(self, *states: str) -> list[Study]:
        """Return the studies in some states, all where none is named, the latest change last."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT * FROM studies ORDER BY changed_at").fetchall()
        return [_study(row) for row in rows if not states or row["state"] in states]

    def counts(self) -> dict[str, int]:
        """Return the number of studies in each state that has some."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT state, COUNT(*) FROM studies GROUP BY state")
            return {row[0]: row[1] for row in rows.fetchall()}

    def open_studies(self) -> set[str]:
        """Return the UIDs of the studies on which work is still to be done."""
        marks = ", ".join("?" * len(OPEN))
        query = f"SELECT uid FROM studies WHERE state IN ({marks})"  # noqa: S608 - only marks
        with self.database.reading() as connection:
            return {row[0] for row in connection.execute(query, OPEN).fetchall()}

    def kept_objects(self, uid: str) -> int:
        """Return how many objects of a study came, those removed since included."""
        with self.database.reading() as connection:
            row = connection.execute("SELECT objects FROM studies WHERE uid=?", (uid,)).fetchone()
        return 0 if row is None else int(row[0])

    def expired(self, before: float) -> list[Study]:
        """Return finished studies whose objects are still kept and that changed last before."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM studies WHERE is_kept AND state IN ('done', 'ignored')"
                " AND changed_at <= ?",
                (before,),
            ).fetchall()
        return [_study(row) for row in rows]

    def forget_objects(self, uid: str) -> None:
        """Note that a study's objects are removed."""
        with self.database.writing() as connection:
            connection.execute("UPDATE studies SET is_kept=0 WHERE uid=?", (uid,))

    def note_fault(self, kind: str, count: int, now: float) -> None:
        """Add to how often a kind of object or caller was refused."""
        with self.database.writing() as connection:
            connection.execute(
                "INSERT INTO faults (kind, count, last_at) VALUES (?, ?, ?) ON CONFLICT (kind)"
                " DO UPDATE SET count=count+excluded.count, last_at=excluded.last_at",
                (kind, count, now),
            )

    def faults(self) -> dict[str, int]:
        """Return how often what was refused."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT kind, count FROM faults ORDER BY kind").fetchall()
            return {row[0]: row[1] for row in rows}

    def setting(self, key: str, default: str = "") -> str:
        """Return what was set last."""
        with self.database.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key=?", (key,)).fetchone()
        return default if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Set a value for good."""
        with self.database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    def _retry(self, study: Study, now: float) -> int:
        with self.database.writing() as connection:
            again = connection.execute(
                "UPDATE outbox SET state='waiting', tries=0, next_at=0"
                " WHERE study=? AND state IN ('waiting', 'refused')",
                (study.uid,),
            ).rowcount
            state = "sending" if again else "waiting"
            return connection.execute(
                "UPDATE studies SET state=?, tries=0, changed_at=? WHERE uid=? AND state=?",
                (state, now, study.uid, study.state),
            ).rowcount


def finish_within(
    connection: sqlite3.Connection, uid: str, state: State, now: float, reason: str = ""
) -> State:
    """Note the outcome of work as part of a larger change; see ``Ledger.finish``."""
    row = connection.execute("SELECT * FROM studies WHERE uid=?", (uid,)).fetchone()
    if row["worked"] != row["generation"]:
        state, reason = "receiving", ""
    tries = row["tries"] if state in IN_TROUBLE else 0
    connection.execute(
        "UPDATE studies SET state=?, reason=?, tries=?, changed_at=? WHERE uid=?",
        (state, reason, tries, now, uid),
    )
    return state


def _open_again(connection: sqlite3.Connection, row: sqlite3.Row, objects: int, now: float) -> None:
    is_open = row["state"] in OPEN
    state = "working" if row["state"] == "working" else "receiving"
    # What comes while it is in work opens a round of its own, as what comes afterwards does.
    first_at = row["first_at"] if is_open and row["state"] != "working" else now
    connection.execute(
        "UPDATE studies SET state=?, first_at=?, last_at=?, changed_at=?, objects=?,"
        " generation=generation+1, is_kept=1, tries=?, reason='' WHERE uid=?",
        (state, first_at, now, now, objects, row["tries"] if is_open else 0, row["uid"]),
    )


def _study(row: sqlite3.Row) -> Study:
    names = ("uid", "reference", "state", "objects", "generation", "tries", "reason", "changed_at")
    return Study(*(row[name] for name in names))
