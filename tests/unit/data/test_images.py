"""Images found by the names of their cases."""

from pathlib import Path

import pydicom
import pytest

from spine_monai.data.conversion import LeftOutError
from spine_monai.data.images import ImageFinder, image_in, name_of_folder


@pytest.fixture
def folder(tmp_path):
    for name in (
        *("a.nii.gz", "deep/b.mha", "deep/c_0000.nrrd", "d/t2.nii", "d/mask.nii.gz", "e/1.dcm"),
        *("f/t1.nii", "f/t2.nii", "one/g.nii", "two/g.nii", "h/t2.nii", "h/a.seg.nrrd"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("case", "image"),
    [
        ("a", "a.nii.gz"),
        ("b", "deep/b.mha"),
        ("c", "deep/c_0000.nrrd"),
        ("c_0000", "deep/c_0000.nrrd"),
        ("d", "d/t2.nii"),
        ("e", "e"),
        ("h", "h/t2.nii"),
    ],
)
def test_a_case_is_a_file_or_a_folder_of_its_name(folder, case, image):
    assert ImageFinder(folder).find(case) == folder / image


def test_a_series_is_found_by_its_uid(write_series, even_study, tmp_path):
    files = write_series(even_study, tmp_path / "x", seed="a")
    write_series(even_study, tmp_path / "y", seed="b")
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    assert ImageFinder(tmp_path).find(uid).parent == tmp_path / "x"


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("z", "image_not_found", "must hold one image named z, .*: got 0"),
        ("g", "several_images", "must hold one image named g, .*: got 2"),
        ("f", "several_images", "must hold one image that is no mask: got 2"),
    ],
)
def test_none_and_several_are_left_out(folder, case, code, message):
    with pytest.raises(LeftOutError, match=message) as caught:
        ImageFinder(folder).find(case)
    assert caught.value.code == code


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="images must be a folder"):
        ImageFinder(tmp_path / "none")


def test_a_folder_without_a_volume_is_dicom(folder):
    assert image_in(folder / "e") == folder / "e"


@pytest.mark.parametrize("file", ["t2.nii", "./t2.nii", "../f/t2.nii", "deep/../t2.nii"])
def test_a_folder_has_its_name_however_its_files_are_named(folder, monkeypatch, file):
    monkeypatch.chdir(folder / "f")
    assert name_of_folder(Path(file)) == "f"


def test_the_folder_of_a_link_is_where_the_link_lies(folder):
    (folder / "f" / "link.nii").symlink_to(folder / "one" / "g.nii")
    assert name_of_folder(folder / "f" / "link.nii") == "f"
