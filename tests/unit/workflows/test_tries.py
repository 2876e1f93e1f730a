import os

import pytest

from spine_monai.files import write_whole
from spine_monai.workflows.tries import Tries, remove_leftovers


def test_a_case_that_ends_leaves_no_mark(tmp_path):
    tries = Tries(tmp_path / "marks")
    assert tries.begin("case-1") == 1
    tries.end("case-1")
    assert tries.begin("case-1") == 1
    tries.end("case-1")
    tries.clear()
    assert not (tmp_path / "marks").exists()


def test_tries_count_those_who_began_and_did_not_end(tmp_path):
    for _ in range(2):
        Tries(tmp_path).begin("case-1")  # by a process that is gone
    tries = Tries(tmp_path)
    assert tries.suspects() == {"case-1"}
    assert tries.begin("case-1") == 3
    assert tries.begin("case-2") == 1


def test_an_interrupt_is_no_try(tmp_path):
    first, second = Tries(tmp_path), Tries(tmp_path)
    first.begin("case-1")  # and dies
    second.begin("case-1")
    second.begin("case-2")
    second.interrupt()
    assert second.suspects() == {"case-1"}
    assert Tries(tmp_path).begin("case-1") == 2


def test_marks_of_cases_in_work_keep_the_folder(tmp_path):
    tries = Tries(tmp_path / "marks")
    tries.begin("case-1")
    tries.clear()
    assert tries.suspects() == {"case-1"}


def test_no_folder_means_no_suspects(tmp_path):
    assert Tries(tmp_path / "nowhere").suspects() == set()
    Tries(tmp_path / "nowhere").clear()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        Tries(tmp_path / "file").begin("case-1")


def test_leftovers_are_what_write_whole_fills_aside(tmp_path):
    """And nothing else, though it be hidden."""
    names = []

    def note_and_break_off(aside):
        names.append(aside.name)
        aside.write_text("half")
        os.link(aside, aside.with_name("kept"))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_whole(tmp_path / "landmarks.json", note_and_break_off)
    os.rename(tmp_path / "kept", tmp_path / names[0])  # as a killed process leaves it
    (tmp_path / ".hidden").write_text("of somebody else")
    (tmp_path / "landmarks.json").write_text("whole")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "landmarks.json"]
    remove_leftovers(tmp_path / "nowhere")
