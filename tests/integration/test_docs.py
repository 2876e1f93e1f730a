"""The documents are true: their code runs, their made pages are up to date, their links hold."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from spine_monai.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LESSONS = [ROOT / "docs" / "tutorial" / "first-study.md"]
sys.path.insert(0, str(ROOT / "tests" / "tools"))


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.name)
def test_the_code_of_a_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    """In order, in one folder: commands through the command line, Python in one namespace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    names = {}
    parts = re.findall(r"```(bash|python)\n(.*?)```", page.read_text(), flags=re.S)
    assert len(parts) > 3
    for language, code in parts:
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                assert words[0] == "spine-monai", line
                assert main(words[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["commands.md", "landmarks.md", "python.md"])
def test_the_made_pages_are_up_to_date(name):
    import make_reference

    if name == "commands.md" and sys.version_info[:2] != (3, 11):
        pytest.skip("argparse words its help differently from version to version")
    expected = make_reference.NOTE + make_reference.PAGES[name]()
    assert (ROOT / "docs" / "reference" / name).read_text() == expected, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def _hits(row):
    return round(row["overall"]["sdr"]["8"] * row["overall"]["n"])


def test_the_model_card_holds_the_measured_figures_and_the_true_digests():
    import make_reference

    card = (ROOT / "bundles" / "spine_landmarks" / "docs" / "README.md").read_text()
    benchmarks = ROOT / "docs" / "benchmarks"
    shipped = json.loads((benchmarks / "accuracy.json").read_text())
    assert make_reference.figures_table(shipped["rows"]) in card
    names = ("default", "again_looks", "looks_once", "again", "one_look")
    hits, again, *once = (_hits(shipped["rows"][f"{name}: chain"]) for name in names)
    for page in (card, (ROOT / "README.md").read_text()):
        words = " ".join(page.split())
        assert f"{hits} of 308 landmarks" in words
        assert f"the one that the looks were chosen with, came to {again}" in words
        assert "these two came to {} and {}, an earlier one to {}:".format(*once) in words
    models = ROOT / "bundles" / "spine_landmarks" / "models"
    assert make_reference.digests_table(models) in card


def test_the_readme_holds_the_measured_figures():
    figures = json.loads((ROOT / "docs" / "benchmarks" / "accuracy.json").read_text())
    heatmap, learned, own, chain = (
        figures["rows"][f"default: {row}"]
        for row in ("heatmap", "product, learned sigma", "product, sigma of the image", "chain")
    )
    overall = chain["overall"]
    low, high = (100 * share for share in overall["intervals"]["sdr_8"])
    subjects = round(overall["all_within_8mm"] * chain["subjects"])
    words = " ".join((ROOT / "README.md").read_text().split())
    for said in (
        f"({overall['sdr']['8']:.1%}, 95 % interval {low:.1f} to {high:.1f} %".replace("%,", " %,"),
        f"{_hits(heatmap)} by the heatmaps alone, {_hits(learned)} by the product with a learned",
        f"learned sigma, {_hits(own)} with each image's own",
        f"{overall['mre_mm']:.1f} mm there ({overall['mre_3d_mm']:.1f} mm in space)",
        f"{subjects} subjects have all eleven right",
    ):
        assert said in words


def test_users_are_told_that_it_is_for_research_only():
    card = ROOT / "bundles" / "spine_landmarks" / "docs" / "README.md"
    for page in (ROOT / "README.md", LESSONS[0], card, ROOT / "NOTICE"):
        assert re.search("research only|not for clinical|never for", page.read_text().lower()), page
