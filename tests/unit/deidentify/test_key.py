import stat
import threading

import pytest

from spine_monai.deidentify.key import read_or_make_key


def test_a_key_is_made_for_its_owner_alone_and_read_again(tmp_path):
    file = tmp_path / "key"
    key = read_or_make_key(file)
    assert len(key) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_make_key(file) == key
    assert read_or_make_key(tmp_path / "other") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    file = tmp_path / "key"
    key = read_or_make_key(file)
    file.chmod(mode)
    with pytest.raises(ValueError, match="chmod 600") as caught:
        read_or_make_key(file)
    assert key.hex() not in str(caught.value)


@pytest.mark.parametrize("content", ["", "00" * 31, "00" * 33, "zz" * 32, "\xff"])
def test_a_key_of_another_form_is_refused_and_not_shown(tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(ValueError, match="64 hexadecimal digits") as caught:
        read_or_make_key(file)
    assert not content or content not in str(caught.value)


def test_a_key_in_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_or_make_key(tmp_path / "nowhere" / "key")


def test_an_existing_file_is_never_overwritten(tmp_path):
    """Of many that begin at once, one makes the key."""
    keys = []

    def take():
        try:
            keys.append(read_or_make_key(tmp_path / "key"))
        except ValueError:
            keys.append(None)  # it came while the file was being written

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) - {None} == {read_or_make_key(tmp_path / "key")}
