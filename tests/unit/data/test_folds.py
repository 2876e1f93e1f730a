"""Folds and subjects: a patient is in one fold, and nobody is named."""

import hashlib
import hmac
import io

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from spine_monai.data.folds import (
    PUBLIC_KEY,
    read_folds,
    read_subject_key,
    read_subjects,
    subject_of_dicom,
    with_folds,
    with_subjects,
)


def write(tmp_path, text, **options):
    (tmp_path / "cases.csv").write_text(text, **options)
    return tmp_path / "cases.csv"


def dicom(patient):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "1.2.3"
    dataset.PatientName = "Doe^Jane"
    if patient is not None:
        dataset.PatientID = patient
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    stream.seek(0)
    return stream


ITEMS = [{"id": "a1", "subject": "a"}, {"id": "a2", "subject": "a"}, {"id": "b1", "subject": "b"}]


def test_folds_are_whole_numbers_by_case(tmp_path):
    assert read_folds(write(tmp_path, "case,fold,note\na,1,x\nb,0,\n")) == {"a": 1, "b": 0}


def test_a_fold_file_from_excel_is_read(tmp_path):
    assert read_folds(write(tmp_path, "case,fold\na,1\n", encoding="utf-8-sig")) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["case,group\na,1\n", "name,fold\na,1\n", "case,fold\na,one\n", "case,fold\na\n"]
)
def test_a_folds_file_without_its_columns_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"must have the columns 'case' and 'fold' \(a whole"):
        read_folds(write(tmp_path, text))


def test_a_case_with_two_folds_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must name each case once: got 2 rows for 1 cases"):
        read_folds(write(tmp_path, "case,fold\na,1\na,2\n"))


def test_subjects_are_names_by_case(tmp_path):
    assert read_subjects(write(tmp_path, "case,subject\na1, a \n")) == {"a1": "a"}


@pytest.mark.parametrize("text", ["case,subject\na1,\n", "case,name\na1,a\n"])
def test_a_subject_without_a_name_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"must have the columns 'case' and 'subject' \(a name\)"):
        read_subjects(write(tmp_path, text))


def test_the_file_gives_the_subjects(tmp_path):
    path = write(tmp_path, "case,subject\na1,x\na2,x\nb1,y\nc1,z\n")
    assert [item["subject"] for item in with_subjects(ITEMS, path)] == ["x", "x", "y"]
    assert with_subjects(ITEMS, None) == ITEMS


def test_a_case_without_a_subject_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must name a subject for each case: a2, b1 is missing"):
        with_subjects(ITEMS, write(tmp_path, "case,subject\na1,x\n"))


def test_the_file_gives_the_folds(tmp_path):
    path = write(tmp_path, "case,fold\na1,3\na2,3\nb1,0\n")
    assert [item["fold"] for item in with_folds(ITEMS, path)] == [3, 3, 0]


def test_drawn_folds_keep_a_subject_together_and_come_from_the_seed():
    many = [{"id": f"{s}{n}", "subject": s} for s in "abcdefghij" for n in range(2)]
    first, again, other = (with_folds(many, None, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [item["fold"] for item in first] != [item["fold"] for item in other]
    assert all(one["fold"] == two["fold"] for one, two in zip(first[::2], first[1::2], strict=True))


def test_a_case_without_a_fold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cases\.csv must name a fold for each case: b1 is"):
        with_folds(ITEMS, write(tmp_path, "case,fold\na1,1\na2,1\n"))


def test_a_subject_in_two_folds_is_refused(tmp_path):
    path = write(tmp_path, "case,fold\na1,1\na2,2\nb1,1\n")
    with pytest.raises(ValueError, match=r"in one fold: a1 \(fold 1\), a2 \(fold 2\) are of one"):
        with_folds(ITEMS, path)


def test_a_subject_is_the_keyed_digest_of_the_patient():
    expected = hmac.new(PUBLIC_KEY, b"ID-4711", hashlib.sha256).hexdigest()[:16]
    assert subject_of_dicom(dicom("ID-4711 ")) == f"patient-{expected}"
    assert subject_of_dicom(dicom("ID-4711"), b"another") != subject_of_dicom(dicom("ID-4711"))
    assert subject_of_dicom(dicom("ID-4712")) != subject_of_dicom(dicom("ID-4711"))


@pytest.mark.parametrize("patient", [None, "", " "])
def test_without_a_patient_there_is_no_subject(patient):
    assert subject_of_dicom(dicom(patient)) is None


def test_the_key_is_public_unless_a_file_holds_another(tmp_path):
    (tmp_path / "key").write_text("0123456789abcdef\n")
    assert read_subject_key(None) == PUBLIC_KEY
    assert read_subject_key(tmp_path / "key") == b"0123456789abcdef"


def test_a_key_that_can_be_guessed_is_refused(tmp_path):
    (tmp_path / "key").write_text("secret\n")
    with pytest.raises(ValueError, match="must hold a secret of at least 16 bytes: got 6"):
        read_subject_key(tmp_path / "key")
