"""Ten thousand files are indexed in half a minute (opt-in: it takes a while to make them)."""

import time

import pydicom
import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.readers.index import index_study

FILES, SLICES, SECONDS = 10_000, 20, 30.0
SERIES_UID, IMAGE_UID, PLACE = "1.2.3.40000", "1.2.3.50000", "-1000.5"


@pytest.fixture
def template(tmp_path):
    """A file with as many attributes as a scanner writes, 90 kB of private ones among them."""
    attributes = {"PatientComments": "x" * 40, "InstitutionName": "x" * 20}
    attributes |= {"SeriesInstanceUID": SERIES_UID, "SOPInstanceUID": IMAGE_UID}
    study = make_study(shape=(64, 64, 2))
    (file, _) = study.write_dicom(tmp_path / "template", seed="template", **attributes)
    dataset = pydicom.dcmread(file)
    dataset.ImagePositionPatient = [PLACE, "20", "30"]
    for group in range(0x19, 0x33, 2):
        block = dataset.private_block(group, "scanner", create=True)
        for element in range(8):
            block.add_new(element, "OB", bytes(900))
    dataset.save_as(file, enforce_file_format=True)
    return file.read_bytes()


@pytest.fixture
def archive(template, tmp_path):
    folder = tmp_path / "archive"
    for number in range(FILES):
        series, place = divmod(number, SLICES)
        content = template.replace(SERIES_UID.encode(), f"1.2.3.4{series:04d}".encode())
        content = content.replace(IMAGE_UID.encode(), f"1.2.3.5{number:04d}".encode())
        content = content.replace(PLACE.encode(), f"-10{place:02d}.5".encode())
        file = folder / f"{series:03d}" / f"{place:02d}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@pytest.mark.heavy
def test_ten_thousand_files_are_indexed_in_half_a_minute(archive):
    started = time.perf_counter()
    index = index_study(archive)
    seconds = time.perf_counter() - started
    assert len(index.series) == FILES / SLICES
    assert {len(series.instances) for series in index} == {SLICES}
    assert seconds < SECONDS
