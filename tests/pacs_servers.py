"""Real servers for tests, on free ports of 127.0.0.1: Orthanc, a DICOM node, HTTPS in front.

Each is used in a ``with``; ``stop()`` and ``start()`` take it down and up again, ``restart()`` does
both, on the same ports with the same data. The light default, `Peer`, is a pynetdicom node in this
process (its own `qrscp` needs sqlalchemy); what must be said by others' code is asked of Orthanc.
"""

import asyncio
import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import pydicom
import trustme
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHIM = Path(__file__).parent / "integration" / "ohif" / "loopback_bind.c"
USER, PASSWORD = "researcher", "Geheim-4711"
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
QUERY_MODELS = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)
ALLOWED = ("AllowEcho", "AllowFind", "AllowGet", "AllowMove", "AllowStore")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def orthanc_missing():
    """Say why Orthanc cannot run here, or ``None``."""
    missing = [name for name in ("Orthanc", "gcc") if not shutil.which(name)]
    missing += [] if DICOMWEB_PLUGIN.is_file() else ["orthanc-dicomweb"]
    return f"not installed: {', '.join(missing)}" if missing else None


def dcmtk_missing(*programs):
    """Say which of dcmtk's programs are not here, or ``None``."""
    missing = [name for name in programs if not shutil.which(name)]
    return f"not installed: {', '.join(missing)} of dcmtk" if missing else None


def wait_until(is_true, seconds=20, what="what was waited for"):
    """Ask until it is true; fail the test after some seconds."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


class Server:
    """Something that is started and stopped."""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.stop()

    def restart(self):
        self.stop()
        self.start()


class Orthanc(Server):
    """A real Orthanc with DICOMweb.

    Args:
        folder: for its database, configuration and log.
        modalities: who may do everything: name -> (AE title, host, port).
        settings: other keys of its configuration.
    """

    aet = "ORTHANC"
    auth = (USER, PASSWORD)

    def __init__(self, folder, modalities=None, **settings):
        self.folder = Path(folder)
        self.dicom_port, self.http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.web_url = f"{self.url}/dicom-web"
        self.modalities = modalities or {}
        self.settings = settings
        self.process = None

    def start(self):
        (self.folder / "db").mkdir(parents=True, exist_ok=True)
        shim = self.folder / "loopback_bind.so"
        if not shim.exists():
            gcc = ["gcc", "-shared", "-fPIC", "-O2", "-o", shim, SHIM, "-ldl"]
            subprocess.run(gcc, check=True)
        (self.folder / "orthanc.json").write_text(json.dumps(self._config()))
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")],
                env=os.environ | {"LD_PRELOAD": str(shim)},
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C of a test's command is not for it
            )
        wait_until(self._answers, what="Orthanc's first answer")

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def kill(self):
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait(timeout=30)
        self.process = None

    def get(self, path):
        """Return what its REST interface says, from JSON."""
        with self._request(path) as answer:
            return json.load(answer)

    def file(self, instance):
        """Return an instance's file, by Orthanc's own identifier."""
        with self._request(f"/instances/{instance}/file") as answer:
            return answer.read()

    def upload(self, *paths):
        """Put files into it, past DICOM."""
        for path in paths:
            self._request("/instances", data=Path(path).read_bytes()).close()

    def add_modality(self, name, aet, port, host="127.0.0.1"):
        """Let a node in while it runs."""
        content = {"AET": aet, "Host": host, "Port": port, **dict.fromkeys(ALLOWED, True)}
        self._request(f"/modalities/{name}", json.dumps(content).encode(), "PUT").close()

    def counts(self):
        """Return the numbers of its studies, series and instances."""
        said = self.get("/statistics")
        return said["CountStudies"], said["CountSeries"], said["CountInstances"]

    def instances_of(self, modality):
        """Return Orthanc's identifiers of the instances of a modality, such as SR."""
        series = [one for one in self.get("/series?expand") if self._modality(one) == modality]
        return sorted(instance for one in series for instance in one["Instances"])

    def log(self):
        return (self.folder / "log.txt").read_text()

    @staticmethod
    def _modality(series):
        return series["MainDicomTags"].get("Modality")

    def _answers(self):
        assert self.process.poll() is None, f"Orthanc has ended: {self.log()[-2000:]}"
        try:
            self._request("/system").close()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _request(self, path, data=None, method=None):
        request = urllib.request.Request(self.url + path, data=data, method=method)
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        return urllib.request.urlopen(request, timeout=30)

    def _config(self):
        places = ("StorageDirectory", "IndexDirectory")
        return {
            "Name": "spine-test",
            **dict.fromkeys(places, str(self.folder / "db")),
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "DicomAet": self.aet,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False,
            "DicomAlwaysAllowMove": False,
            "UnknownSopClassAccepted": True,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomModalities": {
                name: {"AET": aet, "Host": host, "Port": port, **dict.fromkeys(ALLOWED, True)}
                for name, (aet, host, port) in self.modalities.items()
            },
            "ConcurrentJobs": 2,
            "HttpCompressionEnabled": False,  # else each slice is gzipped, at 30 times the cost
            "StableAge": 2,
            "OverwriteInstances": False,
            "ExecuteLuaEnabled": False,
            "HttpThreadsCount": 8,
            "DicomThreadsCount": 4,
            "DicomWeb": {
                "Enable": True,
                "Root": "/dicom-web/",
                "StudiesMetadata": "Full",
                "SeriesMetadata": "Full",
            },
            **self.settings,
        }


class Peer(Server):
    """A node of pynetdicom in this process, that keeps objects and can be told to misbehave.

    Args:
        folder: where it keeps each object, as ``<SOPInstanceUID>.dcm``.
        destinations: AE title -> (host, port), for C-MOVE.
        ssl_context: of a server, for DICOM TLS.
        only_from: calling AE titles that it lets in; all if empty.

    ``store_status`` and ``find_status`` are what it answers to C-STORE and C-FIND; ``answer`` the
    datasets that it sends at each C-GET or C-MOVE in place of its own; ``delay_s`` how long it
    waits before each object; ``drops`` closes the connection at each C-STORE; so many C-GETs go
    wrong as ``fails`` says, and after ``stops_after`` objects it goes down.
    """

    def __init__(self, folder, *, aet="PEER", destinations=None, ssl_context=None, only_from=()):
        self.folder, self.aet, self.port = Path(folder), aet, free_port()
        self.destinations = destinations or {}
        self.ssl_context, self.only_from = ssl_context, only_from
        self.store_status, self.delay_s, self.answer = 0x0000, 0.0, None
        self.storage_classes = [one.abstract_syntax for one in AllStoragePresentationContexts]
        self.find_status = None
        self.drops, self.fails, self.stops_after = False, 0, None
        self.associations = 0
        self._server = None

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(self.aet)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.only_from)
        for name in self.storage_classes:
            entity.add_supported_context(name, SYNTAXES, scu_role=True, scp_role=True)
        entity.add_supported_context(Verification)
        for model in QUERY_MODELS:
            entity.add_supported_context(model)
        handlers = [
            (evt.EVT_ACCEPTED, self._count),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=handlers,
            ssl_context=self.ssl_context,
        )

    def stop(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def files(self):
        return sorted(self.folder.glob("*.dcm"))

    def _count(self, event):
        self.associations += 1

    def _store(self, event):
        if self.drops:
            event.assoc.dul.socket.close()
        time.sleep(self.delay_s)
        if self.store_status == 0x0000:
            path = self.folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
            path.write_bytes(event.encoded_dataset())
        return self.store_status

    def _objects(self, identifier, keys):
        objects = [pydicom.dcmread(path) for path in self.files()]
        wanted = {key: identifier.get(key) for key in keys if identifier.get(key)}
        return [one for one in objects if all(one.get(k) == v for k, v in wanted.items())]

    def _find(self, event):
        if self.find_status is not None:
            yield self.find_status, None
            return
        level = event.identifier.QueryRetrieveLevel
        own = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}[level]
        found = self._objects(event.identifier, ["StudyInstanceUID", "PatientID"])
        groups = {}
        for one in found:
            groups.setdefault(one[own].value, []).append(one)
        for members in groups.values():
            time.sleep(self.delay_s)
            answer = pydicom.Dataset()
            for element in event.identifier:
                answer[element.tag] = members[0].get(element.tag, element)
            if level == "SERIES":
                answer.NumberOfSeriesRelatedInstances = len(members)
            answer.QueryRetrieveLevel = level
            yield 0xFF00, answer

    def _get(self, event):
        found = self._objects(event.identifier, ["StudyInstanceUID", "SeriesInstanceUID"])
        found = found if self.answer is None else self.answer
        if self.fails:
            self.fails, found = self.fails - 1, found[:1]
        yield len(found)
        for number, one in enumerate(found):
            time.sleep(self.delay_s)
            if number == self.stops_after:
                self.stops_after = None
                threading.Thread(target=self.stop).start()
                event.assoc.dul.socket.close()
                return
            yield 0xFF00, one

    def _move(self, event):
        if event.move_destination in self.destinations:
            contexts = [build_context(name, SYNTAXES) for name in self.storage_classes[:128]]
            yield *self.destinations[event.move_destination], {"contexts": contexts}
        else:
            yield None, None
        yield from self._get(event)


class TlsProxy(Server):
    """HTTPS in front of a server that speaks HTTP; it is what ends TLS for Orthanc.

    Args:
        port: of that server.
        context: ssl context of a server.
    """

    def __init__(self, port, context):
        self.target, self.context, self.port = port, context, free_port()
        self.url = f"https://localhost:{self.port}"

    def start(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self):
        self._server.close()
        others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for one in (writer, far_writer):
                one.transport.abort()

    @staticmethod
    async def _pump(reader, writer):
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
        writer.close()


class Certificates:
    """An authority, and certificates for the server and for us; as files and as ssl contexts.

    Args:
        folder: for the PEM files: authority.pem, server.pem, server.key, client.pem, client.key.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.authority = self.folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.server = self._issue(authority, "server", "localhost", "127.0.0.1")
        self.client = self._issue(authority, "client", "spine.example")

    def _issue(self, authority, name, *identities):
        issued = authority.issue_cert(*identities)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key

    def tls(self, name="client"):
        """Return what stands under `tls` in pacs.yaml."""
        certificate, key = getattr(self, name)
        files = {"certificate": certificate, "key": key, "authority": self.authority}
        return {key: str(path) for key, path in files.items()}

    def server_context(self, *, wants_client=True):
        """Return the context of a server that shows the server's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(*self.server)
        context.verify_mode = ssl.CERT_REQUIRED if wants_client else ssl.CERT_NONE
        return context


def send(paths, host, port, *, called="ORTHANC", calling="SENDER"):
    """Store files by C-STORE on one association, and return the statuses."""
    entity = AE(calling)
    datasets = [pydicom.dcmread(path) for path in paths]
    for name in {one.SOPClassUID for one in datasets}:
        entity.add_requested_context(name, SYNTAXES)
    association = entity.associate(host, port, ae_title=called)
    assert association.is_established
    try:
        return [association.send_c_store(one).get("Status") for one in datasets]
    finally:
        association.release()


def as_bytes(dataset):
    """Return a dataset as the bytes of a file."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
