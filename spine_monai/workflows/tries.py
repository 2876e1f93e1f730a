"""How often each case was begun: marks on disk, which the death of a process leaves behind.

A study can end the process that works on it: a decoder crashes, the memory is used up. Each case is
marked while it is in work. A mark that nobody took away tells that its process died, and how often.
"""

import os
import re
from pathlib import Path

TRIES_FOLDER = ".tries"
MAX_TRIES = 3
ASIDE = re.compile(r"\.[0-9a-f]{32}-.+")  # what ``write_whole`` fills before it renames


class Tries:
    """The cases in work, one file each, as many bytes long as they were begun.

    Args:
        folder: holds the marks; on a file system that all workers share.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: set[str] = set()

    def begin(self, case: str) -> int:
        """Mark a case as in work, and return which try this is: 1 if none died over it.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._begun.add(case)
        with (self.folder / case).open("ab") as mark:
            mark.write(b".")
            return mark.tell()

    def end(self, case: str) -> None:
        """Take a case's mark away: it is done, has failed by itself, or waits again."""
        self._begun.discard(case)
        (self.folder / case).unlink(missing_ok=True)

    def interrupt(self) -> None:
        """Take back what this process began and did not end; it was no fault of the cases."""
        for case in list(self._begun):
            self._begun.discard(case)
            self._take_back(self.folder / case)

    def suspects(self) -> set[str]:
        """Return the cases over which a process died, or which are in work elsewhere."""
        return {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()

    def clear(self) -> None:
        """Remove the folder, unless cases are in work."""
        if self.folder.is_dir() and not self.suspects():
            self.folder.rmdir()

    def _take_back(self, mark: Path) -> None:
        count = mark.stat().st_size if mark.is_file() else 0
        if count > 1:
            os.truncate(mark, count - 1)
        else:
            mark.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of a process that died, from a case's folder."""
    if folder.is_dir():
        for path in [path for path in folder.iterdir() if ASIDE.fullmatch(path.name)]:
            path.unlink(missing_ok=True)
