"""Results wait until they are sent, and are sent once."""

import json
import time
from pathlib import Path

import pytest

from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.audit import Audit
from spine_monai.pacs.node.database import Database
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.outbox import Outbox
from spine_monai.pacs.node.sending import Sender
from spine_monai.pacs.remote import RemoteAwayError, Stored

DONE = Stored(is_done=True, reason="stored (0x0000)")


class Destination:
    """Takes files, or says what it is told to say."""

    def __init__(self):
        self.got, self.answers, self.opened = [], [], 0

    def __enter__(self):
        self.opened += 1
        return self

    def __exit__(self, *_):
        pass

    def store(self, file: Path):
        answer = self.answers.pop(0) if self.answers else DONE
        if isinstance(answer, Exception):
            raise answer
        if answer.is_done:
            self.got.append(file.read_bytes())
        return answer


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path) as database:
        yield database


@pytest.fixture
def ledger(database):
    return Ledger(database)


@pytest.fixture
def outbox(database):
    return Outbox(database)


@pytest.fixture
def destination():
    return Destination()


@pytest.fixture
def sender(outbox, destination, tmp_path):
    settings = Serve(folder=tmp_path, retry_s=0.01, longest_retry_s=0.05, max_tries=2)
    return Sender(outbox, settings, lambda _: destination, Audit(tmp_path, "digest"))


@pytest.fixture
def results(ledger, tmp_path):
    """Two results of a study in work."""
    work(ledger)
    files = [tmp_path / "landmarks.dcm", tmp_path / "overlay.dcm"]
    for file in files:
        file.write_bytes(file.name.encode())
    return files


def work(ledger, objects=3):
    ledger.arrive("1.1", "reference", objects, 0.0)
    ledger.settle(0.0, 0.0, 1.0)
    ledger.claim(0.0)


def state_of(ledger):
    (study,) = ledger.studies()
    return study.state


def test_results_are_sent_and_the_study_is_done(outbox, sender, destination, ledger, results):
    assert outbox.add("1.1", results, "pacs", 1.0) == "sending"
    assert sender.send_due() == 2
    assert destination.got == [b"landmarks.dcm", b"overlay.dcm"]
    assert destination.opened == 1
    assert state_of(ledger) == "done"
    assert outbox.counts() == {"sent": 2}


def test_results_stay_where_there_is_no_destination(outbox, sender, ledger, results):
    assert outbox.add("1.1", results, None, 1.0) == "done"
    assert sender.send_due() == 0


def test_the_same_results_are_not_sent_again(outbox, sender, destination, ledger, results):
    outbox.add("1.1", results, "pacs", 1.0)
    sender.send_due()
    work(ledger, objects=4)
    assert outbox.add("1.1", results, "pacs", 2.0) == "done"
    sender.send_due()
    assert len(destination.got) == 2


def test_a_later_version_takes_the_place_of_one_that_waits(
    outbox, sender, destination, ledger, results
):
    outbox.add("1.1", results, "pacs", 1.0)
    work(ledger, objects=4)
    results[0].write_bytes(b"later")
    outbox.add("1.1", results, "pacs", 2.0)
    assert sender.send_due() == 2
    assert destination.got == [b"overlay.dcm", b"later"]
    assert outbox.counts() == {"sent": 2, "replaced": 1}
    assert state_of(ledger) == "done"


def test_a_version_that_returns_is_sent_again(outbox, ledger, results):
    for number, content in enumerate((b"one", b"two", b"one")):
        results[0].write_bytes(content)
        outbox.add("1.1", results[:1], "pacs", 1.0)
        work(ledger, objects=10 + number)
    assert outbox.counts() == {"waiting": 1, "replaced": 1}


def test_a_spoilt_file_is_not_sent_and_named(outbox, sender, destination, ledger, results):
    outbox.add("1.1", results, "pacs", 1.0)
    results[0].write_bytes(b"changed")
    results[1].unlink()
    assert sender.send_due() == 0
    assert destination.got == []
    assert state_of(ledger) == "failed"
    assert {parcel.reason[:20] for parcel in outbox.unsent()} == {"its file was changed"}


def test_a_file_that_is_written_anew_waits_for_its_study(outbox, sender, ledger, results):
    outbox.add("1.1", results, "pacs", 1.0)
    work(ledger, objects=4)
    results[0].write_bytes(b"changed")
    assert sender.send_due() == 1
    assert outbox.counts() == {"sent": 1, "waiting": 1}
    assert outbox.add("1.1", results, "pacs", 2.0) == "sending"
    assert sender.send_due() == 1
    assert state_of(ledger) == "done"


def test_nothing_is_sent_of_a_study_that_got_more_meanwhile(outbox, ledger, results):
    ledger.arrive("1.1", "reference", 4, 1.0)
    assert outbox.add("1.1", results, "pacs", 2.0) == "receiving"
    assert outbox.counts() == {}


def test_a_destination_that_is_away_is_asked_again_for_ever(
    outbox, sender, destination, ledger, results
):
    outbox.add("1.1", results, "pacs", 1.0)
    destination.answers = [RemoteAwayError("it does not answer")] * 9
    for _ in range(9):
        asked = time.time()
        assert sender.send_due() == 0
        assert asked < sender.pause_until <= time.time() + 0.05
    assert state_of(ledger) == "sending"
    assert {parcel.reason for parcel in outbox.unsent()} == {"it does not answer"}
    assert sender.send_due() == 2
    assert sender.pauses == 0


def test_a_refusal_of_its_own_is_tried_so_often_and_no_more(
    outbox, sender, destination, ledger, results
):
    outbox.add("1.1", results[:1], "pacs", 1.0)
    destination.answers = [Stored(is_done=False, reason="out of resources (0xA700)")] * 2
    assert sender.send_due() == 0
    assert state_of(ledger) == "sending"
    assert sender.send_due() == 0, "it waits"
    time.sleep(0.02)
    assert sender.send_due() == 0
    assert state_of(ledger) == "failed"
    (parcel,) = outbox.unsent()
    assert (parcel.state, parcel.reason) == ("refused", "out of resources (0xA700)")
    assert ledger.retry(["reference"], 3.0) == 1
    assert sender.send_due() == 1
    assert state_of(ledger) == "done"


@pytest.mark.parametrize(
    "answer", [Stored(is_done=False, reason="no", is_final=True), ValueError("no DICOM file")]
)
def test_a_final_refusal_is_not_tried_again(outbox, sender, destination, ledger, results, answer):
    outbox.add("1.1", results, "pacs", 1.0)
    destination.answers = [answer]
    assert sender.send_due() == 1
    assert state_of(ledger) == "failed"
    assert outbox.counts() == {"refused": 1, "sent": 1}


def test_the_audit_names_destination_and_outcome(outbox, sender, results, tmp_path):
    outbox.add("1.1", results[:1], "pacs", 1.0)
    sender.send_due()
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    content = json.loads(line)
    assert content.pop("time").endswith("Z")
    assert content == {
        "reference": "reference",
        "outcome": "sent",
        "model": "digest",
        "destination": "pacs",
        "file": "landmarks.dcm",
    }
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o077 == 0
