"""Results sent to a PACS: structured reports, pictures and presentation states of all cases."""

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spine_monai.files import sha256_of_file, write_text
from spine_monai.pacs.config import PacsConfig, Push
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import Remote, RemoteAwayError, RemoteRefusalError, open_remote
from spine_monai.workflows.outputs import CASE_FILES
from spine_monai.writers import RESULT_FILE

logger = logging.getLogger(__name__)
FORMAT, FORMAT_VERSION = "spine_monai.push", 1
FILE = "push.json"
STORED, FAILED, REFUSED, WAITING = "stored", "failed", "refused", "waiting"
SAVED_EVERY = 50  # files; to send one twice changes nothing


@dataclass(frozen=True)
class PushedFile:
    """What became of a file.

    Args:
        file: in the folder of results.
        sha256: of what was sent.
        remote: name of the system.
        status: ``stored``; ``failed`` for now, ``refused`` for good, or ``waiting``: not sent yet.
        reason: what the system said.
        when: it said so.
    """

    file: str
    sha256: str
    remote: str
    status: str = WAITING
    reason: str = ""
    when: str = ""


@dataclass(frozen=True)
class PushResult:
    """What a run did.

    Args:
        files: all that there are, in order.
        sent: how many of them were sent now.
        error: why the rest was not sent, where the system went away or refused us.
    """

    files: tuple[PushedFile, ...]
    sent: int
    error: Exception | None = None

    @property
    def failed(self) -> int:
        """How many are not in the other system."""
        return sum(one.status != STORED for one in self.files)


def push(
    config: PacsConfig, results: Path, *, again: bool = False, progress: bool = True
) -> PushResult:
    """Send each case's DICOM results that are not there yet, or have changed.

    Args:
        config: with a part ``push``.
        results: folder that ``localize`` wrote; ``push.json`` appears in it.
        again: send what is there too.
        progress: show a bar on a terminal.

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: there is nothing to send, or ``push.json`` is none.
        OSError: the folder cannot be read or written.
    """
    silence_libraries()
    settings = _settings(config)
    files = _files(results, settings)
    with open_remote(config, settings.remote) as remote:
        run = _Run(remote, results, _known(results, files, settings))
        try:
            for file in tqdm(files, "push", unit="file", disable=None if progress else True):
                if not run.send(file, again=again):
                    break
        finally:
            run.save()
    return run.result


def _settings(config: PacsConfig) -> Push:
    if config.push is None:
        msg = "the configuration must have the part `push`; see docs/reference/pacs-yaml.md."
        raise ValueError(msg)
    return config.push


def _files(results: Path, settings: Push) -> list[str]:
    """Return the files to send, of finished cases alone."""
    if not results.is_dir():
        msg = f"{results} must be a folder of results: there is none. Check the path."
        raise FileNotFoundError(msg)
    names = [CASE_FILES[name] for name in settings.formats]
    cases = sorted(path.parent for path in results.rglob(RESULT_FILE))
    files = [case / name for case in cases for name in names if (case / name).is_file()]
    if not files:
        msg = f"{results} must hold cases with {', '.join(names)}: none of {len(cases)} has one. "
        msg += f"Run `localize` with --formats {','.join(settings.formats)}."
        raise ValueError(msg)
    return [str(file.relative_to(results)) for file in files]


def _known(results: Path, files: list[str], settings: Push) -> dict[str, PushedFile]:
    """Return each file with what is known of it; one that has changed waits again."""
    before = {one.file: one for one in _read(results / FILE) if one.remote == settings.remote}
    known = {}
    for number, file in enumerate(files, start=1):
        fresh = PushedFile(file, _digest(results / file, number), settings.remote)
        earlier = before.get(file, fresh)
        known[file] = earlier if earlier.sha256 == fresh.sha256 else fresh
    return known


def _digest(path: Path, number: int) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:  # its own words name the path, which is made of UIDs
        msg = f"result {number}, {path.name}, must be readable: {error.strerror}"
        raise OSError(error.errno, msg) from None


def _read(path: Path) -> list[PushedFile]:
    if not path.is_file():
        return []
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["format_version"]) == (FORMAT, FORMAT_VERSION):
            return [PushedFile(**entry) for entry in content["files"]]
    except (ValueError, KeyError, TypeError):
        pass
    msg = f"{path} must be {FORMAT} version {FORMAT_VERSION}: it is something else. Move it away; "
    msg += "all files are then sent again, which changes nothing in the PACS."
    raise ValueError(msg)


class _Run:
    """Sends files one by one, and keeps what was said to each."""

    def __init__(self, remote: Remote, results: Path, files: dict[str, PushedFile]) -> None:
        self._remote, self._results, self._files = remote, results, files
        self._sent = 0
        self._error: Exception | None = None

    @property
    def result(self) -> PushResult:
        """What has been done."""
        return PushResult(tuple(self._files.values()), self._sent, self._error)

    def send(self, file: str, *, again: bool) -> bool:
        """Send a file where it must be, and return whether to go on."""
        if self._files[file].status == STORED and not again:
            return True
        try:
            said = self._remote.store(self._results / file)
            status = STORED if said.is_done else REFUSED if said.is_final else FAILED
            self._set(file, status, said.reason)
        except (RemoteAwayError, RemoteRefusalError) as error:
            self._error = error
            self._set(file, WAITING, str(error))
            return False
        except ValueError as error:
            self._set(file, REFUSED, str(error))
        self._sent += 1
        if self._sent % SAVED_EVERY == 0:
            self.save()
        return True

    def save(self) -> None:
        """Write ``push.json``, with the files of other systems that an earlier run sent."""
        path = self._results / FILE
        mine = {one.remote for one in self._files.values()}
        others = [one for one in _read(path) if one.remote not in mine]
        entries = [asdict(one) for one in (*self._files.values(), *others)]
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, "files": entries}
        write_text(path, json.dumps(content, indent=1))

    def _set(self, file: str, status: str, reason: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._files[file] = replace(self._files[file], status=status, reason=reason, when=when)
