"""What a PACS may say of its series, and cannot."""

import pytest
from pydicom import Dataset

from spine_monai.pacs.pulled import Pulled
from spine_monai.pacs.survey import survey


class Archive:
    """Answers as a PACS does that was asked."""

    def __init__(self, study_uid, *series):
        self.study = Dataset()
        self.study.add_new("StudyInstanceUID", "LO", study_uid)
        self.series = series

    def find_studies(self, query):
        yield self.study

    def find_series(self, study_uid):
        yield from self.series


def series_of(uid="1.2.3", **values):
    series = Dataset()
    series.add_new("SeriesInstanceUID", "LO", uid)
    for keyword, value in values.items():
        setattr(series, keyword, value)
    return series


def found(*series, study_uid="1.2", wanted=None):
    return list(survey(Archive(study_uid, *series), {}, wanted or {}))


def test_a_series_is_named_by_its_number():
    (one,) = found(series_of(Modality="MR", NumberOfSeriesRelatedInstances="7"))
    assert (one.name, one.modality, one.expected, one.reason) == (
        *("study 1, series 1", "MR", 7, ""),
    )


@pytest.mark.parametrize("count", [None, "", "many"])
def test_a_number_that_is_not_said_is_unknown(count):
    series = series_of()
    series.add_new("NumberOfSeriesRelatedInstances", "LO", count)
    assert found(series)[0].expected is None


@pytest.mark.parametrize("modality", ["Kowalski^Jan", "M" * 17, ""])
def test_what_is_no_modality_is_not_shown(modality):
    series = series_of()
    series.add_new("Modality", "LO", modality)
    assert found(series)[0].modality == "?"


def test_a_series_or_study_without_a_uid_is_a_fault():
    (one,) = found(series_of("../../etc"))
    assert (one.is_faulty, one.name) == (True, "study 1, series 1")
    (one,) = found(series_of(), study_uid="../x")
    assert (one.is_faulty, one.name) == (True, "study 1, series 0")
    assert "StudyInstanceUID must be 1 to 64 digits" in one.reason


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(FileExistsError):
        Pulled(tmp_path / "out")
