"""How far a study is, whatever comes when."""

import sqlite3

import pytest

from spine_monai.pacs.node.database import DATABASE_FILE, Database
from spine_monai.pacs.node.ledger import Ledger


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path) as database:
        yield database


@pytest.fixture
def ledger(database):
    return Ledger(database)


def state_of(ledger, uid="1.1"):
    return {study.uid: study.state for study in ledger.studies()}[uid]


def test_a_study_settles_when_it_is_quiet(ledger):
    assert ledger.arrive("1.1", "a", 3, 100.0)
    assert ledger.settle(105.0, 10.0, 1000.0) == 0
    assert ledger.arrive("1.1", "a", 4, 108.0)
    assert ledger.settle(112.0, 10.0, 1000.0) == 0
    assert ledger.settle(118.0, 10.0, 1000.0) == 1
    assert state_of(ledger) == "waiting"


def test_a_study_that_never_rests_settles_at_last(ledger):
    for second in range(20):
        ledger.arrive("1.1", "a", second + 1, float(second))
    assert ledger.settle(19.0, 10.0, 15.0) == 1


def test_the_same_count_is_no_news(ledger):
    ledger.arrive("1.1", "a", 3, 100.0)
    assert not ledger.arrive("1.1", "a", 3, 200.0)
    assert ledger.settle(111.0, 10.0, 1000.0) == 1


def settled(ledger, uid="1.1", reference="a", now=0.0):
    ledger.arrive(uid, reference, 3, now)
    ledger.settle(now, 0.0, 1.0)


def test_work_is_begun_counted_and_ended(ledger):
    settled(ledger)
    study = ledger.claim(1.0)
    assert (study.uid, study.reference, study.state, study.tries) == ("1.1", "a", "working", 1)
    assert ledger.claim(1.0) is None
    assert ledger.finish("1.1", "done", 2.0) == "done"
    assert ledger.counts() == {"done": 1}


def test_those_that_were_tried_come_after_the_others(ledger):
    settled(ledger, "1.1", "a", 0.0)
    settled(ledger, "1.2", "b", 1.0)
    assert ledger.claim(2.0).uid == "1.1"
    ledger.put_back("1.1", 3.0, counts=True)
    assert ledger.claim(4.0).uid == "1.2"
    again = ledger.claim(5.0)
    assert (again.uid, again.tries) == ("1.1", 2)


def test_what_was_put_back_without_its_fault_is_not_counted(ledger):
    settled(ledger)
    ledger.claim(1.0)
    ledger.put_back("1.1", 2.0, counts=False)
    assert ledger.claim(3.0).tries == 1


def test_objects_that_come_during_work_open_the_study_again(ledger):
    settled(ledger)
    ledger.claim(1.0)
    ledger.arrive("1.1", "a", 4, 2.0)
    assert state_of(ledger) == "working"
    assert ledger.finish("1.1", "failed", 3.0, "half of it") == "receiving"
    assert ledger.settle(13.0, 10.0, 100.0) == 1


@pytest.mark.parametrize("state", ["done", "ignored", "failed", "poisoned", "sending"])
def test_objects_that_come_after_work_open_the_study_again(ledger, state):
    settled(ledger)
    ledger.claim(1.0)
    ledger.finish("1.1", state, 2.0, "why")
    ledger.arrive("1.1", "a", 4, 3.0)
    (study,) = ledger.studies()
    assert (study.state, study.tries, study.reason) == ("receiving", 0, "")


def test_a_restart_puts_back_what_was_in_work_and_counts_the_try(ledger):
    settled(ledger)
    ledger.claim(1.0)
    assert ledger.recover(2.0) == 1
    assert ledger.claim(3.0).tries == 2


def test_a_retry_takes_those_in_trouble_or_those_named(ledger):
    for number, state in enumerate(("failed", "poisoned", "ignored", "done")):
        settled(ledger, f"1.{number}", state)
        ledger.claim(1.0)
        ledger.finish(f"1.{number}", state, 2.0)
    assert ledger.retry(None, 3.0) == 2
    assert ledger.retry(["ignored"], 3.0) == 1
    assert ledger.retry(["done"], 3.0) == 0
    assert ledger.counts() == {"waiting": 3, "done": 1}


def test_finished_studies_expire_once(ledger):
    settled(ledger)
    ledger.claim(1.0)
    ledger.finish("1.1", "done", 2.0)
    assert ledger.expired(1.0) == []
    (study,) = ledger.expired(2.0)
    ledger.forget_objects(study.uid)
    assert ledger.expired(2.0) == []
    assert ledger.arrive("1.1", "a", 3, 5.0), "the same objects, sent once more"


def test_faults_add_up_and_settings_last(ledger):
    ledger.note_fault("disk_full", 2, 1.0)
    ledger.note_fault("disk_full", 3, 2.0)
    assert ledger.faults() == {"disk_full": 5}
    assert ledger.setting("cursor", "0") == "0"
    ledger.set("cursor", "7")
    ledger.set("cursor", "8")
    assert ledger.setting("cursor") == "8"


def test_a_change_that_fails_is_not_there_at_all(database, ledger):
    def spoil():
        with database.writing() as connection:
            connection.execute("INSERT INTO settings VALUES ('key', 'value')")
            connection.execute("INSERT INTO absent VALUES (1)")

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        spoil()
    assert ledger.setting("key") == ""


def test_a_ledger_of_another_schema_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / DATABASE_FILE)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ValueError, match="must be of schema 1: got 99"), Database(tmp_path):
        pass


def test_the_ledger_is_for_its_owner_and_synced(tmp_path, database):
    assert (tmp_path / DATABASE_FILE).stat().st_mode & 0o077 == 0
    with database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
