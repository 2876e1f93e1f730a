"""Series fetched into a folder: which, once each, whole, and nothing else."""

import json
import logging
import shutil
import time
from datetime import datetime, timedelta

import pydicom
import pytest
from pacs_servers import Peer

from spine_monai.data.synthetic import make_study
from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.pull import find, pull
from spine_monai.pacs.pulled import FILE, Pulled, PullInUseError
from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError

QUERY = "ModalitiesInStudy=MR"
COUNTS = {"t1": 3, "t2": 4, "report": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three series of one study, by name; descriptions hold a patient's name."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for name, count in COUNTS.items():
        values = {"SeriesDescription": f"Kowalski {name}", "StudyInstanceUID": "2.25.4711"}
        values["Modality"] = "SR" if name == "report" else "MR"
        study = make_study(shape=(16, 12, count))
        found[name] = study.write_dicom(folder / name, seed=name, **values)
    return found


@pytest.fixture
def peer(tmp_path, files):
    with Peer(tmp_path / "peer") as server:
        for file in (file for series in files.values() for file in series):
            shutil.copy(file, server.folder / f"{pydicom.dcmread(file).SOPInstanceUID}.dcm")
        yield server


def config_of(peer, **values):
    remote = {"dimse": {"aet": "PEER", "port": peer.port, "timeout_s": 5}}
    content = {"remotes": {"pacs": remote}, "pull": {"remote": "pacs", "max_tries": 1} | values}
    return PacsConfig.model_validate(content)


def fetched(out):
    return sorted(path.relative_to(out) for path in out.rglob("*.dcm"))


def uid_of(files, name):
    return str(pydicom.dcmread(files[name][0]).SeriesInstanceUID)


def test_only_what_is_wanted_comes(peer, files, tmp_path):
    result = pull(config_of(peer, series={"SeriesDescription": "*T2"}), QUERY, tmp_path / "out")
    assert (result.series, result.done, result.objects, result.failed) == (3, 1, 4, 0)
    expected = {pydicom.dcmread(file).SOPInstanceUID: file for file in files["t2"]}
    for path in fetched(tmp_path / "out"):
        assert path.parent.parts == ("2.25.4711", uid_of(files, "t2"))
        dataset = pydicom.dcmread(tmp_path / "out" / path)
        assert dataset == pydicom.dcmread(expected.pop(path.stem))
    assert not expected


def test_by_default_images_of_magnetic_resonance_come(peer, tmp_path):
    result = pull(config_of(peer), QUERY, tmp_path / "out")
    assert (result.done, result.objects) == (2, 7)
    assert result.text == "2 of 3 series are wanted: 2 fetched (7 objects), 0 here before, 0 failed"


def test_a_second_run_fetches_nothing(peer, tmp_path):
    pull(config_of(peer), QUERY, tmp_path / "out")
    times = [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")]
    result = pull(config_of(peer), QUERY, tmp_path / "out")
    assert (result.done, result.before, result.objects) == (0, 2, 0)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")] == times


def test_a_series_that_has_grown_or_lost_files_comes_again(peer, files, tmp_path):
    out = tmp_path / "out"
    pull(config_of(peer), QUERY, out)
    more = pydicom.dcmread(files["t1"][0])
    more.SOPInstanceUID = more.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    more.save_as(peer.folder / "2.25.99.dcm")
    next((out / "2.25.4711" / uid_of(files, "t2")).glob("*.dcm")).unlink()
    result = pull(config_of(peer), QUERY, out)
    assert (result.done, result.before, result.objects) == (2, 0, 8)


def test_a_series_of_which_not_all_came_fails_and_comes_later(peer, files, tmp_path):
    wanted = config_of(peer, series={"SeriesDescription": "*T2"})
    peer.answer = [pydicom.dcmread(files["t2"][0])]
    result = pull(wanted, QUERY, tmp_path / "out")
    assert (result.done, result.failed) == (0, 1)
    assert "1 of 4 objects came" in (tmp_path / "out" / FILE).read_text()
    peer.answer = None
    assert pull(wanted, QUERY, tmp_path / "out").done == 1
    assert pull(wanted, QUERY, tmp_path / "out").before == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["../../../evil", "/tmp/evil", "..", "2.25.1/../../x"])
def test_no_path_is_made_of_what_is_no_uid(peer, files, tmp_path, uid, caplog):
    odd = pydicom.dcmread(files["t2"][0])
    odd.add_new("SOPInstanceUID", "UI", uid)
    peer.answer = [odd]
    wanted = config_of(peer, series={"SeriesDescription": "*T2"})
    result = pull(wanted, QUERY, tmp_path / "a" / "b" / "out")
    assert result.failed == 1
    assert not [path for path in (tmp_path / "a").rglob("*") if path.suffix == ".dcm"]
    assert not list(tmp_path.rglob("*evil*"))
    assert "SOPInstanceUID must be 1 to 64 digits and points" in caplog.text
    assert "evil" not in caplog.text


def test_an_object_of_another_series_is_refused(peer, files, tmp_path, caplog):
    peer.answer = [pydicom.dcmread(files["t1"][0])]
    wanted = config_of(peer, series={"SeriesDescription": "*T2"})
    assert pull(wanted, QUERY, tmp_path / "out").failed == 1
    assert "one of another came" in caplog.text
    assert not fetched(tmp_path / "out")


def test_a_torn_last_line_is_cut_off(peer, files, tmp_path):
    pull(config_of(peer), QUERY, tmp_path / "out")
    manifest = tmp_path / "out" / FILE
    manifest.write_bytes(manifest.read_bytes()[:-20])
    result = pull(config_of(peer), QUERY, tmp_path / "out")
    assert (result.done, result.before) == (1, 1)
    assert [json.loads(line).get("status") for line in manifest.read_text().splitlines()] == [
        *(None, "done", "done")
    ]


def test_a_manifest_that_is_none_is_refused(peer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILE).write_text('{"format": "other"}\n')
    with pytest.raises(ValueError, match=r"line 1 is none. Move the file away"):
        pull(config_of(peer), QUERY, tmp_path / "out")


def test_two_runs_do_not_share_a_folder(peer, tmp_path):
    with Pulled(tmp_path / "out"), pytest.raises(PullInUseError, match="another run fetches"):
        pull(config_of(peer), QUERY, tmp_path / "out")


def test_a_full_disk_ends_the_run(peer, tmp_path):
    """The study's folder cannot be made: something of that name is in its place."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "2.25.4711").write_text("")
    with pytest.raises(NotADirectoryError, match="series 1: its folder in --out must") as caught:
        pull(config_of(peer), QUERY, tmp_path / "out")
    assert "2.25" not in str(caught.value)


def test_a_pacs_that_is_down_is_away(peer, tmp_path):
    peer.stop()
    with pytest.raises(RemoteAwayError, match="Connection refused"):
        pull(config_of(peer), QUERY, tmp_path / "out")


def test_a_pacs_that_goes_away_ends_the_run(peer, tmp_path, caplog):
    config = config_of(peer, objects_per_s=1)
    peer.stops_after = 2
    result = pull(config, QUERY, tmp_path / "out")
    assert (result.is_away, result.failed) == (True, 1)
    peer.start()
    assert pull(config_of(peer), QUERY, tmp_path / "out").failed == 0


def test_a_pacs_that_fails_is_asked_again(peer, files, tmp_path):
    peer.fails = 1
    config = config_of(peer, max_tries=2, series={"SeriesDescription": "*T2"})
    assert pull(config, QUERY, tmp_path / "out").done == 1
    record = json.loads((tmp_path / "out" / FILE).read_text().splitlines()[-1])
    assert (record["tries"], record["status"], record["objects"]) == (2, "done", 4)


def test_a_pacs_that_refuses_us_is_not_asked_again(peer, tmp_path):
    peer.only_from = ["OTHER"]
    peer.restart()
    with pytest.raises(RemoteRefusalError, match="does not know our AE title"):
        pull(config_of(peer), QUERY, tmp_path / "out")


def test_the_pacs_is_not_asked_faster_than_allowed(peer, tmp_path):
    start = time.monotonic()
    pull(config_of(peer, objects_per_s=5), QUERY, tmp_path / "out")
    assert time.monotonic() - start > 2 / 5  # 7 objects, 5 of them at once


def test_outside_the_hours_it_waits_unless_told_otherwise(peer, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    begin = datetime.now() + timedelta(seconds=0.7)
    hours = {"start": begin.time(), "end": (begin + timedelta(hours=1)).time()}
    pull(config_of(peer, hours=hours), QUERY, tmp_path / "early", at_once=True)
    assert "waiting" not in caplog.text
    later = datetime.now() + timedelta(seconds=0.7)
    hours = {"start": later.time(), "end": (later + timedelta(hours=1)).time()}
    pull(config_of(peer, hours=hours), QUERY, tmp_path / "out")
    assert datetime.now() >= later
    assert f"waiting until {later:%H:%M}" in caplog.text


def test_what_would_come_is_said_without_fetching(peer, tmp_path):
    found = find(config_of(peer, series={"Modality": "MR", "SeriesDescription": "*T2"}), QUERY)
    assert sorted((one.modality, one.expected, one.reason) for one in found) == [
        ("MR", 3, "another SeriesDescription"),
        ("MR", 4, ""),
        ("SR", 1, "another Modality"),
    ]
    assert {one.name for one in found} == {f"study 1, series {number}" for number in (1, 2, 3)}


def test_a_key_that_the_pacs_does_not_say_leaves_a_series_out(peer):
    found = find(config_of(peer, series={"Laterality": "*"}), QUERY)
    assert {one.reason for one in found} == {"the PACS does not say its Laterality"}


def test_nobody_is_named(peer, files, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    peer.answer = [pydicom.dcmread(files["t1"][0])]
    result = pull(config_of(peer), QUERY, tmp_path / "out")
    assert result.failed
    assert "study 1, series" in caplog.text
    for word in ("Kowalski", "2.25.4711", *(uid_of(files, name) for name in files)):
        assert word not in caplog.text
    assert "Kowalski" not in (tmp_path / "out" / FILE).read_text()


def test_a_configuration_without_the_part_is_refused():
    with pytest.raises(ValueError, match="must have the part `pull`"):
        find(PacsConfig(), QUERY)
