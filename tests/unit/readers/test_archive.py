"""Files in zips; the oracle for what is in them is the operating system's own files."""

import struct
import zipfile

import pytest

from spine_monai.readers import StudyError, archive
from spine_monai.readers.archive import Source, is_zip, list_zip


@pytest.fixture
def zip_of(tmp_path):
    def make(members, **options):
        path = tmp_path / "study.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return path

    return make


def encrypt(path):
    """Set the flag of encryption in all headers of a zip."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def test_members_are_listed_in_order_and_folders_left_out(zip_of):
    path = zip_of({"b/": b"", "b/2": b"two", "a": b"one"})
    assert [(s.path, s.archive, s.member) for s in list_zip(path)] == [
        (path / "a", path, "a"),
        (path / "b/2", path, "b/2"),
    ]


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../escape"])
def test_a_member_that_points_elsewhere_is_only_read_where_it_is(zip_of, tmp_path, name):
    path = zip_of({name: b"content"})
    (source,) = list_zip(path)
    with source.open() as stream:
        assert stream.read() == b"content"
    assert source.path.is_relative_to(path)
    assert [file.name for file in tmp_path.iterdir()] == ["study.zip"]


def test_a_plain_file_is_opened_as_it_is(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with Source(tmp_path / "file").open() as stream:
        assert stream.read() == b"content"


def test_an_encrypted_zip_is_refused(zip_of):
    path = zip_of({"a": b"one", "b": b"two"})
    encrypt(path)
    with pytest.raises(StudyError, match=r"study.zip must not be encrypted: 2 of its 2 files are"):
        list_zip(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", bytes(1000)])
def test_a_broken_zip_is_refused(tmp_path, content):
    (tmp_path / "study.zip").write_bytes(content)
    with pytest.raises(StudyError, match=r"study.zip must be a readable zip: BadZipFile. Copy"):
        list_zip(tmp_path / "study.zip")


def test_a_member_that_is_gone_is_refused(zip_of):
    path = zip_of({"a": b"one"})
    with (
        pytest.raises(StudyError, match=r"study.zip/b must be readable: KeyError"),
        Source(path / "b", path, "b").open(),
    ):
        pass


def test_a_member_packed_in_an_unknown_way_is_refused(zip_of):
    path = zip_of({"a": b"one" * 50})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(signature)
        content[at + offset : at + offset + 2] = struct.pack("<H", 97)
    path.write_bytes(content)
    (source,) = list_zip(path)
    with (
        pytest.raises(StudyError, match=r"study.zip/a must be readable: NotImplementedError"),
        source.open(),
    ):
        pass


def test_a_member_that_is_too_large_is_refused(zip_of, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 10)
    (source,) = list_zip(zip_of({"a": b"eleven byte"}))
    with (
        pytest.raises(StudyError, match=r"study.zip/a must be at most 10 bytes: got 11"),
        source.open(),
    ):
        pass


def test_a_zip_is_known_by_its_suffix(tmp_path):
    assert is_zip(tmp_path / "study.ZIP")
    assert not is_zip(tmp_path / "study.dcm")
