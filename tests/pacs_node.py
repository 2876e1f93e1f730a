"""A node of ours as a process, as its users run it, and what is seen of it from outside."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pydicom
import pytest
import torch
import yaml
from deadly import make_bundle
from pacs_servers import free_port
from pynetdicom import AE

from spine_monai.data.synthetic import make_study
from spine_monai.pacs.node.references import KEY_FILE, References

TESTS = Path(__file__).parent
COMMAND = [sys.executable, "-m", "spine_monai.cli", "pacs"]
KEY = bytes(range(32))
# In a user name space of its own, whose limit concerns nobody else, a command gets no network one.
CONFINED = ["unshare", "--user", "--map-root-user", "sh", "-c"]
CONFINED += ['echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"', "sh"]
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
PATIENCE_S = 90.0  # of a busy machine


def small_study(folder, seed, **attributes):
    """Write a phantom of three slices, in which `quick_bundle` finds something; its files."""
    study = make_study(shape=(48, 40, 3), spacing_mm=(5.6, 4.8, 4.0), seed=1)
    return study.write_dicom(folder, seed=f"pacs {seed}", **attributes)


def quick_bundle(source, folder):
    """An untrained bundle of tiny networks, of a seed with which they find something."""
    torch.manual_seed(21)
    return make_bundle(source, folder)


def hazardous_bundle(source, folder, **hazard):
    """A copy of such a bundle with a preprocessing that is slow or deadly."""
    copy = shutil.copytree(source, folder, ignore=shutil.ignore_patterns("begun.txt"))
    file = copy / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text())
    config["preprocessing_steps"][0] |= {"log": str(copy / "begun.txt"), **hazard}
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return copy


def wait_for(condition, what, seconds=PATIENCE_S):
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, what
        time.sleep(0.05)
    return found


def study_uid(files):
    return str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def reference(files):
    """The name of a study in the node's log and folders."""
    return References(KEY).name(study_uid(files))


def store(
    files, port, *, called="SPINE", calling="SENDER", edit=None, tls_args=None, answer="Status"
):
    """Send files by C-STORE; their statuses, ``None`` for an aborted one, [] if we are rejected.

    Another element of the answers is returned in place of the status where one is named.
    """
    entity = AE(calling)
    datasets = [pydicom.dcmread(path) for path in files]
    for name in {one.SOPClassUID for one in datasets}:
        entity.add_requested_context(name, SYNTAXES)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls_args)
    link = association.dul.socket and association.dul.socket.socket
    statuses = []
    for dataset in datasets:
        if not association.is_established:
            break
        if edit is not None:
            edit(dataset)
        statuses.append(association.send_c_store(dataset).get(answer))
    if association.is_established:
        association.release()
    if association.is_alive():
        association.join()
    if link:
        link.close()  # pynetdicom leaves it open where the other side went away
    return statuses


class NodeProcess:
    """``spine-monai pacs serve`` or ``watch``.

    Args:
        folder: for its configuration, data and log.
        bundle: that it works with.
        remotes: the part ``remotes`` of the configuration.
        serve: changes to the part ``serve``.
        node: changes to the part ``node``.
        others: other parts.
    """

    def __init__(self, folder, bundle, *, remotes=None, serve=None, node=None, **others):
        self.folder, self.port = Path(folder), free_port()
        self.data = self.folder / (serve or {}).get("folder", "node")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, mode=0o700)
        (self.data / KEY_FILE).write_bytes(KEY)
        self.config = self.folder / "pacs.yaml"
        settings = {
            "folder": "node",
            "bundle": str(bundle),
            "device": "cpu",
            "formats": ["sr"],
            "quiet_s": 0.5,
            "retry_s": 0.3,
            "longest_retry_s": 1.0,
            "min_free_mb": 1.0,
        }
        content = {
            "node": {"port": self.port, "allowed_calling_aets": ["SENDER"], **(node or {})},
            "remotes": remotes or {},
            "serve": settings | (serve or {}),
        }
        self.config.write_text(yaml.safe_dump(content | others))
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def start(self, command="serve", event="listening", prefix=()):
        """Start it, and wait until its log tells of an event."""
        before = len(self.events(event))
        self.process = self.spawn(command, *prefix)
        wait_for(lambda: len(self.events(event)) > before or self.process.poll() is not None, event)
        assert self.process.poll() is None, self.log()[-3000:]

    def spawn(self, command, *prefix):
        """Run a command of ours, or another program that runs it; the process."""
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        with (self.folder / "log.jsonl").open("a") as log:
            return subprocess.Popen(
                [*prefix, *COMMAND, command, "--config", str(self.config)],
                env=os.environ | {"PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )

    def kill(self):
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def call(self, *arguments):
        """Run another command with the same configuration; exit code and what it said."""
        command, *rest = map(str, arguments)
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*COMMAND, command, "--config", str(self.config), *rest],
            env=os.environ | {"PYTHONPATH": path},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.returncode, done.stdout + done.stderr

    def send(self, files, **options):
        return store(files, self.port, **options)

    def log(self):
        file = self.folder / "log.jsonl"
        return file.read_text() if file.is_file() else ""

    def events(self, event):
        """The log's lines of an event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def audit(self):
        file = self.data / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    def rows(self, query):
        """Ask the ledger, from outside."""
        connection = sqlite3.connect(f"file:{self.data / 'ledger.sqlite'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def states(self):
        """State by reference."""
        return dict(self.rows("SELECT reference, state FROM studies"))

    def wait_for_states(self, *states, count=1):
        """Wait until so many studies are all in one of some states."""

        def is_so():
            found = list(self.states().values())
            return len(found) == count and set(found) <= set(states)

        try:
            wait_for(is_so, "states")
        except AssertionError:
            raise AssertionError(f"{self.states()}\n{self.log()[-3000:]}") from None


@contextmanager
def made_nodes(folder, bundle, peer):
    """Give a function that makes nodes, whose results go to a peer; all end with the ``with``."""
    with ExitStack() as nodes:

        def make(*, bundle=bundle, serve=None, port=peer.port, **parts):
            remotes = {"pacs": {"dimse": {"aet": "PACS", "port": port, "timeout_s": 5}}}
            site, serve = folder / f"site{len(made)}", {"send_to": "pacs", **(serve or {})}
            made.append(NodeProcess(site, bundle, remotes=remotes, serve=serve, **parts))
            return nodes.enter_context(made[-1])

        made = []
        yield make


class SmallDisk:
    """A file system in memory with little room; use it in a ``with``.

    Args:
        folder: where it is mounted.
        size_mb: of it.
    """

    PAGE = 4096

    def __init__(self, folder, size_mb):
        self.folder, self.size_mb = folder, size_mb
        self.ballast = folder / "ballast"

    def __enter__(self):
        if not shutil.which("mount"):
            pytest.skip("not installed: mount")
        self.folder.mkdir()
        size = f"size={self.size_mb}m"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, leave=0):
        """Use it up but for so many pages."""
        with self.ballast.open("ab", buffering=0) as stream, suppress(OSError):
            while stream.write(bytes(self.PAGE)):
                pass
        os.truncate(self.ballast, self.ballast.stat().st_size - leave * self.PAGE)

    def free(self):
        """Give the room back."""
        self.ballast.unlink()
