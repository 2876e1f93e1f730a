"""Whether a configuration can work, and the exit codes of the commands that ask a PACS."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from pacs_servers import Certificates, Peer

from spine_monai.cli import main
from spine_monai.data.synthetic import make_study
from spine_monai.pacs.checks import ask, faults_of
from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.pulled import Pulled
from spine_monai.pacs.remote import open_remote


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path / "peer") as server:
        yield server


def content_of(port, **parts):
    remotes = {"pacs": {"dimse": {"aet": "PEER", "port": port, "timeout_s": 5}}}
    return {"remotes": remotes, "pull": {"remote": "pacs"}, "push": {"remote": "pacs"}} | parts


@pytest.fixture
def write(tmp_path):
    def call(content):
        (tmp_path / "pacs.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "pacs.yaml")

    return call


def test_a_configuration_that_can_work_has_no_faults(tmp_path):
    tls = Certificates(tmp_path).tls()
    watch = {"url": "http://localhost", "authority": tls["authority"]}
    content = content_of(11112, node={"tls": tls}, watch=watch, serve={"folder": "node"})
    assert not list(faults_of(PacsConfig.model_validate(content)))


def test_each_fault_is_named_by_its_part(tmp_path, monkeypatch):
    monkeypatch.delenv("SPINE_SECRET", raising=False)
    tls = Certificates(tmp_path).tls()
    (tmp_path / "client.key").chmod(0o644)
    content = content_of(11112, node={"tls": tls}, pull={"remote": "pacs", "series": {"Mod": "x"}})
    content["remotes"]["pacs"]["dimse"]["tls"] = tls
    content["watch"] = {"url": "http://x", "user": "u", "password": {"env": "SPINE_SECRET"}}
    faults = list(faults_of(PacsConfig.model_validate(content)))
    places = [fault.split(":")[0] for fault in faults]
    assert places == ["remotes.pacs", "node", "pull", "watch"]


@pytest.mark.parametrize(
    ("watch", "fault"),
    [
        ({"url": "http://localhost"}, "must have the part `serve`, too"),
        ({"url": "http://x", "user": "u", "password": {"env": "SPINE_SECRET"}}, "begin with https"),
    ],
)
def test_what_watch_could_not_work_with_is_a_fault(monkeypatch, watch, fault):
    monkeypatch.setenv("SPINE_SECRET", "Geheim")
    (said,) = faults_of(PacsConfig.model_validate(content_of(11112, watch=watch)))
    assert said.startswith("watch: ")
    assert fault in said


def test_who_answers_is_said(peer):
    config = PacsConfig.model_validate(content_of(peer.port))
    assert ask(config, "pacs") == f"PEER at 127.0.0.1:{peer.port} answers C-ECHO"


class AnyAnswer(BaseHTTPRequestHandler):
    """A service that has JSON for whatever is asked, and is no Orthanc."""

    content = b'{"changes": 4711}'

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def stranger():
    with HTTPServer(("127.0.0.1", 0), AnyAnswer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("content", [b'{"changes": 4711}', b"[]"])
def test_what_is_no_orthanc_cannot_be_watched(stranger, write, capsys, monkeypatch, content):
    monkeypatch.setattr(AnyAnswer, "content", content)
    config = {"watch": {"url": stranger}, "serve": {"folder": "node"}}
    assert main(["pacs", "check", "--config", write(config)]) == 1
    assert f"watch: {stranger} must be the REST interface of an Orth" in capsys.readouterr().out


def test_an_unknown_remote_is_an_error():
    with pytest.raises(ValueError, match="among those of the configuration, pacs: got other"):
        open_remote(PacsConfig.model_validate(content_of(11112)), "other")


def test_the_commands_say_0_where_all_is_well(peer, write, tmp_path, capsys):
    config = write(content_of(peer.port))
    assert main(["pacs", "check", "--config", config]) == 0
    query = ["--query", "ModalitiesInStudy=MR", "--out", str(tmp_path / "out")]
    assert main(["pacs", "pull", "--config", config, *query]) == 0
    assert "0 of 0 series are wanted" in capsys.readouterr().out


def test_two_pulls_into_one_folder_end_with_75(peer, write, tmp_path, capsys):
    query = ["--query", "ModalitiesInStudy=MR", "--out", str(tmp_path / "out")]
    with Pulled(tmp_path / "out"):
        assert main(["pacs", "pull", "--config", write(content_of(peer.port)), *query]) == 75
    assert "another run fetches into this folder now" in capsys.readouterr().err


def test_a_wrong_query_ends_with_2(peer, write, tmp_path, capsys):
    query = ["--query", "StudyDat=20260101", "--out", str(tmp_path / "out")]
    assert main(["pacs", "pull", "--config", write(content_of(peer.port)), *query]) == 2
    assert "Did you mean StudyDate?" in capsys.readouterr().err


@pytest.fixture
def results(tmp_path):
    (file,) = make_study(shape=(16, 12, 1)).write_dicom(tmp_path / "made", seed="results")
    case = tmp_path / "results" / "2.25.4711"
    case.mkdir(parents=True)
    file.rename(case / "landmarks.dcm")
    (case / "landmarks.json").write_text("{}")
    return str(tmp_path / "results")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, (0, "case 1, landmarks.dcm: stored, stored (0x0000)")),
        (0xA700, (1, "case 1, landmarks.dcm: failed, it is out of resources (0xA700)")),
        (0x0124, (2, "does not let our AE title")),
    ],
)
def test_a_push_says_what_became_of_each(peer, write, results, capsys, status, expected):
    code, said = expected
    peer.store_status = status
    assert main(["pacs", "push", "--config", write(content_of(peer.port)), results]) == code
    streams = capsys.readouterr()
    assert said in streams.out + streams.err
    assert "2.25.4711" not in streams.out + streams.err


def test_a_push_to_a_pacs_that_is_down_ends_with_1(peer, write, results, capsys):
    peer.stop()
    assert main(["pacs", "push", "--config", write(content_of(peer.port)), results]) == 1
    assert "0 of 1 objects are there; 0 sent now" in capsys.readouterr().out
