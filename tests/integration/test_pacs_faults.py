"""Whatever fails, nothing is lost and nothing is there twice: kills, full disks, absent systems."""

import random
import socket
import ssl
import threading
import time
from functools import partial

import pydicom
import pytest
import yaml
from deadly import begun
from pacs_node import (
    NodeProcess,
    SmallDisk,
    hazardous_bundle,
    made_nodes,
    quick_bundle,
    reference,
    small_study,
    store,
    study_uid,
    wait_for,
)
from pacs_servers import Certificates, Orthanc, Peer, orthanc_missing

from spine_monai.files import sha256_of_file

# pydicom warns of the UIDs of a test.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


@pytest.fixture(scope="module")
def quick(bundle, tmp_path_factory):
    return quick_bundle(bundle, tmp_path_factory.mktemp("quick") / "bundle")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Four studies."""
    return [small_study(tmp_path_factory.mktemp("study"), seed) for seed in range(4)]


@pytest.fixture
def hazardous(quick, tmp_path):
    """The bundle with a preprocessing that is slow or deadly."""
    return partial(hazardous_bundle, quick, tmp_path / "hazardous")


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path / "peer", aet="PACS") as server:
        yield server


@pytest.fixture
def make_node(tmp_path, quick, peer):
    with made_nodes(tmp_path, quick, peer) as make:
        yield make


def faults(node):
    return dict(node.rows("SELECT kind, count FROM faults"))


def check_whole(node, studies):
    """All objects of the studies lie there as they were sent."""
    for files in studies:
        for file in files:
            dataset = pydicom.dcmread(file)
            (kept,) = node.data.glob(f"incoming/*/*/{dataset.SOPInstanceUID}.dcm")
            assert pydicom.dcmread(kept) == dataset


@pytest.mark.heavy
def test_a_kill_while_receiving_loses_no_object_that_was_answered(make_node, peer, studies):
    node = make_node()
    node.start()
    answered, files = [], [file for study in studies for file in study]

    def send_all():
        for file in files:
            if store([file], node.port) != [0]:
                return
            answered.append(file)

    sender = threading.Thread(target=send_all)
    sender.start()
    wait_for(lambda: len(answered) >= 5, "five objects")
    node.kill()
    sender.join()
    kept = {path.name for path in node.data.glob("incoming/*/*/*.dcm")}
    assert {f"{pydicom.dcmread(file).SOPInstanceUID}.dcm" for file in answered} <= kept
    node.start()
    assert not list(node.data.glob("aside/*"))
    for study in studies:
        assert node.send(study) == [0, 0, 0]
    node.wait_for_states("done", count=4)
    check_whole(node, studies)
    assert len(peer.files()) == 4


def test_a_kill_while_inferring_costs_nothing(make_node, peer, studies, hazardous):
    bundle = hazardous(seconds=1.0)
    node = make_node(bundle=bundle)
    node.start()
    for study in studies[:2]:
        node.send(study)
    wait_for(lambda: begun(bundle), "work")
    node.kill()
    node.start()
    node.wait_for_states("done", count=2)
    assert len(peer.files()) == 2
    assert node.audit()[-1]["outcome"] == "sent"


@pytest.mark.heavy
def test_a_kill_while_sending_sends_the_same_bytes_again(make_node, peer, studies):
    node = make_node()
    node.start()
    peer.delay_s = 1.5
    node.send(studies[0])
    wait_for(lambda: "sending" in node.states().values() and peer.associations, "sending")
    time.sleep(0.3)
    node.kill()
    peer.delay_s = 0.0
    (result,) = node.data.glob("results/*/landmarks.dcm")
    before = sha256_of_file(result)
    node.start()
    node.wait_for_states("done")
    (landmarks,) = node.data.glob("results/*/landmarks.dcm")
    assert sha256_of_file(landmarks) == before
    assert len(peer.files()) == 1


def test_a_pacs_that_is_away_gets_its_results_when_it_comes_back(make_node, peer, studies):
    peer.stop()
    node = make_node()
    node.start()
    node.send(studies[0])
    node.wait_for_states("sending")
    wait_for(lambda: len(node.events("destination is away")) >= 2, "two attempts")
    code, said = node.call("status")
    assert code == 0
    assert f"waiting {reference(studies[0])} landmarks.dcm for pacs: " in said
    peer.start()
    node.wait_for_states("done")
    assert len(peer.files()) == 1


@pytest.mark.heavy
def test_a_pacs_that_refuses_for_good_is_named(make_node, peer, studies):
    peer.store_status = 0xA900
    node = make_node()
    node.start()
    node.send(studies[0])
    node.wait_for_states("failed")
    code, said = node.call("status")
    assert code == 1
    assert f"refused {reference(studies[0])} landmarks.dcm for pacs: " in said
    peer.store_status = 0
    assert node.call("retry", reference(studies[0]))[0] == 0
    node.wait_for_states("done")
    assert len(peer.files()) == 1


def test_a_study_that_ends_its_worker_is_set_aside_and_the_rest_go_on(
    make_node, peer, studies, hazardous
):
    deadly = reference(studies[0])
    bundle = hazardous(deadly=[deadly])
    node = make_node(bundle=bundle)
    node.start()
    for study in studies:
        node.send(study)
    wait_for(lambda: node.states().get(deadly) == "poisoned", "poison")
    wait_for(lambda: list(node.states().values()).count("done") == 3, "the others")
    tries = [
        line["try_number"] for line in node.events("work begins") if line["reference"] == deadly
    ]
    assert tries == [1, 2, 3], (begun(bundle), node.log())
    assert begun(bundle).count(deadly) == 3
    assert len(peer.files()) == 3
    code, said = node.call("status")
    assert code == 1
    assert f"poisoned {deadly}: it ended the process that worked on it 3 times" in said
    assert node.call("retry", deadly)[0] == 0
    wait_for(lambda: len(node.events("work ends: poisoned")) == 2, "three more tries")


@pytest.mark.heavy
def test_an_object_of_the_same_uid_with_other_bytes_is_refused(make_node, studies):
    node = make_node()
    node.start()

    def rename(dataset):
        dataset.PatientName = "Other^Name"

    assert node.send(studies[0]) == [0, 0, 0]
    assert node.send(studies[0][:1], edit=rename) == [0x0111]
    wait_for(lambda: faults(node).get("same_uid_other_bytes") == 1, "a count")
    check_whole(node, studies[:1])
    assert "Other" not in node.log()


@pytest.mark.heavy
def test_a_full_disk_refuses_and_takes_the_object_later(make_node, peer, studies):
    node = make_node(serve={"min_free_mb": 1e12})
    node.start()
    assert node.send(studies[0]) == [0xA700] * 3
    assert not list(node.data.glob("incoming/*"))
    wait_for(lambda: faults(node).get("disk_full") == 3, "a count")
    assert node.stop() == 0
    content = yaml.safe_load(node.config.read_text())
    content["serve"]["min_free_mb"] = 1.0
    node.config.write_text(yaml.safe_dump(content))
    node.start()
    assert node.send(studies[0]) == [0] * 3
    node.wait_for_states("done")


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path / "disk", 4) as small:
        yield small


@pytest.fixture
def make_small_node(disk, make_node):
    """A node whose folder is on a small disk, which it may fill to the last byte."""

    def make(**parts):
        return make_node(serve={"folder": str(disk.folder / "node"), "min_free_mb": 0}, **parts)

    return make


def kept_of(node, files):
    """The files of a study that the node has."""
    return sorted(node.data.glob(f"incoming/{study_uid(files)}/*/*.dcm"))


def troubles(node, thread):
    return [line for line in node.events("trouble with the disk") if line["thread"] == thread]


@pytest.mark.heavy
def test_a_disk_that_is_really_full_refuses_with_the_reason(disk, make_small_node, peer, studies):
    node = make_small_node()
    node.start()
    assert node.send(studies[0]) == [0, 0, 0]
    node.wait_for_states("done")
    disk.fill()
    assert node.send(studies[1]) == [0xA700] * 3
    said = node.send(studies[1], answer="ErrorComment")
    assert said == ["the disk of this node is full"] * 3
    assert (kept_of(node, studies[1]), list(node.data.glob("aside/*"))) == ([], [])
    assert [line["kind"] for line in node.events("refused")] == ["disk_full"] * 6
    check_whole(node, studies[:1])
    disk.free()
    assert node.send(studies[1]) == [0, 0, 0]
    node.wait_for_states("done", count=2)
    check_whole(node, studies[:2])
    wait_for(lambda: faults(node).get("disk_full") == 6, "a count")
    assert len(peer.files()) == 2


@pytest.mark.heavy
def test_a_disk_that_becomes_full_within_a_study_keeps_what_was_answered(
    disk, make_small_node, peer, studies
):
    node = make_small_node()
    node.start()
    one = pages(studies[0][0])
    disk.fill(leave=one + one // 2)
    assert node.send(studies[0]) == [0, 0xA700, 0xA700]
    (kept,) = kept_of(node, studies[0])
    assert pydicom.dcmread(kept) == pydicom.dcmread(studies[0][0])
    assert not list(node.data.glob("aside/*"))
    node.kill()
    disk.free()
    node.start()
    assert node.send(studies[0]) == [0, 0, 0]
    node.wait_for_states("done")
    check_whole(node, studies[:1])
    assert len(peer.files()) == 1


def pages(file):
    """Of a small disk that an object takes, its node's own header included."""
    return -(-(file.stat().st_size + 512) // SmallDisk.PAGE)


@pytest.mark.heavy
def test_objects_that_the_full_database_could_not_be_told_of_are_not_forgotten(
    disk, make_small_node, peer, studies
):
    node = make_small_node()
    node.start()
    disk.fill(leave=pages(studies[0][0]))
    assert node.send(studies[0][:1]) == [0]
    disk.fill()
    wait_for(lambda: len(troubles(node, "settling")) > 1, "two tries to tell")
    assert "database or disk is full" in troubles(node, "settling")[0]["reason"]
    assert node.states() == {}
    assert node.send(studies[1]) == [0xA700] * 3
    disk.free()
    node.wait_for_states("ignored")  # one slice is no series
    wait_for(lambda: faults(node).get("disk_full") == 3, "a count")
    assert node.send(studies[0]) == [0, 0, 0]
    node.wait_for_states("done")
    check_whole(node, studies[:1])
    assert len(peer.files()) == 1


@pytest.mark.heavy
def test_a_result_that_finds_no_room_is_made_again_when_there_is_some(
    disk, make_small_node, peer, studies, hazardous
):
    bundle = hazardous(seconds=1.0)
    node = make_small_node(bundle=bundle)
    node.start()
    node.send(studies[0])
    wait_for(lambda: begun(bundle), "work")
    disk.fill()
    wait_for(lambda: len(node.log().split("trouble with the disk")) > 2, "trouble")
    assert node.process.poll() is None
    assert node.call("status")[0] in (0, 3)
    assert "Traceback" not in node.log()
    disk.free()
    node.wait_for_states("done")
    assert len(peer.files()) == 1
    assert {line["try_number"] for line in node.events("work begins")} == {1}  # not its fault
    assert [line["outcome"] for line in node.audit()][-2:] == ["done", "sent"]
    assert not list(node.data.rglob(".*-*"))


@pytest.mark.heavy
def test_a_node_does_not_start_on_a_full_disk_and_says_why(disk, make_small_node, studies):
    node = make_small_node()
    node.start()
    node.send(studies[0])
    node.wait_for_states("done")
    assert node.stop() == 0
    disk.fill()
    process = node.spawn("serve")
    assert process.wait(120) == 3
    assert "0.0 MB free. Make room on the disk of" in node.log()
    assert "Traceback" not in node.log()
    code, said = node.call("status")
    assert code == 0 or (code == 3 and "Make room" in said), said
    disk.free()
    node.start()
    assert node.states() == {reference(studies[0]): "done"}


@pytest.mark.heavy
def test_too_many_waiting_studies_refuse_a_further_one(make_node, studies):
    node = make_node(serve={"max_waiting_studies": 2, "quiet_s": 60})
    node.start()
    assert node.send(studies[0][:1]) == [0]
    assert node.send(studies[1][:1]) == [0]
    assert node.send(studies[2]) == [0xA700] * 3
    assert node.send(studies[0][1:]) == [0, 0]
    wait_for(lambda: faults(node).get("queue_full") == 3, "a count")


def test_who_does_not_belong_gets_in_nowhere(make_node, studies):
    node = make_node()
    node.start()
    assert node.send(studies[0], called="OTHER") == []
    assert node.send(studies[0], calling="STRANGER") == []
    wait_for(lambda: len(faults(node)) == 2, "counts")
    assert faults(node) == {"wrong_called_aet": 1, "unknown_calling_aet": 1}
    assert not list(node.data.glob("incoming/*"))
    assert "STRANGER" not in node.log()


@pytest.mark.heavy
def test_nobody_may_call_where_nobody_is_named(make_node, studies):
    node = make_node(node={"allowed_calling_aets": []})
    node.start()
    assert node.send(studies[0]) == []


def test_uids_that_lead_elsewhere_are_refused(make_node, studies, tmp_path):
    node = make_node()
    node.start()

    def study(dataset):
        dataset.StudyInstanceUID = "1.2/../../../../x"

    def series(dataset):
        dataset.SeriesInstanceUID = ".."

    def instance(dataset):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "../../x"

    for edit in (study, series, instance):
        assert node.send(studies[0][:1], edit=edit) == [0x0117]
    wait_for(lambda: faults(node).get("invalid_uid") == 3, "a count")
    assert not list(node.data.glob("incoming/*"))
    assert not list(tmp_path.rglob("x*"))


@pytest.mark.heavy
def test_an_object_that_is_too_large_is_refused_and_an_endless_one_aborted(make_node, studies):
    node = make_node(node={"max_object_mb": 0.1})
    node.start()

    def grow(size):
        def edit(dataset):
            dataset.PixelData = bytes(size)

        return edit

    assert node.send(studies[0][:2], edit=grow(200_000)) == [0xA700, 0xA700]
    assert node.send(studies[0][:1], edit=grow(3_000_000)) == [None]
    wait_for(lambda: faults(node).get("endless_object") == 1, "a count")
    assert faults(node)["too_large"] == 2
    assert node.send(studies[0]) == [0, 0, 0]


@pytest.mark.heavy
def test_a_pdu_that_claims_to_be_endless_is_not_waited_for(make_node, studies):
    node = make_node()
    node.start()
    with socket.create_connection(("127.0.0.1", node.port)) as stranger:
        stranger.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(100))
        stranger.settimeout(10)
        assert stranger.recv(100) == b""
    wait_for(lambda: faults(node).get("too_long_pdu") == 1, "a count")
    assert node.send(studies[0][:1]) == [0]


@pytest.fixture
def tls(tmp_path):
    return Certificates(tmp_path / "certificates")


def client_context(certificates, *, shows):
    context = ssl.create_default_context(cafile=certificates.authority)
    if shows:
        context.load_cert_chain(*certificates.client)
    return context


def test_who_has_no_certificate_gets_in_nowhere(make_node, studies, tls):
    node = make_node(node={"tls": tls.tls("server")})
    node.start()
    silent = socket.create_connection(("127.0.0.1", node.port))  # must not keep the others out
    try:
        shown = (client_context(tls, shows=True), "localhost")
        assert node.send(studies[0][:1], tls_args=shown) == [0]
        hidden = (client_context(tls, shows=False), "localhost")
        assert node.send(studies[0][:1], tls_args=hidden) == []
        assert node.send(studies[0][:1]) == []
    finally:
        silent.close()
    wait_for(lambda: faults(node).get("tls_refused", 0) >= 1, "a count")


@pytest.mark.heavy
def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    make_node, peer, studies, hazardous
):
    node = make_node(bundle=hazardous(seconds=0.3), serve={"max_tries": 50, "workers": 2})
    generator = random.Random(4711)
    for study in studies * 3:
        node.start()
        threading.Timer(generator.uniform(0, 8), node.process.kill).start()
        while node.process.poll() is None:
            try:
                node.send(study)
            except (OSError, RuntimeError, ValueError):
                break
            time.sleep(0.2)
        node.process.wait()
    node.start()
    for study in studies:
        assert node.send(study) == [0, 0, 0]
    node.wait_for_states("done", count=4)
    check_whole(node, studies)
    assert len(peer.files()) == 4


@pytest.fixture
def orthanc(tmp_path):
    with Orthanc(tmp_path / "orthanc", {"spine": ("SPINE", "127.0.0.1", 11113)}) as server:
        yield server


@pytest.mark.heavy
@pytest.mark.pacs
@pytest.mark.skipif(bool(orthanc_missing()), reason=str(orthanc_missing()))
def test_orthanc_has_each_result_once_though_the_node_is_killed_at_each_step(
    tmp_path, orthanc, studies, hazardous
):
    remotes = {"pacs": {"dimse": {"aet": "ORTHANC", "port": orthanc.dicom_port}}}
    serve = {"send_to": "pacs", "formats": ["sr", "sc", "gsps"]}
    with NodeProcess(
        tmp_path / "site", hazardous(seconds=0.5), remotes=remotes, serve=serve
    ) as node:
        for state in ("receiving", "working", "sending", "done"):
            node.start()
            for study in studies[:2]:
                node.send(study)
            wait_for(lambda state=state: state in node.states().values(), state)
            node.kill()
        node.start()
        node.wait_for_states("done", count=2)
        assert orthanc.counts() == (2, 6, 6)
        stored = {
            orthanc.get(f"/studies/{one}")["MainDicomTags"]["StudyInstanceUID"]
            for one in orthanc.get("/studies")
        }
        assert stored == {study_uid(study) for study in studies[:2]}
