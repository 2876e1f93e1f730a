"""The quality report in a real browser: it opens from disk, sorts, filters, and fetches nothing."""

from dataclasses import replace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from tools.browser import missing_programs, open_browser
from tools.report_run import RunWriter, straight_spine

from spine_monai.landmarks import LUMBAR11
from spine_monai.viz.report_page import write_report_page

pytestmark = pytest.mark.skipif(
    bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"
)
HOSTILE = "<script>alert(1)<&\"'>#? é"
WORST_FIRST = ["broken", "lost", "case-10", HOSTILE, "case-9"]


@pytest.fixture(scope="module")
def out(tmp_path_factory, result, located, landmarks):
    """Five cases that differ in every column."""
    sure = straight_spine(landmarks)
    lost = sure.points_lps.copy()
    lost[4] = np.nan
    done = {
        "case-9": replace(sure, radius95_mm=np.full(11, 4.0)),
        "case-10": replace(sure, confidence=np.linspace(0.3, 0.9, 11)),
        "lost": replace(sure, points_lps=lost),
        HOSTILE: replace(sure, confidence=np.full(11, 0.8), radius95_mm=np.full(11, 2.0)),
    }
    warning = {"code": "derived_series", "message": "the series is DERIVED"}
    folder = tmp_path_factory.mktemp("report") / "out"
    write = RunWriter(folder, result, located)
    write(done, failed={"broken": "its pixels break off"}, **{HOSTILE: {"warnings": [warning] * 3}})
    write_report_page(folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(browser, out):
    """The page, freshly opened in a wide window."""
    browser.resize(1300, 900)
    browser.console(), browser.requests()
    browser.open((out / "report.html").as_uri())
    return browser


def order(page):
    """The cases that are shown, from the top, and that the reader sees as well."""
    return page.run("""
        return [...document.getElementById("cases").tBodies]
          .filter((one) => one.getBoundingClientRect().height > 0)
          .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
          .map((one) => one.querySelector(".name").textContent);
    """)


def test_it_opens_from_disk_without_a_word_or_a_request(page, out):
    assert order(page) == WORST_FIRST
    assert page.console() == []
    asked = page.requests()
    assert asked[0] == (out / "report.html").as_uri()
    assert all(address.startswith("data:image/jpeg") for address in asked[1:])


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("case", [HOSTILE, "broken", "case-9", "case-10", "lost"], None),
        ("confidence", ["lost", "case-10", HOSTILE, "case-9", "broken"], ["case-9", HOSTILE]),
        ("radius", ["case-9", "lost", "case-10", HOSTILE, "broken"], [HOSTILE, "lost"]),
        ("warnings", [HOSTILE, "lost", "case-10", "broken", "case-9"], ["broken", "case-9"]),
        ("duration", [HOSTILE, "lost", "case-10", "case-9", "broken"], ["broken", "case-9"]),
        ("rank", ["case-9", HOSTILE, "case-10", "lost", "broken"], WORST_FIRST),
    ],
)
def test_a_click_on_a_column_sorts_and_another_one_turns_round(page, key, first, second):
    button = f'button[data-key="{key}"]'
    page.click(button)
    assert order(page) == first
    sorted_by = 'return [...document.querySelectorAll("th[aria-sort]")].map((h) => h.className)'
    assert page.run(sorted_by) == [key]
    page.click(button)
    expected = second or first[::-1]
    assert order(page)[: len(expected)] == expected
    assert page.run(sorted_by) == [key]
    assert page.console() == []


def test_a_case_without_a_value_stays_at_the_foot(page):
    for _ in range(2):
        page.click('button[data-key="radius"]')
        assert order(page)[-1] == "broken"


def test_the_keyboard_sorts_too(page):
    page.run('document.querySelector("#show").focus()')
    page.type("#show", "\ue004")
    assert page.run("return document.activeElement.dataset.key") == "rank"
    page.type('button[data-key="rank"]', "\ue004")
    assert page.run("return document.activeElement.dataset.key") == "case"
    page.type('button[data-key="case"]', "\ue007")
    assert order(page)[0] == HOSTILE


def test_typing_finds_cases_by_name_warning_and_reason(page):
    page.type("#filter", "CASE")
    assert order(page) == ["case-10", "case-9"]
    assert page.run('return document.getElementById("shown").textContent') == "2 of 5 cases"
    for words, found in (("derived series", HOSTILE), ("pixels break", "broken")):
        page.run('document.getElementById("filter").value = ""')
        page.type("#filter", words)
        assert order(page) == [found]
    page.type("#filter", "\ue007")
    assert order(page) == ["broken"]


def test_only_flagged_or_failed_cases_are_shown_on_demand(page):
    page.click('#show option[value="flagged"]')
    assert order(page) == ["broken", "lost", "case-10"]
    page.click('#show option[value="failed"]')
    assert order(page) == ["broken"]
    page.click('#show option[value=""]')
    assert order(page) == WORST_FIRST


def test_landmarks_lie_over_their_picture_small_and_large(page):
    boxes = """
        const box = (one) => { const b = one.getBoundingClientRect();
                               return [b.x, b.y, b.width, b.height]; };
        const slice = document.querySelector("#case-5 .slice");
        slice.scrollIntoView();
        return [box(slice.querySelector("img")), box(slice.querySelector("svg")),
                slice.querySelector("img").naturalWidth];
    """
    image, drawing, natural = page.run(boxes)
    assert natural > 0
    assert drawing == pytest.approx(image, abs=0.5)
    assert image[3] / image[2] == pytest.approx((96 * 2.8) / (80 * 2.4), rel=0.01)
    page.click("#case-5 .enlarge")
    large, drawing, _ = page.run(boxes)
    assert drawing == pytest.approx(large, abs=0.5)
    assert large[2] > 1.5 * image[2]
    pressed = 'return document.querySelector("#case-5 .enlarge").getAttribute("aria-pressed")'
    assert page.run(pressed) == "true"
    page.click("#case-5 .enlarge")
    assert page.run(boxes)[0][2] == pytest.approx(image[2], abs=0.5)


@pytest.mark.parametrize("width", [360, 700, 1000, 1600])
def test_it_fits_into_windows_of_every_width(page, width):
    page.resize(width, 900)
    assert page.run("return document.documentElement.scrollWidth") <= width


def test_colors_follow_the_system(page):
    color = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(color)
    page.resize(1300, 900, dark=True)
    assert page.run(color) != light


def test_its_links_lead_to_files(page, out):
    links = page.run('return [...document.querySelectorAll(".files a")].map((a) => a.href)')
    assert len(links) == 5
    for link in links:
        assert urlsplit(link).fragment == urlsplit(link).query == ""
        path = unquote(urlsplit(link).path)
        assert path.startswith(str(out))
        assert (out / path).is_file()


def test_without_javascript_it_is_complete(page, out):
    page.command("Emulation.setScriptExecutionDisabled", value=True)
    page.open((out / "report.html").as_uri())
    page.command("Emulation.setScriptExecutionDisabled", value=False)
    assert order(page) == WORST_FIRST
    assert page.run('return document.getElementById("toolbar").hidden') is True


def test_it_can_be_printed(page):
    assert page.pdf().startswith(b"%PDF-")


def test_the_report_of_a_real_run_opens(browser, run, tmp_path):
    code, said = run("demo", "--out", tmp_path / "out", "--formats", "json,overlay,report")
    assert code == 0, said
    browser.open((tmp_path / "out" / "report.html").as_uri())
    assert order(browser) == ["sub-034"]
    assert browser.console() == []
    drawn = 'return [...document.querySelectorAll(".landmark text")].map((t) => t.textContent)'
    assert browser.run(drawn) == list(LUMBAR11.names)
    natural = 'return document.querySelector(".slice img").naturalHeight'
    assert browser.run(natural) == 384


def test_foreign_scripts_and_connections_are_refused(page):
    """The policy holds, should a text ever break out of its place."""
    blocked = page.run("""
        const script = document.createElement("script");
        script.textContent = "window.broken = true";
        document.body.append(script);
        const image = new Image();
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
        return window.broken === undefined;
    """)
    assert blocked is True
    said = "\n".join(page.console())
    assert "script-src" in said
    assert "img-src" in said
