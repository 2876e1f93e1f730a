"""How the files lie on disk, and what else lies there."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomFileLike
from pydicom.fileset import FileSet
from pydicom.filewriter import write_dataset

from hard_cases.registry import PHANTOM, Written, hard_case, set_in, write

GROUP = "Files"


@hard_case(GROUP, "no preamble", warns=["no_preamble"])
def no_preamble(folder: Path) -> Written:
    for file in write(folder):
        file.write_bytes(file.read_bytes()[132:])
    return Written(folder)


@hard_case(GROUP, "no preamble and no file meta information", warns=["no_preamble"])
def no_meta(folder: Path) -> Written:
    for file in write(folder):
        dataset = pydicom.dcmread(file)
        with file.open("wb") as stream:
            writer = DicomFileLike(stream)
            writer.is_little_endian, writer.is_implicit_VR = True, True
            write_dataset(writer, dataset)
    return Written(folder)


@hard_case(GROUP, "as on a CD: a DICOMDIR, folders, and names without suffix")
def dicomdir(folder: Path) -> Written:
    cd = FileSet()
    record = {"PatientID": "Doe", "StudyDate": "20200101", "StudyTime": "101010", "StudyID": "1"}
    files = write(folder / "aside")
    set_in(files, **record)
    for file in files:
        cd.add(file)
    cd.write(folder / "cd")
    cd._stage["t"].cleanup()  # else a warning when it is collected
    shutil.rmtree(folder / "aside")
    return Written(folder / "cd")


@hard_case(GROUP, "junk, a report and another object's files between them")
def junk(folder: Path) -> Written:
    write(folder / "deep" / "er")
    (folder / "deep" / "Thumbs.db").write_bytes(bytes(range(256)))
    (folder / "empty.dcm").touch()
    (folder / "note.dcm").write_text("no image")
    shutil.copy(get_testdata_file("test-SR.dcm"), folder / "report")
    shutil.copy(get_testdata_file("DICOMDIR"), folder / "DICOMDIR")
    return Written(folder)


@hard_case(GROUP, "a zip of the folder")
def zipped(folder: Path) -> Written:
    write(folder / "in" / "side")
    return Written(Path(shutil.make_archive(str(folder / "study"), "zip", folder / "in")))


@hard_case(GROUP, "one file of a series named instead of its folder")
def one_file(folder: Path) -> Written:
    return Written(write(folder)[3])


@hard_case(GROUP, "the header of the last file is damaged", warns=["unreadable_files"])
def damaged_header_at_the_end(folder: Path) -> Written:
    _damage_header(write(folder)[-1])
    return Written(folder, PHANTOM.volume[..., :-1])


@hard_case(GROUP, "the header of a file in the middle is damaged", refused=["evenly spaced slices"])
def damaged_header_in_the_middle(folder: Path) -> Written:
    _damage_header(write(folder)[2])
    return Written(folder)


@hard_case(
    GROUP,
    "a sequence in the header has no end, so that pydicom finds an empty data set",
    refused=["look like DICOM but have a damaged header", "0001.dcm"],
)
def endless_sequence(folder: Path) -> Written:
    for file in write(folder):
        _damage_header(file)
    return Written(folder)


def _damage_header(file: Path) -> None:
    """Put a sequence of undefined length, without its end, before all other attributes."""
    content = file.read_bytes()
    start = content.index(b"\x08\x00\x05\x00") if b"\x08\x00\x05\x00" in content else None
    start = content.index(b"\x08\x00\x08\x00CS") if start is None else start
    endless = b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    file.write_bytes(content[:start] + endless + content[start:])


@hard_case(GROUP, "rows and columns of one file differ", refused=["evenly spaced slices"])
def one_other_size(folder: Path) -> Written:
    set_in(write(folder)[2:3], Rows=40, Columns=48, PixelData=np.ones(1920, "<u2").tobytes())
    return Written(folder)
