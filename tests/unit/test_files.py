"""Files that appear whole or not at all, and their digests."""

import hashlib

import pytest

from spine_monai.files import (
    place_of,
    sha256_of_file,
    sha256_of_files,
    write_all_whole,
    write_text,
    write_whole,
)


def half_then_fail(path):
    path.write_bytes(b"half")
    msg = "disk is gone"
    raise OSError(msg)


def test_a_file_is_written_and_its_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    write_whole(path, lambda aside: aside.write_bytes(b"whole"))
    assert path.read_bytes() == b"whole"


def test_nothing_but_the_file_is_left(tmp_path):
    write_text(tmp_path / "note.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_the_file_is_filled_aside_in_its_own_folder_with_its_own_suffix(tmp_path):
    path, seen = tmp_path / "mask.nii.gz", []

    def write(aside):
        seen.append(aside)
        assert not path.exists()
        aside.write_bytes(b"x")

    write_whole(path, write)
    assert seen[0].parent == tmp_path
    assert seen[0].name.endswith(".nii.gz")
    assert seen[0] != path


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="disk is gone"):
        write_whole(tmp_path / "c.bin", half_then_fail)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk is gone"):
        write_whole(path, half_then_fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_files_none_appears_before_all_are_filled(tmp_path):
    first, second = tmp_path / "one.txt", tmp_path / "a" / "two.txt"

    def write(aside):
        assert not first.exists()
        aside.write_text("2")

    write_all_whole({first: lambda aside: aside.write_text("1"), second: write})
    assert (first.read_text(), second.read_text()) == ("1", "2")
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["one.txt", "two.txt"]


def test_where_one_of_several_files_fails_all_stay_as_they_were(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk is gone"):
        write_all_whole(
            {
                path: lambda aside: aside.write_text("new"),
                tmp_path / "c.bin": half_then_fail,
            }
        )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_nothing_either(tmp_path):
    def interrupt(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "c.bin", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "note.txt", "text")


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "the longer, older text")
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"


def test_text_is_utf_8(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "Wirbelsäule μ 脊")
    assert path.read_bytes() == "Wirbelsäule μ 脊".encode()


def test_the_digest_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-4, example B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(path) == expected
    assert hashlib.sha256(b"abc").hexdigest() == expected


def test_a_set_of_files_has_one_digest_whatever_their_names_and_order(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"2", "d": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    first = sha256_of_files([tmp_path / "a", tmp_path / "b"])
    assert first == sha256_of_files([tmp_path / "c", tmp_path / "d"])


@pytest.mark.parametrize("contents", [[b"1"], [b"1", b"2", b"2"], [b"12"], [b"1", b"3"], []])
def test_another_set_of_files_has_another_digest(tmp_path, contents):
    def digest(folder, parts):
        files = [tmp_path / f"{folder}{number}" for number in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            file.write_bytes(part)
        return sha256_of_files(files)

    assert digest("mine", [b"1", b"2"]) != digest("other", contents)


@pytest.mark.parametrize("name", ["file", "./file", "deep/../file", "link to folder/file"])
def test_a_file_lies_where_its_folder_truly_is(tmp_path, monkeypatch, name):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "link to folder").symlink_to(folder)
    monkeypatch.chdir(folder)
    assert place_of(name) == folder / "file"


@pytest.mark.parametrize("name", [".", "..", "deep/.."])
def test_a_folder_that_is_named_by_dots_has_its_place(tmp_path, monkeypatch, name):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    assert place_of(name) == (tmp_path / name).resolve()


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError, match=r"f.$"):
        write_text(tmp_path / "f" / "a.txt", "a")


def test_a_link_lies_where_it_is_not_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    assert place_of(tmp_path / "link") == tmp_path / "link"
