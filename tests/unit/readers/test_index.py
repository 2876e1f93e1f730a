"""What lies at a path; the order's oracle is SimpleITK (GDCM)."""

import os
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file

from spine_monai.readers import StudyError
from spine_monai.readers.headers import Ignored
from spine_monai.readers.index import index_study


def names(files):
    return [file.name for file in files]


def counts(index):
    return {kind: count for kind, count in index.ignored.items() if count}


def test_slices_are_sorted_along_their_normal(dicom_folder, edit):
    new_names = ["c.dcm", "e.dcm", "a.dcm", "d.dcm", "b.dcm"]
    for number, (file, name) in enumerate(
        zip(sorted(dicom_folder.iterdir()), new_names, strict=True)
    ):
        edit(file, InstanceNumber=(number * 3) % 5)
        file.rename(dicom_folder / name)
    (series,) = index_study(dicom_folder)
    expected = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(dicom_folder))
    assert names(series.files) == new_names
    assert [str(file) for file in series.files] == list(expected)


def test_heights_rise_along_the_sorted_series(pristine_folder):
    (series,) = index_study(pristine_folder)
    steps_mm = np.diff([instance.height_mm for instance in series.instances])
    assert steps_mm.tolist() == pytest.approx([4.0] * 4)


def test_a_folder_is_searched_at_any_depth_and_other_files_are_counted(tmp_path, write_series):
    write_series(tmp_path / "a" / "b", "first")
    write_series(tmp_path / "c", "second")
    (tmp_path / "notes.txt").write_text("T2")
    (tmp_path / "c" / "empty").write_bytes(b"")
    (tmp_path / "c" / "junk").write_bytes(bytes(range(256)) * 9)
    index = index_study(tmp_path)
    assert [len(series.files) for series in index] == [3, 3]
    assert counts(index) == {Ignored.NOT_DICOM: 3}


def test_series_come_in_the_order_of_their_numbers(tmp_path, write_series):
    for number in (12, 3, 7):
        write_series(tmp_path / str(number), str(number), SeriesNumber=number)
    write_series(tmp_path / "none", "none", SeriesNumber=None)
    assert [series.number for series in index_study(tmp_path)] == [None, 3, 7, 12]


def test_a_dicomdir_and_documents_are_counted_and_not_needed(tmp_path, write_series):
    write_series(tmp_path, "series")
    shutil.copy(get_testdata_file("DICOMDIR-nooffset", download=False), tmp_path / "DICOMDIR")
    shutil.copy(get_testdata_file("test-SR.dcm", download=False), tmp_path)
    index = index_study(tmp_path)
    assert [len(series.files) for series in index] == [3]
    assert counts(index) == {Ignored.DICOMDIR: 1, Ignored.NO_IMAGE: 1}


def test_a_medium_with_dicomdir_is_read_without_it():
    folder = Path(get_testdata_file("dicomdirtests/DICOMDIR", download=False)).parent
    index = index_study(folder)
    by_uid = {}
    for file in folder.rglob("*"):
        if file.is_file() and "DICOMDIR" not in file.name and pydicom.misc.is_dicom(file):
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" in header:
                by_uid.setdefault(header.SeriesInstanceUID, set()).add(file)
    found = {}
    for series in index:
        found.setdefault(series.uid, set()).update(series.files)
    assert found == by_uid
    assert len(by_uid) > 10
    assert index.ignored[Ignored.DICOMDIR] == len(list(folder.rglob("DICOMDIR*")))
    assert index.ignored[Ignored.DAMAGED] == 0


def test_a_dicomdir_stands_for_its_folder(tmp_path, write_series):
    files = write_series(tmp_path / "images", "series")
    shutil.copy(get_testdata_file("DICOMDIR-nooffset", download=False), tmp_path / "DICOMDIR")
    (series,) = index_study(tmp_path / "DICOMDIR")
    assert series.files == tuple(files)


def test_a_file_that_names_no_series_is_damaged(tmp_path, edit, write_series):
    files = write_series(tmp_path, "one")
    edit(files[0], SeriesInstanceUID=None)
    index = index_study(tmp_path)
    assert [series.files for series in index] == [tuple(files[1:])]
    assert index.damaged == (files[0],)


def test_a_series_whose_uid_is_a_name_is_damaged(tmp_path, write_series):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path, "one", SeriesInstanceUID="Doe^Jane")
    with pytest.raises(StudyError, match="3 look like DICOM but have a damaged header"):
        index_study(tmp_path)


def test_one_file_stands_for_its_series(tmp_path, write_series):
    write_series(tmp_path, "first")
    for file in sorted(tmp_path.glob("*.dcm")):
        file.rename(file.with_name(f"first-{file.name}"))
    wanted = write_series(tmp_path, "second")
    (series,) = index_study(wanted[1])
    assert series.files == tuple(wanted)


@pytest.mark.parametrize("name", ["", "notes.txt"])
def test_a_path_without_dicom_is_refused(tmp_path, assert_refused, name):
    (tmp_path / "notes.txt").write_text("nothing")
    assert_refused(tmp_path / name, "must hold DICOM images: none of its 1 files is one")


def test_a_file_with_a_damaged_header_is_named(dicom_folder):
    file = dicom_folder / "0001.dcm"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(StudyError, match=r"1 look like DICOM but have a damaged header: .*0001"):
        index_study(file)


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_loop_of_links_ends(tmp_path, write_series, target):
    files = write_series(tmp_path / "study" / "series", "series")
    (tmp_path / "study" / "series" / "loop").symlink_to(target, target_is_directory=True)
    (series,) = index_study(tmp_path / "study")
    assert series.files == tuple(files)


def test_linked_folders_and_files_are_read(tmp_path, write_series):
    files = write_series(tmp_path / "store", "series")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "series").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (series,) = index_study(tmp_path / "study")
    assert names(series.files) == names(files)


def test_a_pipe_does_not_stop_the_search(tmp_path, write_series):
    write_series(tmp_path, "series")
    os.mkfifo(tmp_path / "pipe")
    assert len(list(index_study(tmp_path))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_file_and_a_folder_that_cannot_be_opened_are_damaged(tmp_path, write_series):
    files = write_series(tmp_path, "series")
    (tmp_path / "closed").mkdir()
    files[0].chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        assert set(index_study(tmp_path).damaged) == {files[0], tmp_path / "closed"}
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_nothing_that_pydicom_says_of_a_header_is_passed_on(tmp_path, write_series, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path, "one", AcquisitionDate="1970 Doe^Jane")
    caplog.clear()
    (series,) = index_study(tmp_path)
    assert len(series.files) == 3
    assert "Doe" not in caplog.text


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_zip_is_read_like_its_folder(tmp_path, write_series):
    files = write_series(tmp_path / "study" / "a" / "b", "series")
    (tmp_path / "study" / "notes.txt").write_text("nothing")
    path = zipped(tmp_path / "study", tmp_path / "study.zip")
    index = index_study(path)
    (series,) = index
    assert names(series.files) == names(files)
    assert series.files[0] == path / "a" / "b" / "0001.dcm"
    assert counts(index) == {Ignored.NOT_DICOM: 1}
    with series.instances[2].open() as stream:
        assert stream.read() == files[2].read_bytes()


def test_a_zip_in_a_folder_is_looked_into(tmp_path, write_series):
    write_series(tmp_path / "plain", "first", SeriesNumber=1)
    write_series(tmp_path / "packed", "second", SeriesNumber=2)
    zipped(tmp_path / "packed", tmp_path / "plain" / "more.ZIP")
    index = index_study(tmp_path / "plain")
    assert [series.files[0].parent.name for series in index] == ["plain", "more.ZIP"]


def test_a_broken_zip_in_a_folder_is_damaged_and_named(tmp_path, write_series):
    write_series(tmp_path, "series")
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 and no more")
    index = index_study(tmp_path)
    assert index.damaged == (tmp_path / "half.zip",)
    assert counts(index) == {Ignored.DAMAGED: 1}


def test_a_member_that_is_broken_is_damaged_and_named(tmp_path, write_series):
    files = write_series(tmp_path / "study", "series")
    path = zipped(tmp_path / "study", tmp_path / "study.zip")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("0002.dcm").header_offset
    content = bytearray(path.read_bytes())
    content[start + 60 : start + 400] = bytes(340)
    path.write_bytes(content)
    index = index_study(path)
    assert index.damaged == (path / "0002.dcm",)
    (series,) = index
    assert len(series.files) == len(files) - 1


def test_a_zip_without_dicom_is_refused(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("nothing")
    path = zipped(tmp_path / "study", tmp_path / "study.zip")
    with pytest.raises(StudyError, match=r"study.zip must hold DICOM images: none of its 1 files"):
        index_study(path)
