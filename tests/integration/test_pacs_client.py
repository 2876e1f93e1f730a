"""A real PACS, Orthanc: found, fetched, sent to, checked; over DIMSE, DICOMweb and HTTPS."""

import signal
import subprocess
import sys

import pydicom
import pytest
import yaml
from pacs_servers import (
    PASSWORD,
    USER,
    Certificates,
    Orthanc,
    TlsProxy,
    dcmtk_missing,
    free_port,
    orthanc_missing,
    wait_until,
)
from pydicom.uid import RLELossless

from spine_monai.data.synthetic import make_study
from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.pulled import FILE
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError, open_remote

MISSING = orthanc_missing()
pytestmark = [
    pytest.mark.pacs,
    pytest.mark.skipif(bool(MISSING), reason=str(MISSING)),
]
NODE_PORT = free_port()
QUERY = "ModalitiesInStudy=MR"
NAME = "Kowalski^Jan"


HEAVY_WAYS = [pytest.param(way, marks=pytest.mark.heavy) for way in ("move", "web")]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    us = {"spine": ("SPINE", "127.0.0.1", NODE_PORT)}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), us) as server:
        yield server


@pytest.fixture(scope="module")
def t1(tmp_path_factory):
    """A second series for the demo study's patient, of another study and kind."""
    values = {"SeriesDescription": f"{NAME} t1", "EchoTime": "11", "RepetitionTime": "600"}
    folder = tmp_path_factory.mktemp("t1")
    return make_study(shape=(24, 20, 6)).write_dicom(folder, seed="t1", **values)


@pytest.fixture(scope="module")
def demo(demo_series):
    return sorted(demo_series.glob("*.dcm"))


@pytest.fixture(scope="module")
def filled(orthanc, demo, t1):
    orthanc.upload(*demo, *t1)
    return orthanc


@pytest.fixture
def password(tmp_path):
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return tmp_path / "password"


@pytest.fixture
def write_config(tmp_path, password):
    """Write pacs.yaml for an Orthanc, and return its path."""

    def write(server, remote="get", **parts):
        timeout = {"timeout_s": 5}
        node = {"aet": "ORTHANC", "port": server.dicom_port} | timeout
        web = {"url": server.web_url, "user": USER, "password": {"file": str(password)}} | timeout
        remotes = {how: {"dimse": node | {"retrieve": how}} for how in ("get", "move")}
        content = {
            "node": {"port": NODE_PORT},
            "remotes": remotes | {"web": {"dicomweb": web}},
            "pull": {"remote": remote, "max_tries": 2},
            "push": {"remote": remote},
        }
        path = tmp_path / "pacs.yaml"
        path.write_text(yaml.safe_dump(content | parts))
        return path

    return write


@pytest.fixture
def open_(write_config):
    """Open a remote of the configuration of an Orthanc."""

    def call(server, name, **node):
        content = yaml.safe_load(write_config(server).read_text())
        content["node"] |= node
        return open_remote(PacsConfig.model_validate(content), name)

    return call


def uids(files):
    first = pydicom.dcmread(files[0])
    return str(first.StudyInstanceUID), str(first.SeriesInstanceUID)


@pytest.mark.parametrize("how", ["get", "move", "web"])
def test_a_series_comes_with_every_pixel(filled, open_, demo, how):
    came = []
    with open_(filled, how) as remote:
        assert "answers" in remote.echo()
        (study,) = remote.find_studies({"StudyInstanceUID": uids(demo)[0]})
        (series,) = remote.find_series(study.StudyInstanceUID)
        assert (series.Modality, int(series.NumberOfSeriesRelatedInstances)) == ("MR", len(demo))
        assert remote.retrieve(*uids(demo), came.append) == len(demo)
    kept = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, demo)}
    for one in came:
        assert one.PixelData == kept[one.SOPInstanceUID].PixelData
        assert one.ImagePositionPatient == kept[one.SOPInstanceUID].ImagePositionPatient


@pytest.mark.parametrize("how", ["get", "move", "web"])
def test_a_compressed_object_comes_as_it_is_kept(orthanc, open_, tmp_path, how):
    (file,) = make_study(shape=(24, 20, 1)).write_dicom(tmp_path / "rle", seed=f"rle{how}")
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(file)
    came = []
    with open_(orthanc, how) as remote:
        assert remote.store(file).is_done or how != "web"
        orthanc.upload(file)
        remote.retrieve(*uids([file]), came.append)
    assert came[0].file_meta.TransferSyntaxUID == RLELossless
    assert came[0].PixelData == dataset.PixelData


@pytest.mark.parametrize("how", ["get", "web"])
def test_to_send_again_changes_nothing(tmp_path, open_, demo, how):
    with Orthanc(tmp_path / "own", {"spine": ("SPINE", "127.0.0.1", NODE_PORT)}) as own:
        for _ in range(2):
            with open_(own, how) as remote:
                assert all(remote.store(file).is_done for file in demo)
            assert own.counts() == (1, 1, len(demo))


def test_a_title_that_is_not_known_is_refused(filled, open_, demo):
    """Orthanc accepts the association, and ends it as soon as something is wanted."""
    with open_(filled, "get", aet="STRANGER") as remote:
        with pytest.raises(RemoteRefusalError, match="it must know our AE title"):
            remote.store(demo[0])
        with pytest.raises(RemoteRefusalError, match="it must know our AE title"):
            list(remote.find_studies({"ModalitiesInStudy": "MR"}))


@pytest.mark.parametrize("how", ["get", "web"])
def test_a_pacs_that_is_down_is_away_and_comes_back(tmp_path, open_, demo, how):
    with Orthanc(tmp_path / "own", {"spine": ("SPINE", "127.0.0.1", NODE_PORT)}) as own:
        with open_(own, how) as remote:
            assert remote.store(demo[0]).is_done
            own.kill()
            with pytest.raises(RemoteAwayError, match="does not answer"):
                remote.store(demo[1])
            own.start()
            assert remote.store(demo[1]).is_done
        assert own.counts()[2] == 2


def test_a_wrong_password_is_said_without_it(filled, run, write_config, password, tmp_path):
    password.write_text("Falsch-0815")
    config = write_config(filled, "web")
    code, said = run("pacs", "pull", "--config", config, "--query", QUERY, "--out", tmp_path / "o")
    assert code == 2
    assert "it does not know us: check `user` and `password`" in said
    assert "Falsch" not in said


@pytest.fixture(scope="module")
def secure(orthanc, tmp_path_factory):
    """HTTPS in front of Orthanc, and the certificates."""
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with TlsProxy(orthanc.http_port, certificates.server_context(wants_client=False)) as proxy:
        yield proxy, certificates


def web_remote(proxy, authority, password):
    own = {"url": f"{proxy.url}/dicom-web", "authority": str(authority), "user": USER}
    return {"web": {"dicomweb": own | {"password": {"file": str(password)}, "timeout_s": 5}}}


def test_https_works_with_its_own_authority_alone(
    filled, secure, run, write_config, password, tmp_path
):
    proxy, certificates = secure
    other = Certificates(tmp_path / "other")
    for authority, expected in ((certificates.authority, 0), (other.authority, 1)):
        remotes = web_remote(proxy, authority, password)
        config = write_config(filled, "web", remotes=remotes)
        code, said = run("pacs", "check", "--config", config)
        assert code == expected, said
        assert ("must show a certificate" in said) == bool(expected)
        assert PASSWORD not in said
    config = write_config(
        filled, "web", remotes=web_remote(proxy, certificates.authority, password)
    )
    out = tmp_path / "out"
    code, said = run("pacs", "pull", "--config", config, "--query", QUERY, "--out", out)
    assert code == 0, said


@pytest.mark.skipif(bool(dcmtk_missing("dcmqrscp")), reason=str(dcmtk_missing("dcmqrscp")))
def test_dicom_tls_of_dcmtk_wants_our_certificate(tmp_path, demo):
    certificates, port = Certificates(tmp_path / "certificates"), free_port()
    certificate, key = certificates.server
    command = ["storescp", "+tls", key, certificate, "+cf", certificates.authority, "-od", tmp_path]
    with subprocess.Popen([*command, str(port)], stderr=subprocess.PIPE) as server:
        try:
            node = {"aet": "STORESCP", "port": port, "host": "localhost", "timeout_s": 5}
            remotes = {
                "with": {"dimse": node | {"tls": certificates.tls()}},
                "without": {"dimse": node},
            }
            config = PacsConfig.model_validate({"remotes": remotes})
            wait_until(lambda: is_there(config), what="storescp's first answer")
            with open_remote(config, "with") as remote:
                assert remote.store(demo[0]).is_done
            with open_remote(config, "without") as remote, pytest.raises(RemoteAwayError):
                remote.echo()
        finally:
            server.kill()


def is_there(config):
    with open_remote(config, "with") as remote:
        try:
            return remote.echo()
        except RemoteAwayError:
            return False


@pytest.mark.parametrize("remote", ["get", pytest.param("web", marks=pytest.mark.heavy)])
def test_pull_then_localize_then_push(filled, run, write_config, tmp_path, remote, demo):
    """The whole way over the command line; `localize` takes what `pull` wrote."""
    out, results = tmp_path / "out", tmp_path / "results"
    config = write_config(filled, remote)
    query = f"StudyInstanceUID={uids(demo)[0]}"
    code, said = run("pacs", "pull", "--config", config, "--query", query, "--out", out)
    assert code == 0, said
    assert "series are wanted: 1 fetched (5 objects)" in said
    studies = sorted(path for path in out.glob("*") if not path.name.startswith("."))
    assert [path.name for path in studies] == [uids(demo)[0]]
    assert len(list(studies[0].rglob("*.dcm"))) == len(demo)
    code, said = run("localize", *studies, "--out", results, "--formats", "sr,sc,gsps")
    assert code == 0, said
    before = filled.counts()[2]
    for sent in (3, 0):
        code, said = run("pacs", "push", "--config", config, results)
        assert code == 0, said
        assert f"3 of 3 objects are there; {sent} sent now" in said
        assert uids(demo)[1] not in said
    after = filled.counts()[2]
    assert after in (before, before + 3)  # the second remote finds them there
    code, said = run("pacs", "push", "--config", config, results, "--again")
    assert (code, filled.counts()[2]) == (0, after)
    assert "3 sent now" in said
    assert len(filled.instances_of("SR")) == 1


def test_a_dry_run_names_numbers_alone(filled, run, write_config, tmp_path):
    config = write_config(filled, "get", pull={"remote": "get", "series": {"SeriesNumber": "4711"}})
    arguments = ("--config", config, "--query", QUERY, "--out", tmp_path / "out", "--dry-run")
    code, said = run("pacs", "pull", *arguments)
    assert code == 0
    assert "study 1, series 1: MR, " in said
    assert "objects: no: another SeriesNumber" in said
    assert "Kowalski" not in said
    assert not (tmp_path / "out").exists()


def test_a_pacs_that_is_down_ends_with_1(run, write_config, tmp_path):
    server = Orthanc(tmp_path / "never")
    config = write_config(server)
    out = tmp_path / "out"
    code, said = run("pacs", "pull", "--config", config, "--query", QUERY, "--out", out)
    assert (code, "does not answer: Connection refused" in said) == (1, True)
    code, said = run("pacs", "check", "--config", config)
    assert (code, said.count("does not answer")) == (1, 3)
    assert run("pacs", "check", "--config", config, "--offline")[0] == 0


def test_check_says_who_answers(filled, run, write_config):
    code, said = run("pacs", "check", "--config", write_config(filled))
    assert code == 0
    assert said.count("answers C-ECHO") == 2
    assert "answers QIDO-RS" in said


def test_check_names_each_fault(filled, run, write_config, password, tmp_path):
    config = write_config(filled, pull={"remote": "get", "series": {"EchoTime": "100"}})
    password.write_text("")
    code, said = run("pacs", "check", "--config", config)
    assert code == 2
    assert "remotes.web: the first line of" in said
    assert "pull: pull.series must have keys among" in said
    config.write_text("nodes: {}")
    code, said = run("pacs", "check", "--config", config)
    assert (code, "nodes: unknown key" in said) == (2, True)


def start_pull(config, out):
    command = ["env", "--default-signal=INT"]  # the test itself may run where it is ignored
    command += [sys.executable, "-m", "spine_monai.cli", "pacs", "pull", "--config", config]
    command += ["--query", QUERY, "--out", out]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def objects_in(out):
    return len(list(out.rglob("[0-9]*.dcm")))


@pytest.mark.parametrize("remote", ["get", *HEAVY_WAYS])
def test_an_interrupted_pull_goes_on(filled, run, write_config, tmp_path, remote):
    out = tmp_path / "out"
    slow = {"remote": remote, "objects_per_s": 1.5}
    process = start_pull(write_config(filled, pull=slow), out)
    wait_until(lambda: objects_in(out) >= 2, seconds=60, what="the second object")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 75, said
    assert "run the same command again" in said
    assert 2 <= objects_in(out) < 11
    assert not [path for path in out.rglob(".*") if path.name != FILE]
    arguments = ("--config", write_config(filled, remote), "--query", QUERY, "--out", out)
    code, said = run("pacs", "pull", *arguments)
    assert code == 0, said
    assert ", 0 failed" in said
    assert objects_in(out) >= 11
    code, said = run("pacs", "pull", *arguments)
    assert ": 0 fetched (0 objects)" in said


@pytest.mark.parametrize("remote", ["get", pytest.param("web", marks=pytest.mark.heavy)])
def test_a_pacs_that_stops_in_the_middle_is_gone_on_with(
    tmp_path, run, write_config, demo, t1, remote
):
    with Orthanc(tmp_path / "own", {"spine": ("SPINE", "127.0.0.1", NODE_PORT)}) as own:
        own.upload(*demo, *t1)
        out = tmp_path / "out"
        slow = {"remote": remote, "objects_per_s": 1, "max_tries": 2}
        process = start_pull(write_config(own, pull=slow), out)
        wait_until(lambda: objects_in(out) >= 2, seconds=60, what="the second object")
        own.kill()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 1, said
        assert "the PACS went away: run the same command again" in said
        assert objects_in(out) < len(demo) + len(t1)
        own.start()
        arguments = ("--config", write_config(own, remote), "--query", QUERY, "--out", out)
        code, said = run("pacs", "pull", *arguments)
        assert (code, objects_in(out)) == (0, len(demo) + len(t1)), said


def test_nobody_is_named_even_when_verbose(filled, write_config, tmp_path, t1):
    command = [sys.executable, "-m", "spine_monai.cli", "--verbose", "pacs", "pull", "--config"]
    command += [write_config(filled, "web"), "--query", f"PatientName={NAME}* {QUERY}"]
    command = [str(part) for part in [*command, "--out", tmp_path / "out"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for word in ("Kowalski", *uids(t1), PASSWORD):
        assert word not in said
