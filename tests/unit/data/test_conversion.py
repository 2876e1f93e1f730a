"""What a conversion could not use is told, one by one, for people and for programs."""

import json

import pytest

from spine_monai.data.conversion import Conversion, LeftOutError, Remark, write_conversion_report
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import StudyError


@pytest.fixture
def conversion():
    return Conversion(LUMBAR11)


def test_a_case_that_fails_is_left_out_with_its_reason_and_the_next_goes_on(conversion):
    for case in "abc":
        with conversion.attempt(case):
            if case == "a":
                raise LeftOutError("there is no image", "image_not_found")
            if case == "b":
                raise StudyError("the image is cut")
            conversion.add({"id": case})
    assert conversion.items == [{"id": "c"}]
    assert conversion.left_out == [
        Remark("image_not_found", "there is no image", "a", left_out=True),
        Remark("unreadable_image", "the image is cut", "b", left_out=True),
    ]


def test_a_mistake_of_ours_is_not_hidden(conversion):
    with pytest.raises(KeyError), conversion.attempt("a"):
        raise KeyError("bug")


def test_a_remark_loses_no_case(conversion):
    conversion.remark("landmark_missing", "L3 is not annotated", case="a", landmark="L3")
    assert not conversion.left_out
    assert conversion.remarks[0].landmark == "L3"


def test_a_case_counts_once(conversion):
    for subject in "xy":
        with conversion.attempt("a"):
            conversion.add({"id": "a", "subject": subject})
    assert conversion.items == [{"id": "a", "subject": "x"}]
    assert [remark.code for remark in conversion.left_out] == ["annotated_twice"]


def test_the_report_names_everything(conversion, tmp_path):
    conversion.add({"id": "a"})
    conversion.remark("unreadable_file", "x.dcm is damaged")
    with conversion.attempt("b"):
        raise LeftOutError("there is no image", "image_not_found")
    write_conversion_report(conversion, tmp_path / "new" / "report.json")
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert (content["format"], content["format_version"]) == ("spine_monai.conversion", 1)
    assert (content["cases"], content["left_out"]) == (["a"], ["b"])
    nothing = {"landmark": None, "left_out": False}
    assert content["remarks"] == [
        {"code": "unreadable_file", "message": "x.dcm is damaged", "case": None, **nothing},
        {
            "code": "image_not_found",
            "message": "there is no image",
            "case": "b",
            "landmark": None,
            "left_out": True,
        },
    ]
