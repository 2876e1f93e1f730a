import json

import pydicom
import pytest
from PIL import Image

from spine_monai.data.synthetic import make_study
from spine_monai.readers import LocatedStudy
from spine_monai.readers.location import UnusableStudy
from spine_monai.workflows.cases import (
    ListedStudy,
    StudyOptions,
    find_cases,
    located,
    network_items,
)


@pytest.fixture
def nifti(tmp_path):
    (tmp_path / "sub-011").mkdir()
    return make_study(shape=(20, 16, 2)).write_nifti(tmp_path / "sub-011" / "t2.nii.gz")


def write_datalist(path, *items):
    content = {"format": "spine_monai.datalist", "format_version": 1, "landmark_set": "lumbar11"}
    path.write_text(json.dumps(content | {"testing": list(items)}))
    return path


def test_a_dicom_study_is_named_after_its_series(tmp_path):
    make_study(shape=(20, 16, 2)).write_dicom(tmp_path / "any name", seed="x")
    (case,) = find_cases([tmp_path / "any name"])
    assert case.id == case.image.series.uid
    assert case.id.startswith("2.25.")


def test_a_volume_file_is_named_after_itself(nifti):
    (case,) = find_cases([nifti])
    assert case.id == "t2"
    assert isinstance(case.image, LocatedStudy)
    assert case.network_item == {"id": "t2", "image": case.image}


def test_links_of_one_name_are_told_apart_by_the_folders_where_they_lie(nifti, tmp_path):
    links = [tmp_path / name / "image.nii.gz" for name in ("sub-1", "sub-2")]
    for link in links:
        link.parent.mkdir()
        link.symlink_to(nifti)
    assert [case.id for case in find_cases(links)] == ["sub-1_image", "sub-2_image"]


def test_links_to_folders_are_told_apart_by_where_they_lead(nifti, tmp_path):
    for name in ("v3", "v7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t2.nii.gz").write_bytes(nifti.read_bytes())
        (tmp_path / f"p-{name}").mkdir()
        (tmp_path / f"p-{name}" / "current").symlink_to(tmp_path / name)
    files = [tmp_path / f"p-{name}" / "current" / "t2.nii.gz" for name in ("v3", "v7")]
    assert [case.id for case in find_cases(files)] == ["v3_t2", "v7_t2"]


def test_a_datalist_names_its_cases_and_slices(nifti, tmp_path):
    item = {"id": "first", "image": "sub-011/t2.nii.gz", "slice_index": 1}
    (item,) = network_items([write_datalist(tmp_path / "list.json", item)])
    assert item["id"] == "first"
    assert item["slice_index"] == 1
    assert item["image"].path == nifti


def test_a_study_that_cannot_be_located_stays_a_case(tmp_path):
    (tmp_path / "empty").mkdir()
    (case,) = find_cases([tmp_path / "empty"])
    assert case.id == "empty"
    assert case.image.path == tmp_path / "empty"
    assert "must hold DICOM images" in str(case.image.error)


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_cases(["."])[0].id == tmp_path.name


def test_no_study_is_an_error():
    with pytest.raises(ValueError, match=r"studies must name at least one .* got none"):
        find_cases([""])


@pytest.mark.parametrize("case_id", ["../up", ".hidden", "a/b", ""])
def test_an_id_that_is_no_folder_name_is_refused(nifti, tmp_path, case_id):
    file = write_datalist(tmp_path / "list.json", {"id": case_id, "image": str(nifti)})
    with pytest.raises(ValueError, match=r"case ids must be plain folder names"):
        find_cases([file])


def test_the_same_study_twice_is_refused(nifti):
    with pytest.raises(ValueError, match=r"studies must have different case ids: got .*t2"):
        find_cases([nifti, nifti])


def test_a_datalist_names_the_series_of_a_case(tmp_path):
    """Its T1 series, though the study has a T2 one."""
    uids = {}
    for echo_ms in ("100", "11"):
        study = make_study(shape=(20, 16, 2))
        first, *_ = study.write_dicom(tmp_path / "study" / echo_ms, seed=echo_ms, EchoTime=echo_ms)
        uids[echo_ms] = pydicom.dcmread(first).SeriesInstanceUID
    items = [{"id": "T2", "image": "study"}, {"id": "T1", "image": "study"}]
    items[1]["series_uid"] = uids["11"]
    file = write_datalist(tmp_path / "list.json", *items)
    studies = [located(case.image) for case in find_cases([file])]
    assert [study.series.uid for study in studies] == [uids["100"], uids["11"]]
    assert [item["image"] for item in network_items([file])] == studies


def test_a_listed_study_is_not_looked_at_before_its_turn(tmp_path):
    file = write_datalist(tmp_path / "list.json", {"id": "a", "image": "gone.nii.gz"})
    (case,) = find_cases([file])
    assert case.image == ListedStudy(str(tmp_path / "gone.nii.gz"))
    study = located(case.image)
    assert isinstance(study, UnusableStudy)
    assert "gone.nii.gz does not" in str(study.error)


def test_a_study_is_located_whatever_names_it(nifti):
    study = located(str(nifti))
    assert study == located(nifti) == located(ListedStudy(str(nifti)))
    assert located(study) is study


def test_a_listed_picture_has_the_size_of_its_pixels(tmp_path):
    Image.new("L", (4, 3)).save(tmp_path / "slice.png")
    file = write_datalist(tmp_path / "list.json", {"id": "a", "image": "slice.png"})
    (case,) = find_cases([file], StudyOptions(pixel_spacing_mm=0.7))
    assert located(case.image).pixel_spacing_mm == 0.7
