"""The Storage SCP, in this process: what it takes, what it refuses, and with which status."""

import threading
import zlib
from io import BytesIO

import pydicom
import pytest
from pacs_node import small_study, store, study_uid
from pacs_servers import free_port
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, _config
from pynetdicom.dsutils import create_file_meta
from pynetdicom.sop_class import CTImageStorage, Verification

from spine_monai.pacs.config import Node, Serve
from spine_monai.pacs.node.database import Database
from spine_monai.pacs.node.gauges import Gauge
from spine_monai.pacs.node.intake import Intake
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.receiver import HEADER_BYTES, Receiver, _inflated_start
from spine_monai.pacs.node.references import References
from spine_monai.pacs.node.settling import Faults
from spine_monai.pacs.node.store import Place, Store


class Site:
    """A receiver with a store and a ledger, listening."""

    def __init__(self, folder, database, **node):
        self.folder, self.port = folder, free_port()
        settings = Serve(folder=folder, min_free_mb=0)
        self.ledger, self.store = Ledger(database), Store(folder)
        self.store.open()
        self.intake = Intake(self.store, self.ledger, References.of(folder), settings)
        self.faults = Faults(self.ledger)
        given = {"port": self.port, "allowed_calling_aets": ("SENDER",)} | node
        self.receiver = Receiver(Node(**given), self.intake, self.faults.note)

    def told(self):
        """Faults by kind, and the number of objects of each study."""
        self.intake.tell()
        self.faults.tell()
        return self.ledger.faults(), [study.objects for study in self.ledger.studies()]


@pytest.fixture
def site(tmp_path):
    with Database(tmp_path) as database:
        site = Site(tmp_path, database)
        site.receiver.start()
        yield site
        site.receiver.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("study"), 7)


def test_echo_is_answered(site):
    entity = AE("SENDER")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", site.port, ae_title="SPINE")
    assert association.send_c_echo().Status == 0
    association.release()


def test_an_object_lies_there_as_its_sender_encoded_it(site, files):
    assert store(files, site.port) == [0, 0, 0]
    kept = [site.store.path(place) for place in places(files)]
    for file, copy in zip(files, kept, strict=True):
        assert body(copy) == body(file)
    assert site.told() == ({}, [3])


def places(files):
    for file in files:
        dataset = pydicom.dcmread(file)
        yield Place(study_uid([file]), dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


def body(file):
    """The bytes of the data set, without the meta information before it."""
    content = file.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def test_several_senders_at_once_lose_nothing(site, files, tmp_path):
    studies = [small_study(tmp_path / f"many{seed}", seed) for seed in range(20, 26)]
    statuses = []
    threads = [
        threading.Thread(target=lambda one=one: statuses.append(store(one, site.port)))
        for one in studies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [[0, 0, 0]] * 6
    assert site.told() == ({}, [3] * 6)


def test_a_deflated_object_is_placed_without_being_unpacked(site, files, tmp_path):
    dataset = pydicom.dcmread(files[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(tmp_path / "deflated.dcm", dataset, enforce_file_format=True)
    entity = AE("SENDER")
    entity.add_requested_context(MRImageStorage, DeflatedExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", site.port, ae_title="SPINE")
    status = association.send_c_store(pydicom.dcmread(tmp_path / "deflated.dcm"))
    association.release()
    assert status.Status == 0
    (place, *_) = places(files)
    assert pydicom.dcmread(site.store.path(place)).PixelData == dataset.PixelData


@pytest.fixture
def send_raw(site, tmp_path, monkeypatch):
    """Send some bytes as an object of an announced instance; the status."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)

    def send(content, announced):
        file = tmp_path / "raw.dcm"
        with file.open("wb") as stream:
            stream.write(b"\0" * 128 + b"DICM")
            meta = create_file_meta(
                sop_class_uid=MRImageStorage,
                sop_instance_uid=UID(announced),
                transfer_syntax=ExplicitVRLittleEndian,
            )
            write_file_meta_info(stream, meta)
            stream.write(content)
        entity = AE("SENDER")
        entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", site.port, ae_title="SPINE")
        status = association.send_c_store(file).Status
        association.release()
        return status

    return send


@pytest.mark.parametrize("content", [b"\x08", b"nonsense" * 100, b"\xff" * 1000])
def test_what_cannot_be_understood_is_refused(site, send_raw, content):
    assert send_raw(content, "1.2.3") == 0xC000
    assert site.told() == ({"not_understood": 1}, [])


def test_an_object_that_is_not_what_was_announced_is_refused(site, send_raw, files):
    assert send_raw(body(files[0]), "1.2.3") == 0x0117
    dataset = pydicom.dcmread(files[0])
    dataset.SOPClassUID = CTImageStorage
    dataset.save_as(files[0].with_name("ct"), enforce_file_format=False)
    content = body(files[0].with_name("ct"))
    assert send_raw(content, dataset.SOPInstanceUID) == 0xA900
    assert site.told() == ({"other_class": 1, "other_instance": 1}, [])


def test_objects_that_are_no_mr_get_no_context(site):
    entity = AE("SENDER")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", site.port, ae_title="SPINE")
    assert not association.is_established


def test_a_bomb_in_a_deflated_header_is_not_unpacked():
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(50 << 20)) + packer.flush()
    assert len(_inflated_start(BytesIO(bomb)).getvalue()) == HEADER_BYTES


def test_a_gauge_cuts_what_is_too_much_and_begins_anew_with_each_object():
    gauge = Gauge(10)
    assert gauge.measure(b"\x03command") == b"\x03command"
    assert gauge.measure(b"\x00" + bytes(8)) == b"\x00" + bytes(8)
    assert gauge.measure(b"\x00" + bytes(8)) == b"\x00"
    assert gauge.measure(b"\x02" + bytes(3)) == b"\x02"
    assert gauge.is_over
    assert not gauge.is_endless
    gauge.measure(b"\x03command")
    assert not gauge.is_over
    for _ in range(5):
        gauge.measure(b"\x00" + bytes(10))
    assert gauge.is_endless


def test_a_command_without_end_is_seen():
    gauge = Gauge(10)
    for _ in range(66):
        gauge.measure(b"\x01" + bytes(1000))
    assert gauge.is_endless
