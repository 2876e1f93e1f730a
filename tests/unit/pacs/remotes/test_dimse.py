"""A DICOM node that we call: finding, fetching, sending, and each way in which it may fail."""

import logging
import shutil
import socket
import time

import pydicom
import pytest
from pacs_servers import Certificates, Peer, free_port
from pydicom.uid import generate_uid
from pynetdicom.dsutils import split_dataset

from spine_monai.pacs.config import Dimse, Node, Tls
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError
from spine_monai.pacs.remotes.dimse import DimseRemote
from spine_monai.pacs.remotes.statuses import stored_as


@pytest.fixture(scope="module")
def files(demo_study):
    return sorted(demo_study.glob("*.dcm"))


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path / "peer") as server:
        yield server


@pytest.fixture
def filled(peer, files):
    for file in files:
        shutil.copy(file, peer.folder)
    return peer


def remote_of(peer, node=None, **values):
    values = {"aet": "PEER", "port": peer.port, "timeout_s": 5} | values
    return DimseRemote(node or Node(), Dimse(**values))


def uids(files):
    first = pydicom.dcmread(files[0])
    return str(first.StudyInstanceUID), str(first.SeriesInstanceUID)


def test_who_is_there_answers(peer):
    assert remote_of(peer).echo() == f"PEER at 127.0.0.1:{peer.port} answers C-ECHO"


def test_an_object_is_sent_byte_for_byte_on_one_association(peer, files):
    with remote_of(peer) as remote:
        assert {remote.store(file).reason for file in files} == {"stored (0x0000)"}
        assert peer.associations == 1
    sent = {pydicom.dcmread(file).SOPInstanceUID: file for file in files}
    assert len(peer.files()) == len(files)
    for file in peer.files():
        assert dataset_bytes(file) == dataset_bytes(sent[file.stem])


def dataset_bytes(file):
    return file.read_bytes()[split_dataset(file)[1] :]


def test_an_object_goes_in_its_own_transfer_syntax(peer, demo_study, tmp_path):
    dataset = pydicom.dcmread(next(iter(sorted(demo_study.glob("*.dcm")))))
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    dataset.save_as(tmp_path / "rle.dcm")
    with remote_of(peer) as remote:
        said = remote.store(tmp_path / "rle.dcm")
    assert (said.is_done, said.is_final) == (False, True)
    assert said.reason == "it does not take MR Image Storage in the file's transfer syntax"


def test_a_class_that_is_not_taken_is_refused_for_good(tmp_path, files):
    peer = Peer(tmp_path / "peer")
    peer.storage_classes = ["1.2.840.10008.5.1.4.1.1.2"]
    with peer, remote_of(peer) as remote:
        said = remote.store(files[0])
        assert said.is_final
        assert "MR Image Storage" in said.reason


@pytest.mark.parametrize(
    ("status", "is_done", "is_final"),
    [
        (0x0000, True, False),
        (0xB000, True, False),
        (0x0111, True, False),
        (0xA700, False, False),
        (0x0110, False, False),
        (0xA900, False, True),
        (0xC123, False, True),
        (0x0122, False, True),
    ],
)
def test_a_status_says_whether_to_send_again(peer, files, status, is_done, is_final):
    peer.store_status = status
    with remote_of(peer) as remote:
        said = remote.store(files[0])
    assert (said.is_done, said.is_final) == (is_done, is_final)
    assert f"0x{status:04X}" in said.reason
    assert said == stored_as(status)


def test_who_may_not_send_is_told_so(peer, files):
    peer.store_status = 0x0124
    with remote_of(peer) as remote, pytest.raises(RemoteRefusalError, match="does not let our AE"):
        remote.store(files[0])


def test_an_association_that_was_dropped_is_opened_again(peer, files):
    with remote_of(peer) as remote:
        remote.store(files[0])
        peer.restart()
        assert remote.store(files[1]).is_done
    assert len(peer.files()) == 2


def test_a_node_that_drops_each_association_refuses_us(peer, files):
    peer.drops = True
    with remote_of(peer) as remote, pytest.raises(RemoteRefusalError, match="it must know our AE"):
        remote.store(files[0])


def test_a_node_that_is_down_is_away(peer, files):
    peer.stop()
    remote = remote_of(peer)
    for ask in (remote.echo, lambda: remote.store(files[0]), lambda: list(remote.find_studies({}))):
        with pytest.raises(RemoteAwayError, match="does not answer: Connection refused"):
            ask()


def test_a_node_that_is_slow_is_away(peer, files):
    peer.delay_s = 1.5
    with (
        remote_of(peer, timeout_s=0.5) as remote,
        pytest.raises(RemoteAwayError, match=r"did not answer C-STORE within 0.5 s"),
    ):
        remote.store(files[0])


def test_a_title_that_is_not_let_in_is_refused(tmp_path):
    with Peer(tmp_path, only_from=["OTHER"]) as peer:
        with pytest.raises(RemoteRefusalError, match="it does not know our AE title"):
            remote_of(peer).echo()
        with pytest.raises(RemoteRefusalError, match="its AE title is another one"):
            remote_of(peer, Node(aet="OTHER"), aet="ELSE").echo()


def test_studies_and_series_are_found(filled, files):
    remote = remote_of(filled)
    (study,) = remote.find_studies({"StudyDate": "19000101-", "ModalitiesInStudy": "MR"})
    assert study.StudyInstanceUID == uids(files)[0]
    (series,) = remote.find_series(study.StudyInstanceUID)
    assert (series.Modality, series.NumberOfSeriesRelatedInstances) == ("MR", len(files))


@pytest.mark.parametrize("how", ["get", "move"])
def test_a_series_comes_whole(filled, files, how):
    node = Node(port=free_port())
    filled.destinations["SPINE"] = ("127.0.0.1", node.port)
    came = []
    assert remote_of(filled, node, retrieve=how).retrieve(*uids(files), came.append) == len(files)
    kept = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, files)}
    for one in came:
        assert one == kept[one.SOPInstanceUID]
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID


@pytest.mark.parametrize("how", ["get", "move"])
def test_what_the_sink_raises_ends_the_transfer(filled, files, how):
    node = Node(port=free_port())
    filled.destinations["SPINE"] = ("127.0.0.1", node.port)
    came = []

    def full(dataset):
        came.append(dataset)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        remote_of(filled, node, retrieve=how).retrieve(*uids(files), full)
    assert len(came) == 1


@pytest.mark.parametrize("how", ["get", "move"])
def test_an_object_that_is_too_large_is_not_taken(filled, files, how):
    node = Node(port=free_port(), max_object_mb=0.02)
    filled.destinations["SPINE"] = ("127.0.0.1", node.port)
    came = []
    with pytest.raises(ValueError, match=r"at most 0.02 MB, node.max_object_mb: a larger one came"):
        remote_of(filled, node, retrieve=how).retrieve(*uids(files), came.append)
    assert not came


def test_a_file_that_is_too_large_is_not_sent(peer, files):
    remote = remote_of(peer, Node(max_object_mb=0.02))
    with pytest.raises(ValueError, match=r"must have at most 0.02 MB"):
        remote.store(files[0])


def test_a_file_that_is_no_dicom_is_not_sent(peer, tmp_path):
    (tmp_path / "report.dcm").write_text("no DICOM" * 100)
    with pytest.raises(ValueError, match=r"report.dcm must be a DICOM file"):
        remote_of(peer).store(tmp_path / "report.dcm")


def test_c_move_to_a_port_that_is_taken_is_an_error(filled, files):
    remote = remote_of(filled, Node(port=filled.port), retrieve="move")
    with pytest.raises(ValueError, match=r"node.host and node.port, to receive what C-MOVE sends"):
        remote.retrieve(*uids(files), print)


def test_c_move_needs_a_node_that_knows_us(filled, files):
    remote = remote_of(filled, Node(port=free_port()), retrieve="move")
    with pytest.raises(RemoteRefusalError, match="must know our AE title, host and port"):
        remote.retrieve(*uids(files), print)


def test_objects_that_could_not_be_sent_are_asked_for_again_later(filled, files):
    odd = pydicom.dcmread(files[0])
    odd.SOPClassUID = odd.file_meta.MediaStorageSOPClassUID = generate_uid()
    filled.answer = [odd]
    with pytest.raises(RemoteAwayError, match=r"could not send 1 objects \(0x"):
        remote_of(filled).retrieve(*uids(files), print)


@pytest.fixture
def secure(tmp_path):
    """A node that wants a certificate of us, and its certificates."""
    certificates = Certificates(tmp_path / "certificates")
    context = certificates.server_context()
    with Peer(tmp_path / "peer", ssl_context=context) as peer:
        yield peer, certificates


def test_out_of_resources_is_a_matter_of_time_and_a_failure_is_not(filled):
    for status, kind in ((0xA700, RemoteAwayError), (0xC001, RemoteRefusalError)):
        filled.find_status = status
        with pytest.raises(kind, match=f"answered C-FIND with status 0x{status:04X}"):
            list(remote_of(filled).find_studies({"ModalitiesInStudy": "MR"}))


def test_an_interrupted_sender_does_not_wait(filled, files):
    def send():
        with remote_of(filled) as remote:
            remote.store(files[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send()


def test_c_move_may_take_longer_than_one_answer(filled, files):
    """The sink is slow, as under pull.objects_per_s; the node's last answer comes long after."""
    node = Node(port=free_port())
    filled.destinations["SPINE"] = ("127.0.0.1", node.port)
    remote = remote_of(filled, node, retrieve="move", timeout_s=0.5)
    assert remote.retrieve(*uids(files), lambda dataset: time.sleep(0.7)) == len(files)


def test_c_move_ends_when_nothing_comes(filled, files):
    node = Node(port=free_port())
    filled.destinations["SPINE"] = ("127.0.0.1", node.port)
    filled.delay_s = 2
    remote = remote_of(filled, node, retrieve="move", timeout_s=0.5)
    with pytest.raises(RemoteAwayError, match=r"did not answer C-MOVE within 0.5 s"):
        remote.retrieve(*uids(files), lambda dataset: None)


def test_a_node_that_answers_no_association_is_away():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Dimse(aet="PEER", port=silent.getsockname()[1], timeout_s=0.5)
        with pytest.raises(RemoteAwayError, match="is there, but gives us no association"):
            DimseRemote(Node(), remote).echo()


def test_what_speaks_no_tls_is_refused(peer, tmp_path):
    tls = Tls(**Certificates(tmp_path / "certificates").tls())
    with pytest.raises((RemoteAwayError, RemoteRefusalError), match="PEER at localhost"):
        remote_of(peer, host="localhost", tls=tls, timeout_s=1).echo()


def test_both_show_a_certificate(secure, files):
    peer, certificates = secure
    with remote_of(peer, host="localhost", tls=Tls(**certificates.tls())) as remote:
        assert "answers C-ECHO" in remote.echo()
        assert remote.store(files[0]).is_done


def test_without_a_certificate_nobody_gets_in(secure):
    peer, _ = secure
    with pytest.raises(RemoteAwayError, match="does it want TLS"):
        remote_of(peer).echo()


def test_a_stranger_that_shows_a_certificate_is_not_believed(secure, tmp_path):
    peer, _ = secure
    other = Certificates(tmp_path / "other")
    with pytest.raises(RemoteRefusalError, match="shows a wrong certificate"):
        remote_of(peer, host="localhost", tls=Tls(**other.tls())).echo()


def test_our_certificate_of_another_authority_is_not_taken(secure, tmp_path):
    peer, certificates = secure
    other = Certificates(tmp_path / "other")
    tls = Tls(**other.tls() | {"authority": str(certificates.authority)})
    with pytest.raises((RemoteAwayError, RemoteRefusalError), match="PEER at localhost"):
        remote_of(peer, host="localhost", tls=tls).echo()


def test_nobody_is_named_in_any_log(filled, files, caplog, demo_study):
    caplog.set_level(logging.DEBUG)
    remote = remote_of(filled)
    remote.retrieve(*uids(files), lambda dataset: None)
    list(remote.find_studies({"PatientName": "Kowalski"}))
    assert not [one for one in caplog.records if one.name.startswith(("pynetdicom", "pydicom"))]
    assert "Kowalski" not in caplog.text
    assert uids(files)[1] not in caplog.text
