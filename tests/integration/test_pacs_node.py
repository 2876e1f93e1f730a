"""A node from end to end: what is sent to it comes back as results in the same study."""

import shutil
import signal
import subprocess

import pydicom
import pytest
from pacs_node import (
    CONFINED,
    made_nodes,
    quick_bundle,
    reference,
    small_study,
    study_uid,
    wait_for,
)
from pacs_servers import Peer

IDENTITY = {"PatientName": "Doe^Jane", "PatientID": "4711-X", "SeriesDescription": "Jane sag T2"}
SECRETS = ("Doe", "Jane", "4711-X", "sag T2")


@pytest.fixture(scope="module")
def quick(bundle, tmp_path_factory):
    return quick_bundle(bundle, tmp_path_factory.mktemp("quick") / "bundle")


@pytest.fixture
def peer(tmp_path):
    """The PACS that gets the results."""
    with Peer(tmp_path / "peer", aet="PACS") as server:
        yield server


@pytest.fixture
def make_node(tmp_path, quick, peer):
    with made_nodes(tmp_path, quick, peer) as make:
        yield make


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A study as a scanner sends it."""
    return small_study(tmp_path_factory.mktemp("sent"), 1, **IDENTITY)


def test_a_study_comes_in_and_its_results_go_back_into_it(make_node, peer, sent, tmp_path):
    node = make_node(serve={"formats": ["sr", "sc", "gsps"]})
    node.start()
    assert node.send(sent) == [0, 0, 0]
    node.wait_for_states("done")
    results = [pydicom.dcmread(file) for file in peer.files()]
    names = ["Comprehensive 3D SR Storage", "Grayscale Softcopy Presentation State Storage"]
    kinds = sorted(one.SOPClassUID.name for one in results)
    assert kinds == [*names, "Secondary Capture Image Storage"]
    assert {one.StudyInstanceUID for one in results} == {study_uid(sent)}
    assert {str(one.PatientName) for one in results} == {"Doe^Jane"}
    assert node.stop() == 0
    check_originals(node, sent)
    check_silence(node, sent)


def check_originals(node, sent):
    """What lies there is the sender's own data set, byte for byte."""
    for file in sent:
        dataset = pydicom.dcmread(file)
        (kept,) = node.data.glob(f"incoming/*/*/{dataset.SOPInstanceUID}.dcm")
        assert pydicom.dcmread(kept) == dataset


def check_silence(node, sent):
    """No log or audit line names the patient, the series or a UID."""
    words = [*SECRETS, study_uid(sent), str(pydicom.dcmread(sent[0]).SeriesInstanceUID)]
    told = node.log() + (node.data / "audit.jsonl").read_text()
    assert [word for word in words if word in told] == []
    assert {line["reference"] for line in node.audit()} == {reference(sent)}
    assert {line["outcome"] for line in node.audit()} == {"done", "sent"}
    names = [path.name for path in (node.data / "results").iterdir()]
    assert reference(sent) in names


def test_the_key_the_objects_and_the_ledger_are_for_their_owner_alone(make_node, sent):
    node = make_node()
    (node.data / "audit.key").unlink()
    node.start()
    node.send(sent[:1])
    names = ["audit.key", "ledger.sqlite", *(str(p) for p in node.data.glob("incoming/*/*/*.dcm"))]
    modes = {name: (node.data / name).stat().st_mode & 0o077 for name in names}
    assert len(modes) == 3
    assert set(modes.values()) == {0}


@pytest.mark.heavy
def test_the_same_study_again_is_nothing_new(make_node, peer, sent):
    node = make_node()
    node.start()
    node.send(sent)
    node.wait_for_states("done")
    before = {file: file.stat().st_mtime_ns for file in peer.files()}
    assert node.send(list(reversed(sent))) == [0, 0, 0]
    count = "SELECT count FROM faults WHERE kind='sent_again'"
    wait_for(lambda: node.rows(count) == [(3,)], "a count")
    assert node.states() == {reference(sent): "done"}
    assert {file: file.stat().st_mtime_ns for file in peer.files()} == before


@pytest.mark.heavy
def test_an_object_that_comes_late_opens_its_study_again(make_node, peer, sent):
    node = make_node()
    node.start()
    node.send(sent[:1])
    node.wait_for_states("ignored")  # one slice is no series
    assert node.send(sent[1:]) == [0, 0]
    node.wait_for_states("done")
    assert len(peer.files()) == 1


@pytest.mark.heavy
def test_slices_in_any_order_over_several_associations_are_one_study(make_node, peer, sent):
    node = make_node(serve={"quiet_s": 2.0})
    node.start()
    for file in (sent[2], sent[0], sent[1]):
        assert node.send([file]) == [0]
    node.wait_for_states("done")
    assert len(peer.files()) == 1
    assert len(node.events("work begins")) == 1


@pytest.mark.heavy
def test_a_study_without_a_sagittal_t2_series_is_ignored(make_node, peer, tmp_path):
    files = small_study(tmp_path / "t1", 5, EchoTime="10", RepetitionTime="500", **IDENTITY)
    node = make_node()
    node.start()
    node.send(files)
    node.wait_for_states("ignored")
    ((reason,),) = node.rows("SELECT reason FROM studies")
    assert reason == "no sagittal T2 series to work on: none of 1 is one"
    assert peer.files() == []
    assert not [word for word in (*SECRETS, study_uid(files)) if word in node.log()]


def test_ctrl_c_puts_the_study_in_work_back(make_node, sent):
    node = make_node()
    node.start()
    node.send(sent)
    wait_for(lambda: "working" in node.states().values(), "work")
    assert node.stop(signal.SIGINT) == 75
    assert node.rows("SELECT state, tries FROM studies") == [("waiting", 0)]
    node.start()
    node.wait_for_states("done")


@pytest.mark.heavy
def test_two_nodes_on_one_folder_are_refused(make_node):
    node = make_node()
    node.start()
    code, said = node.call("serve")
    assert code == 2
    assert "serve.folder must be served by one process at a time" in said


def test_status_and_retry_and_drain_work_with_a_node_and_without(make_node, peer, sent, tmp_path):
    node = make_node()
    node.start()
    peer.store_status = 0xA900
    node.send(sent)
    node.wait_for_states("failed")
    code, said = node.call("status")
    assert code == 1
    assert f"failed {reference(sent)}: the destination refuses its results" in said
    assert study_uid(sent) not in said
    peer.store_status = 0
    assert node.call("retry", reference(sent)) == (0, "1 studies wait again\n")
    node.wait_for_states("done")
    assert node.call("status")[0] == 0
    assert node.call("drain")[0] == 0
    assert node.process.wait(60) == 0
    code, said = node.call("status", "--json")
    assert code == 0
    assert '"is_served": false' in said
    code, said = node.call("retry", "nobody")
    assert code == 2
    assert "a reference must be one" in said
    assert node.call("retry", "--all") == (0, "0 studies wait again\n")


@pytest.mark.heavy
def test_a_drain_without_a_node_finishes_what_waits(make_node, peer, sent):
    node = make_node()
    node.start()
    node.send(sent)
    wait_for(lambda: "working" in node.states().values(), "work")
    node.kill()
    code, said = node.call("drain")
    assert code == 0, said
    assert list(node.states().values()) == ["done"]
    assert len(peer.files()) == 1


@pytest.mark.heavy
def test_a_broken_bundle_ends_the_node_with_the_reason(make_node, quick, tmp_path):
    broken = shutil.copytree(quick, tmp_path / "broken")
    (broken / "models" / "model.pt").write_bytes(b"nonsense")
    node = make_node(serve={"bundle": str(broken)})
    process = node.spawn("serve")
    assert process.wait(120) == 2
    assert "spine-monai: " in node.log()


def confinement_missing():
    """Say why network name spaces cannot be taken from a command here, or ``None``."""
    if not shutil.which("unshare"):
        return "not installed: unshare"
    done = subprocess.run([*CONFINED, "true"], check=False, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


@pytest.fixture(scope="module")
def confined():
    """A prefix of commands that cannot leave the network, whoever runs them."""
    if reason := confinement_missing():
        pytest.skip(f"cannot be confined here: {reason}")
    return CONFINED


def test_a_node_that_must_isolate_its_workers_and_cannot_does_not_start(make_node, confined):
    node = make_node(serve={"isolate_workers": "required"})
    assert node.spawn("serve", *confined).wait(120) == 2
    (said,) = [line for line in node.log().splitlines() if line.startswith("spine-monai: ")]
    assert "serve.isolate_workers is required" in said
    assert "Allow network name spaces" in said
    assert not (node.data / "incoming").exists()


@pytest.mark.heavy
def test_a_node_that_may_isolate_its_workers_warns_where_it_cannot(make_node, sent, confined):
    node = make_node()
    node.start("serve", prefix=confined)
    (warning,) = node.events("workers keep the network: the system does not let them leave")
    assert warning["level"] == "warning"
    node.send(sent)
    node.wait_for_states("done")


@pytest.mark.heavy
def test_removed_objects_leave_the_results(make_node, peer, sent):
    node = make_node(serve={"keep_days": 0})
    node.start()
    node.send(sent)
    node.wait_for_states("done")
    wait_for(lambda: not list(node.data.glob("incoming/*")), "removal", 90)
    assert len(peer.files()) == 1
    assert list(node.data.glob("results/*/landmarks.dcm"))
