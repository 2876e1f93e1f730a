"""The page's text: nothing fetched, nothing broken out of, everything said."""

import base64
import hashlib
import re
from configparser import ConfigParser
from dataclasses import replace
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from tools.report_run import edit_record

from spine_monai.viz.report_page import PAGE_FILE, read_page_data, write_report_page

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert('2')">&amp;#? %41 é"""
# A folder's name holds no slash.
HOSTILE_CASE = HOSTILE.replace("/", "")
VOID = {"br", "img", "input", "meta"}
ROOT = Path(__file__).parents[3]


class Page(HTMLParser):
    """Elements and text of a page; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page_of():
    def read(out):
        return Page(write_report_page(out).read_text(encoding="utf-8"))

    return read


def test_the_page_stands_beside_the_report(make_run, sure):
    out = make_run({"one": sure})
    assert write_report_page(out) == out / PAGE_FILE
    assert {path.name for path in out.iterdir()} == {"one", "report.json", "report.html"}


def test_hostile_names_and_reasons_stay_text(make_run, sure, page_of):
    out = make_run({HOSTILE_CASE: sure}, failed={"two": HOSTILE})

    def change(record):
        record["source"]["path"] = record["series_choice"] = HOSTILE
        record["warnings"] = [{"code": HOSTILE, "message": HOSTILE}]
        record["landmarks"][0]["name"] = HOSTILE

    edit_record(out / HOSTILE_CASE, change)
    page = page_of(out)
    assert len(page.all("script")) == 2
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert page.texts.count(HOSTILE) >= 5
    assert HOSTILE_CASE in page.texts


def test_links_lead_to_the_files_whatever_they_are_called(make_run, sure, page_of):
    out = make_run({HOSTILE_CASE: sure, "javascript:alert(1)": sure})
    (out / HOSTILE_CASE / "a b#c?.png").write_text("x")
    links = [link["href"] for link in page_of(out).all("a")]
    files = [link for link in links if not link.startswith("#case-")]
    assert len(files) == 4
    assert all(re.fullmatch(r"\./[A-Za-z0-9%./_~-]+", link) for link in files)
    assert all((out / unquote(link)).is_file() for link in files)


def test_the_page_fetches_nothing_and_runs_only_its_own_script(make_run, sure, page_of):
    out = make_run({"one": sure})
    page = page_of(out)
    text = (out / PAGE_FILE).read_text()
    for attributes in (attributes for _, attributes in page.elements):
        assert attributes.get("src", "data:").startswith("data:")
        assert not {"style", "srcset", "action", "onclick"} & set(attributes)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_page_says_what_ran_and_what_for(make_run, sure, page_of):
    page = page_of(make_run({"one": sure, "two": sure}, failed={"three": "no series"}))
    text = "\n".join(page.texts)
    for said in (
        "spine_landmarks 9.8.7",
        "ab" * 32,
        "cd" * 32,
        "ef" * 32,
        "28 patients",
        "no series",
    ):
        assert said in text
    assert text.count("Research only. Not for clinical use.") == 3
    assert "3\n cases\n1\n to look at\n1\n failed\n2\n done" in text


def test_every_landmark_is_in_the_page_and_read_back(make_run, sure, landmarks):
    out = make_run({"one": sure, "two": landmarks}, failed={"three": "no series"})
    data = read_page_data(write_report_page(out))
    assert set(data) == {"one", "two"}
    for case, expected in (("one", sure), ("two", landmarks)):
        assert tuple(data[case]) == expected.registry.names
        points = [position or [np.nan] * 3 for position in data[case].values()]
        np.testing.assert_allclose(points, expected.points_lps, atol=6e-5)


def test_a_landmark_beside_the_slice_is_said_to_be(make_run, sure, page_of):
    out = make_run({"one": sure})
    assert "off slice" not in page_of(put_beside_slice(out, 0.0)).texts
    page = page_of(put_beside_slice(out, 5.0))
    assert "off slice" in page.texts
    assert page.texts.count("5.0") == 1


def put_beside_slice(out, off_mm):
    """Put all landmarks on the slice, but L4, which lies so many mm beside it."""

    def change(record):
        matrix = np.array(record["slice"]["lps_from_column_row"])
        normal = np.cross(matrix[:3, 0], matrix[:3, 1])
        normal /= np.linalg.norm(normal)
        for number, entry in enumerate(record["landmarks"]):
            point = matrix[:3, 3] + matrix[:3, 0] * 30 + matrix[:3, 1] * 6 * number
            point += normal * (off_mm if entry["name"] == "L4" else 0.0)
            entry["position_lps_mm"] = point.tolist()

    edit_record(out / "one", change)
    return out


def test_uncalibrated_confidence_is_said_to_be(make_run, sure, page_of):
    out = make_run({"one": sure})
    assert any("only ranks" in text for text in page_of(out).texts)


def test_cases_without_pictures_and_runs_without_cases_have_a_page(make_run, sure, page_of):
    page = page_of(make_run({"one": sure}, thumbnails=False))
    assert "no picture: localize with the format report" in page.texts
    assert page.all("img") == []


def test_a_case_without_landmarks_has_nothing_to_judge(make_run, sure, page_of):
    nothing = np.full(11, np.nan)
    lost = replace(
        sure, points_lps=np.full((11, 3), np.nan), confidence=nothing, radius95_mm=nothing
    )
    page = page_of(make_run({"lost": lost}))
    assert "No distance can be judged." in page.texts
    assert page.texts.count("absent") == 21  # in the table, and beside each distance


def test_files_of_an_earlier_run_are_said_to_be(make_run, sure, page_of):
    out = make_run({"one": sure}, failed={"two": "no series", "three": "no series"})
    (out / "two").mkdir()
    (out / "two" / "landmarks.json").write_text("{}")
    page = page_of(out)
    assert page.texts.count("In its folder, from an earlier run or damaged:") == 1
    links = [link["href"] for link in page.all("a")]
    assert "./two/landmarks.json" in links


def test_an_empty_run_has_a_page(make_run, page_of):
    page = page_of(make_run({}))
    assert page.all("tbody") == []
    assert "0 cases" in page.texts


def test_pictures_have_alternatives_and_buttons_are_buttons(make_run, sure, page_of):
    page = page_of(make_run({"one": sure}))
    assert [image["alt"] for image in page.all("img")] == ["sagittal slice of one"]
    drawings = [svg for svg in page.all("svg") if svg["role"] == "img"]
    assert all(svg["aria-label"] for svg in drawings)
    assert len(drawings) == len(page.all("svg")) == 2
    assert {button["type"] for button in page.all("button")} == {"button"}
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_page_that_breaks_off_is_refused(make_run, sure, tmp_path, kept):
    text = write_report_page(make_run({"one": sure})).read_text()
    data_ends = text.index("</script>")
    path = tmp_path / "broken.html"
    path.write_text(text[: int(data_ends * kept)])
    with pytest.raises(ValueError, match="must be a whole quality report of spine_monai"):
        read_page_data(path)


def test_another_page_is_refused(tmp_path):
    path = tmp_path / "other.html"
    path.write_text(
        '<script id="spine-monai-data">{"format": "x", "format_version": 1}</script></html>'
    )
    with pytest.raises(ValueError, match="format x version 1"):
        read_page_data(path)


def test_the_files_of_the_page_are_installed_with_the_package():
    """What is not Python must be named in setup.cfg, or an installed copy lacks it."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = settings["options.package_data"]["spine_monai"].replace(",", " ").split()
    package = ROOT / "spine_monai"
    others = [p for p in package.rglob("*") if p.suffix in (".css", ".js")]
    assert len(others) == 2
    for path in others:
        name = path.relative_to(package).as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), (
            f"{name}: add it to package_data"
        )
