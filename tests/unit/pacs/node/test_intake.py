"""What came is told to the ledger, sooner or later, whatever the disk does."""

import pytest
from pacs_node import KEY, SmallDisk

from spine_monai.pacs.config import Serve
from spine_monai.pacs.node.database import Database, DatabaseTroubleError
from spine_monai.pacs.node.intake import Intake
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.references import References
from spine_monai.pacs.node.settling import Faults
from spine_monai.pacs.node.store import Arrival, Place, Store


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path / "disk", 2) as small:
        yield small


@pytest.fixture
def ledger(disk):
    with Database(disk.folder) as database:
        yield Ledger(database)


@pytest.fixture
def intake(disk, ledger):
    store = Store(disk.folder)
    store.open()
    return Intake(store, ledger, References(KEY), Serve(folder=disk.folder, min_free_mb=0))


def test_what_the_full_ledger_could_not_be_told_is_told_later(disk, ledger, intake):
    assert intake.keep(Place("1.2", "1.3", "1.4"), [b"object"]) is Arrival.NEW
    disk.fill()
    with pytest.raises(DatabaseTroubleError, match=r"0\.0 MB free\. Make room on the disk of"):
        intake.tell()
    assert ledger.counts() == {}
    disk.free()
    assert intake.tell() == 1
    assert ledger.counts() == {"receiving": 1}


def test_an_object_that_finds_no_room_leaves_nothing(disk, intake):
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        intake.keep(Place("1.2", "1.3", "1.4"), [b"object"])
    assert not list(intake.store.aside.iterdir())
    assert intake.store.count("1.2") == 0


def test_faults_that_could_not_be_told_are_counted_once(disk, ledger):
    faults = Faults(ledger)
    for kind in ("disk_full", "disk_full", "too_large"):
        faults.note(kind)
    disk.fill()
    with pytest.raises(DatabaseTroubleError):
        faults.tell()
    disk.free()
    faults.note("disk_full")
    faults.tell()
    faults.tell()
    assert ledger.faults() == {"disk_full": 3, "too_large": 1}
