"""A DICOMweb service that misbehaves: what we make of each answer. A good one is Orthanc's part."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest
from pacs_servers import Certificates, Server, TlsProxy

from spine_monai.pacs.config import DicomWeb
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError
from spine_monai.pacs.remotes.dicomweb import WebRemote

JSON, MARK = "application/dicom+json", "b0undary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={MARK}'


class Answers(Server):
    """A web server that gives the same answer to all; it keeps what it was asked."""

    def __init__(self):
        self.status, self.kind, self.body, self.headers = 200, JSON, b"[]", {}
        self.is_cut, self.asked = False, []

    def start(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                length = int(self.headers.get("Content-Length") or 0)
                outer.asked.append((self.path, dict(self.headers), self.rfile.read(length)))
                self.send_response(outer.status)
                self.send_header("Content-Type", outer.kind)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                if outer.is_cut:
                    self.send_header("Connection", "close")
                else:
                    self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)
                self.close_connection = outer.is_cut

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def web():
    with Answers() as server:
        yield server


def remote_of(web, max_object_mb=1.0, **values):
    values = {"url": f"http://127.0.0.1:{web.port}/dicom-web", "timeout_s": 5} | values
    return WebRemote(DicomWeb.model_validate(values), max_object_mb)


@pytest.fixture(scope="module")
def files(demo_study):
    return sorted(demo_study.glob("*.dcm"))


def multipart(files, end=f"\r\n--{MARK}--\r\n"):
    head = f"\r\n--{MARK}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + file.read_bytes() for file in files)[2:] + end.encode()


def refusal(*reasons):
    items = [{"00081197": {"vr": "US", "Value": [reason]}} for reason in reasons]
    return json.dumps({"00081198": {"vr": "SQ", "Value": items}}).encode()


def test_objects_come_as_they_are(web, files):
    web.kind, web.body = MULTIPART, multipart(files)
    came = []
    with remote_of(web) as remote:
        assert remote.retrieve("1.2", "1.3", came.append) == len(files)
    assert came == [pydicom.dcmread(file) for file in files]
    assert web.asked[0][0] == "/dicom-web/studies/1.2/series/1.3"


def test_a_file_is_sent_byte_for_byte(web, files):
    web.body = b'{"00081198": {"vr": "SQ"}}'  # Orthanc's: an empty sequence of failures
    with remote_of(web) as remote:
        said = remote.store(files[0])
    assert (said.is_done, said.reason) == (True, "stored (HTTP 200)")
    assert files[0].read_bytes() in web.asked[0][2]


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("reason", "is_done", "is_final"),
    [(0x0122, False, True), (0xA700, False, False), (0x0111, True, False)],
)
def test_a_failure_has_the_meaning_of_its_number(web, files, status, reason, is_done, is_final):
    web.status, web.body = status, refusal(reason)
    with remote_of(web) as remote:
        said = remote.store(files[0])
    assert (said.is_done, said.is_final) == (is_done, is_final)
    assert f"0x{reason:04X}" in said.reason


@pytest.mark.parametrize("status", [400, 409, 413, 415])
def test_an_object_that_is_not_taken_is_not_sent_again(web, files, status):
    web.status, web.body = status, b"<html>"
    with remote_of(web) as remote:
        said = remote.store(files[0])
    assert said.is_final
    assert f"HTTP {status}" in said.reason


@pytest.mark.parametrize("status", [429, 500, 503, 507])
def test_trouble_of_its_own_is_a_matter_of_time(web, files, status):
    web.status = status
    with remote_of(web) as remote:
        for ask in (remote.echo, lambda: remote.store(files[0])):
            with pytest.raises(RemoteAwayError, match=f"trouble of its own .HTTP {status}"):
                ask()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_says_why_and_names_nobody(web, files, status):
    web.status = status
    with remote_of(web) as remote:
        for ask in (
            lambda: list(remote.find_studies({"PatientName": "Kowalski"})),
            lambda: remote.retrieve("1.2", "1.3.77", print),
        ):
            with pytest.raises(RemoteRefusalError, match=f"HTTP {status}") as caught:
                ask()
            assert "Kowalski" not in str(caught.value)
            assert "1.3.77" not in str(caught.value)
            assert caught.value.__suppress_context__


def test_a_post_is_not_led_elsewhere(web, files):
    """A redirected POST becomes a GET that succeeds."""
    web.status, web.headers = 302, {"Location": "/else"}
    with remote_of(web) as remote, pytest.raises(RemoteRefusalError, match="HTTP 302"):
        remote.store(files[0])
    assert len(web.asked) == 1


def test_an_answer_that_is_too_large_is_not_read_on(web, files):
    web.kind, web.body = MULTIPART, multipart(files)
    most = files[0].stat().st_size / 1e6 / 2
    came = []
    with remote_of(web, most) as remote, pytest.raises(RemoteRefusalError, match="a larger one"):
        remote.retrieve("1.2", "1.3", came.append)
    web.kind, web.body = JSON, b"[" + b" " * 200_000 + b"]"
    with remote_of(web, 0.1) as remote, pytest.raises(RemoteRefusalError, match="a larger one"):
        remote.echo()


def test_a_file_that_is_too_large_is_not_sent(web, files):
    with remote_of(web, 0.01) as remote, pytest.raises(ValueError, match=r"at most 0.01 MB"):
        remote.store(files[0])


def test_a_file_without_preamble_is_not_sent(web, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM")
    with remote_of(web) as remote, pytest.raises(ValueError, match="with preamble and meta"):
        remote.store(tmp_path / "a.dcm")


def test_an_answer_that_ends_in_the_middle_is_no_answer(web, files):
    web.kind, web.body, web.is_cut = MULTIPART, multipart(files[:2], "")[:-5000], True
    came = []
    with remote_of(web) as remote, pytest.raises(RemoteAwayError, match="in the middle"):
        remote.retrieve("1.2", "1.3", came.append)
    assert len(came) == 1


@pytest.mark.parametrize("body", [b"<html>", b'[{"0020000D": {"vr": "UI", "Value": "x"}}, 3]'])
def test_an_answer_that_is_no_json_is_refused(web, body):
    web.body = body
    with (
        remote_of(web) as remote,
        pytest.raises(RemoteRefusalError, match="must answer with"),
    ):
        list(remote.find_studies({}))


@pytest.mark.parametrize("kind", [MULTIPART, "text/html"])
def test_objects_that_are_no_dicom_are_refused(web, kind):
    web.kind = kind
    web.body = f"--{MARK}\r\nContent-Type: text/html\r\n\r\n<html>\r\n--{MARK}--\r\n".encode()
    with (
        remote_of(web) as remote,
        pytest.raises(RemoteRefusalError, match="must answer with"),
    ):
        remote.retrieve("1.2", "1.3", print)


def test_a_service_that_ignores_the_offset_is_asked_twice(web):
    web.body = json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]).encode()
    with remote_of(web) as remote:
        assert len(list(remote.find_studies({"ModalitiesInStudy": "MR"}))) == 1
    assert len(web.asked) == 2


def test_a_service_that_is_down_is_away(web):
    port = web.port
    web.stop()
    with (
        remote_of(web, url=f"http://127.0.0.1:{port}") as remote,
        pytest.raises(RemoteAwayError, match="does not answer, or went away"),
    ):
        remote.echo()
    web.start()


def test_an_address_is_made_of_uids_alone(web):
    with remote_of(web) as remote, pytest.raises(ValueError, match="must be 1 to 64 digits"):
        remote.retrieve("1.2", "../../instances", print)
    assert not web.asked


def test_a_token_and_a_password_go_to_the_service_alone(web, monkeypatch, tmp_path):
    monkeypatch.setenv("SPINE_TOKEN", "t0ken")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    with remote_of(web) as remote:
        remote.echo()
    with remote_of(web, token={"env": "SPINE_TOKEN"}) as remote:
        remote.echo()
    with remote_of(web, user="Jo", password={"env": "SPINE_TOKEN"}) as remote:
        remote.echo()
    assert [asked[1].get("Authorization") for asked in web.asked] == [
        *(None, "Bearer t0ken", "Basic Sm86dDBrZW4=")
    ]


def test_a_secret_does_not_go_over_the_network_in_the_clear(monkeypatch):
    monkeypatch.setenv("SPINE_TOKEN", "t0ken")
    service = DicomWeb(url="http://pacs.example/dicom-web", token={"env": "SPINE_TOKEN"})
    with pytest.raises(ValueError, match="must begin with https"):
        WebRemote(service)


@pytest.fixture
def secure(web, tmp_path):
    """HTTPS in front of the service, which wants a certificate of us."""
    certificates = Certificates(tmp_path / "certificates")
    with TlsProxy(web.port, certificates.server_context()) as proxy:
        yield proxy, certificates


def test_https_shows_both_certificates(web, secure):
    proxy, certificates = secure
    with remote_of(web, url=proxy.url, **certificates.tls()) as remote:
        assert remote.echo() == f"{proxy.url} answers QIDO-RS"


def test_https_of_an_unknown_authority_is_not_believed(web, secure, tmp_path, monkeypatch):
    """Not even where the environment tells requests to: it would overrule our own file."""
    proxy, certificates = secure
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    other = Certificates(tmp_path / "other")
    with (
        remote_of(web, url=proxy.url, **other.tls()) as remote,
        pytest.raises(RemoteRefusalError, match="must show a certificate that `authority`"),
    ):
        remote.echo()
    assert not web.asked


def test_a_key_that_others_may_read_is_refused(web, secure):
    proxy, certificates = secure
    certificates.client[1].chmod(0o644)
    with pytest.raises(ValueError, match="by its owner alone"):
        remote_of(web, url=proxy.url, **certificates.tls())
