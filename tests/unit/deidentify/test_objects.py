import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from planted_values import WORDS, plant_file
from pydicom.data import get_testdata_file

from spine_monai.deidentify.objects import export_object, patient_of, read_object
from spine_monai.deidentify.refusal import RefusedError
from spine_monai.readers.archive import Source

MR = ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm")
MR += ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm")


@pytest.fixture
def export(tmp_path, pseudonyms):
    def call(path):
        dataset = read_object(Source(Path(path)))
        out = tmp_path / "out"
        dropped = export_object(dataset, patient_of(dataset, pseudonyms), "T2 sagittal", out)
        return max(out.iterdir(), key=lambda file: file.stat().st_mtime_ns), dropped

    return call


def left_in(content):
    lower = content.lower()
    encodings = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
    return [w for w in WORDS if any(w.lower().encode(code) in lower for code in encodings)]


def test_nothing_is_left_of_a_name_planted_everywhere(tmp_path, image, export):
    file = tmp_path / "planted.dcm"
    image().save_as(file, enforce_file_format=True)
    plant_file(file)
    before = file.read_bytes()
    assert all(before.lower().count(word.lower().encode()) > 100 for word in WORDS)
    written, dropped = export(file)
    content = written.read_bytes()
    assert left_in(content) == []
    assert content[:128] == bytes(128)
    assert left_in(repr(sorted(dropped)).encode()) == []
    np.testing.assert_array_equal(
        pydicom.dcmread(written).pixel_array.ravel(), image().pixel_array.ravel()
    )


@pytest.mark.parametrize("name", MR)
def test_stored_pixels_and_geometry_stay_in_their_transfer_syntax(tmp_path, export, name):
    """pydicom's own images, which call themselves SECONDARY, made PRIMARY."""
    source = pydicom.dcmread(get_testdata_file(name))
    source.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    source.save_as(tmp_path / name)
    written, _ = export(tmp_path / name)
    exported = pydicom.dcmread(written)
    assert exported.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
    np.testing.assert_array_equal(exported.pixel_array, source.pixel_array)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        assert exported.get(keyword) == source.get(keyword), keyword
    assert written.name == f"{exported.SOPInstanceUID}.dcm"
    assert exported.file_meta.MediaStorageSOPInstanceUID == exported.SOPInstanceUID
    assert str(source.PatientName) not in repr(exported)


def test_a_file_without_meta_information_gets_some(tmp_path, image, export):
    file = tmp_path / "bare.dcm"
    dataset = image()
    del dataset.file_meta
    dataset.save_as(file, implicit_vr=True, little_endian=True)
    written, _ = export(file)
    assert pydicom.dcmread(written).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"


def test_a_deflated_file_stays_one(tmp_path, image, export):
    dataset = image()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    written, _ = export(tmp_path / "deflated.dcm")
    assert pydicom.dcmread(written).PixelData == bytes(range(48))


def test_images_that_share_a_uid_do_not_replace_each_other(tmp_path, image, export):
    file = tmp_path / "image.dcm"
    image().save_as(file, enforce_file_format=True)
    first, _ = export(file)
    second, _ = export(file)
    assert {first.name, second.name} == {first.name, f"{first.stem}_2.dcm"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SOPInstanceUID": ""}, "no valid SOPInstanceUID"),
        ({"Rows": 400}, "ends within its pixels"),
        ({"Rows": None}, r"cannot be taken over \(TypeError\)"),
    ],
)
def test_an_object_that_cannot_be_taken_over_is_refused(tmp_path, image, export, change, reason):
    dataset = image(**change)
    dataset.save_as(tmp_path / "image.dcm")
    with pytest.raises(RefusedError, match=reason):
        export(tmp_path / "image.dcm")
    assert not (tmp_path / "out").exists()


def test_a_private_transfer_syntax_is_refused(tmp_path, image, export):
    dataset = image()
    dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    content = (tmp_path / "image.dcm").read_bytes()
    content = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0")
    (tmp_path / "image.dcm").write_bytes(content)
    with pytest.raises(RefusedError, match="transfer syntax"):
        export(tmp_path / "image.dcm")


def test_another_patients_image_is_refused(image, again, pseudonyms, tmp_path):
    patient = patient_of(again(image()), pseudonyms)
    with pytest.raises(RefusedError, match="another patient"):
        export_object(again(image(PatientID="other")), patient, "", tmp_path)


def test_a_patient_is_its_id_and_issuer_or_its_study(image, again, pseudonyms):
    def subject(**attributes):
        return patient_of(again(image(**attributes)), pseudonyms).subject

    assert subject() == subject(PatientID=" 61020-77 ")
    assert subject() != subject(IssuerOfPatientID="hospital")
    assert subject(PatientID="") == subject(PatientID="", SOPInstanceUID="1.2.77")
    assert subject(PatientID="") != subject(PatientID="", StudyInstanceUID="1.2.77")


@pytest.mark.parametrize("content", [b"", b"Mustermann" * 50, b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_a_damaged_file_is_refused(tmp_path, export, content):
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(RefusedError, match=r"cannot be read|no MR image") as caught:
        export(tmp_path / "x.dcm")
    assert "Mustermann" not in str(caught.value)


def test_a_file_that_is_gone_is_refused(tmp_path, export):
    shutil.rmtree(tmp_path / "nowhere", ignore_errors=True)
    with pytest.raises(RefusedError, match=r"cannot be read \(FileNotFoundError\)"):
        export(tmp_path / "nowhere" / "x.dcm")
