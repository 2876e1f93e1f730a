"""Results sent: each once, and what is said to each."""

import json
import logging

import pytest
from pacs_servers import Peer

from spine_monai.data.synthetic import make_study
from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.push import FILE, push
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError


@pytest.fixture
def results(tmp_path):
    """Two cases with a report each, one with a picture; images stand for both, as for the node."""
    files = make_study(shape=(16, 12, 3)).write_dicom(tmp_path / "made", seed="results")
    places = ("2.25.1/landmarks.dcm", "2.25.1/overlay.dcm", "2.25.2/landmarks.dcm")
    for file, place in zip(files, places, strict=True):
        path = tmp_path / "results" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        file.rename(path)
        (path.parent / "landmarks.json").write_text("{}")
    return tmp_path / "results"


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path / "peer") as server:
        yield server


def config_of(peer, **values):
    remote = {"dimse": {"aet": "PEER", "port": peer.port, "timeout_s": 5}}
    content = {"remotes": {"pacs": remote, "b": remote}, "push": {"remote": "pacs"} | values}
    return PacsConfig.model_validate(content)


def statuses(results):
    content = json.loads((results / FILE).read_text())
    assert (content["format"], content["format_version"]) == ("spine_monai.push", 1)
    return {one["file"]: one["status"] for one in content["files"]}


def test_all_results_of_all_cases_are_sent(peer, results):
    result = push(config_of(peer), results)
    assert (len(result.files), result.sent, result.failed) == (3, 3, 0)
    assert len(peer.files()) == 3
    assert set(statuses(results).values()) == {"stored"}


def test_a_second_run_sends_what_has_changed_alone(peer, results):
    push(config_of(peer), results)
    assert push(config_of(peer), results).sent == 0
    changed = results / "2.25.2" / "landmarks.dcm"
    changed.write_bytes((results / "2.25.1" / "overlay.dcm").read_bytes())
    assert push(config_of(peer), results).sent == 1
    assert push(config_of(peer), results, again=True).sent == 3


def test_only_the_formats_that_are_named_go(peer, results):
    assert push(config_of(peer, formats=["sc"]), results).sent == 1
    assert statuses(results) == {"2.25.1/overlay.dcm": "stored"}


def test_a_case_that_is_not_finished_is_left_out(peer, results):
    (results / "2.25.2" / "landmarks.json").unlink()
    assert push(config_of(peer), results).sent == 2


@pytest.mark.parametrize(("code", "status"), [(0xA700, "failed"), (0x0122, "refused")])
def test_what_is_not_taken_is_said_and_sent_again(peer, results, code, status):
    peer.store_status = code
    result = push(config_of(peer), results)
    assert (result.sent, result.failed) == (3, 3)
    assert set(statuses(results).values()) == {status}
    peer.store_status = 0x0000
    assert push(config_of(peer), results).failed == 0


def test_a_damaged_file_does_not_hold_up_the_rest(peer, results):
    (results / "2.25.1" / "landmarks.dcm").write_bytes(b"damaged" * 100)
    result = push(config_of(peer), results)
    assert (result.sent, result.failed) == (3, 1)
    assert statuses(results)["2.25.1/landmarks.dcm"] == "refused"


def test_where_the_pacs_is_down_all_wait(peer, results):
    peer.stop()
    result = push(config_of(peer), results)
    assert isinstance(result.error, RemoteAwayError)
    assert (result.sent, result.failed) == (0, 3)
    assert set(statuses(results).values()) == {"waiting"}
    peer.start()
    assert push(config_of(peer), results).failed == 0


def test_where_we_may_not_send_all_wait(peer, results):
    peer.store_status = 0x0124
    result = push(config_of(peer), results)
    assert isinstance(result.error, RemoteRefusalError)
    assert result.failed == 3


def test_another_system_gets_them_too(peer, results):
    push(config_of(peer), results)
    assert push(config_of(peer, remote="b"), results).sent == 3
    assert push(config_of(peer), results).sent == 0
    content = json.loads((results / FILE).read_text())
    assert sorted(one["remote"] for one in content["files"]) == ["b"] * 3 + ["pacs"] * 3


def test_nothing_to_send_is_an_error(peer, results, tmp_path):
    for file in results.rglob("*.dcm"):
        file.unlink()
    with pytest.raises(ValueError, match=r"none of 2 has one. Run `localize` with --formats sr,sc"):
        push(config_of(peer), results)
    with pytest.raises(FileNotFoundError, match="must be a folder of results"):
        push(config_of(peer), tmp_path / "nowhere")


def test_a_record_that_is_none_is_refused(peer, results):
    (results / FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"it is something else. Move it away"):
        push(config_of(peer), results)


def test_nobody_is_named(peer, results, caplog):
    caplog.set_level(logging.DEBUG)
    push(config_of(peer), results)
    assert "2.25" not in caplog.text


def test_a_configuration_without_the_part_is_refused(results):
    with pytest.raises(ValueError, match="must have the part `push`"):
        push(PacsConfig(), results)
