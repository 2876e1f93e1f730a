"""The database file of a node: its tables, and how several threads and processes share it."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

DATABASE_FILE = "ledger.sqlite"
SCHEMA_VERSION = 1
PATIENCE_S = 30.0
SCHEMA = """
CREATE TABLE studies (
    uid TEXT PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    objects INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1,
    worked INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    is_kept INTEGER NOT NULL DEFAULT 1,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX studies_by_state ON studies (state, tries, changed_at);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL REFERENCES studies (uid),
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    remote TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (file, sha256, remote)
);
CREATE INDEX outbox_by_state ON outbox (state, next_at);
CREATE VIEW parcels AS
    SELECT outbox.id AS id, outbox.study AS study, studies.reference AS reference,
        outbox.file AS file, outbox.sha256 AS sha256, outbox.remote AS remote,
        outbox.state AS state, outbox.tries AS tries, outbox.reason AS reason,
        outbox.next_at AS next_at
    FROM outbox JOIN studies ON outbox.study = studies.uid;
CREATE TABLE faults (
    kind TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last_at REAL NOT NULL
);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class DatabaseTroubleError(OSError):
    """The database cannot be read or written now: the disk is full or fails, or it is locked."""


class Database:
    """One connection that the threads of a process take turns with; use it in a ``with``.

    Each change is on the disk when it is told (``synchronous=FULL``), and is whole or not there.

    Args:
        folder: of the node.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / DATABASE_FILE
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        with self._worded():
            self._connection = sqlite3.connect(
                self.file, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
        try:
            self.file.chmod(0o600)
            with self._worded():
                self._set_up()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, while no other thread has it.

        Raises:
            DatabaseTroubleError: it cannot be read now.
        """
        with self._lock, self._worded():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for changes that are made together or not at all.

        Raises:
            DatabaseTroubleError: it cannot be written now; nothing is changed.
        """
        with self._lock, self._worded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # our own: wrong SQL, say
                raise
            free_mb = shutil.disk_usage(self.file.parent).free / 1e6
            msg = f"the database of the node must be written and read: {error}, with {free_mb:.1f} "
            msg += f"MB free. Make room on the disk of {self.file}, or see why it fails."
            raise DatabaseTroubleError(msg) from None

    def _set_up(self) -> None:
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        with self.writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                msg = f"{self.file} must be of schema {SCHEMA_VERSION}: got {version}. Use the "
                msg += "spine_monai that wrote it, or let it drain and start in a new folder."
                raise ValueError(msg)
