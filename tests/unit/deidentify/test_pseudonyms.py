import subprocess
import sys
from datetime import date, timedelta

import pytest
from pydicom.uid import UID, MRImageStorage

from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms

OTHER = Pseudonyms(bytes(32))


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.840." + "9" * 50, "2.25.1", "Mustermann"])
def test_a_new_uid_is_valid_stable_and_of_the_key(pseudonyms, uid):
    new = UID(pseudonyms.uid(uid))
    assert new.is_valid
    assert new.startswith("2.25.")
    assert len(new) <= 64
    assert new == pseudonyms.uid(uid)
    assert new != OTHER.uid(uid)


def test_different_uids_stay_different(pseudonyms):
    assert len({pseudonyms.uid(f"1.2.{n}") for n in range(1000)}) == 1000


def test_what_dicom_defines_stays(pseudonyms):
    assert pseudonyms.uid(MRImageStorage) == MRImageStorage


def test_another_process_makes_the_same(pseudonyms):
    """With another seed of Python's own hashes."""
    code = "from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms as P; "
    code += "p = P(bytes(range(32))); t = Patient('me', p); "
    code += "print(p.uid('1.2.3'), t.subject, p.days_earlier('me').days, p.folder('study', '1'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    me = Patient("me", pseudonyms)
    days = pseudonyms.days_earlier("me").days
    expected = [pseudonyms.uid("1.2.3"), me.subject, str(days), pseudonyms.folder("study", "1")]
    assert said.stdout.split() == expected


def test_a_subject_has_a_short_key(pseudonyms):
    subjects = {Patient(str(n), pseudonyms).subject for n in range(500)}
    assert len(subjects) == 500
    assert all(len(subject) == 10 and subject.startswith("S-") for subject in subjects)
    assert "me" not in repr(Patient("me", pseudonyms))
    assert pseudonyms.key.hex() not in repr(pseudonyms)
    assert repr(pseudonyms.key) not in repr(pseudonyms)


def test_the_dates_of_a_patient_keep_their_distance(pseudonyms):
    shifts = set()
    for number in range(300):
        one = Patient(str(number), pseudonyms)
        first, later = one.moved(date(2020, 2, 28)), one.moved(date(2021, 3, 1))
        assert later - first == date(2021, 3, 1) - date(2020, 2, 28)
        shifts.add(date(2020, 2, 28) - first)
    assert min(shifts) >= timedelta(days=1)
    assert max(shifts) <= timedelta(days=365)
    assert len(shifts) > 150
