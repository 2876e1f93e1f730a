"""What came is on disk for good, once, under names that lead nowhere else."""

import threading
from pathlib import Path

import pytest

from spine_monai.pacs.node.store import Arrival, Place, Store
from spine_monai.pacs.uids import is_uid

PLACE = Place("1.2.3", "1.2.3.4", "1.2.3.4.5")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "node")
    store.open()
    return store


def test_an_object_lies_at_its_uids(store, tmp_path):
    assert store.keep(PLACE, [b"start", memoryview(b"rest")]) is Arrival.NEW
    file = tmp_path / "node" / "incoming" / "1.2.3" / "1.2.3.4" / "1.2.3.4.5.dcm"
    assert file.read_bytes() == b"startrest"
    assert not list(store.aside.iterdir())


def test_the_same_bytes_again_are_the_same_object(store):
    store.keep(PLACE, [b"bytes"])
    assert store.keep(PLACE, [b"by", b"tes"]) is Arrival.SAME


@pytest.mark.parametrize("other", [b"other", b"longer bytes", b""])
def test_other_bytes_never_replace_the_first(store, other):
    store.keep(PLACE, [b"bytes"])
    assert store.keep(PLACE, [other]) is Arrival.OTHER
    assert store.path(PLACE).read_bytes() == b"bytes"


def test_of_many_at_once_one_is_new(store):
    start, arrivals = threading.Barrier(8), []

    def keep():
        start.wait()
        arrivals.append(store.keep(PLACE, [b"bytes"]))

    threads = [threading.Thread(target=keep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(arrival.value for arrival in arrivals) == ["new"] + ["same"] * 7


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1..2", "1.2.", ".1", "1/2", "1.2\n", "a.b", "1" * 65, "1.2\0", "../1"]
)
def test_what_is_no_uid_is_no_name(uid):
    assert not is_uid(uid)
    with pytest.raises(ValueError, match="the UID of the series must be digits"):
        Place("1.2", uid, "1.2.3")
    with pytest.raises(ValueError, match="the UID of the study must be digits"):
        Store(Path("x")).study_folder(uid)


class _Broken:
    def __iter__(self):
        yield b"some bytes"
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_nothing(store):
    with pytest.raises(OSError, match="No space"):
        store.keep(PLACE, _Broken())
    assert not list(store.aside.iterdir())
    assert not store.path(PLACE).exists()
    assert list(store.studies()) == []


def test_what_a_killed_process_left_aside_is_removed_at_the_start(store):
    (store.aside / "half").write_bytes(b"half")
    store.open()
    assert not list(store.aside.iterdir())


def test_a_removed_study_is_gone_and_the_others_stay(store):
    other = Place("1.9", "1.9.1", "1.9.1.1")
    store.keep(PLACE, [b"bytes"])
    store.keep(other, [b"bytes"])
    store.remove("1.2.3")
    store.remove("1.2.3")
    assert list(store.studies()) == ["1.9"]
    assert store.count("1.9") == 1
