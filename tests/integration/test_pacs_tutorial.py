"""The pages on the PACS, run as they stand: a real archive, real commands, the demo study."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from ohif_viewer import ohif_missing, shown_in_ohif
from pacs_servers import Certificates, Orthanc, orthanc_missing

from spine_monai.cli import main
from spine_monai.landmarks import LUMBAR11

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "pacs.md"
HOW_TO = ROOT / "docs" / "how-to" / "pacs-pull-push.md"

pytestmark = [
    pytest.mark.pacs,
    pytest.mark.skipif(orthanc_missing() is not None, reason=str(orthanc_missing())),
]


def parts(page=PAGE):
    return re.findall(r"```(json|sh|yaml|bash|python)\n(.*?)```", page.read_text(), flags=re.S)


@pytest.fixture
def archive(tmp_path):
    """Orthanc with the page's own settings, on ports of ours."""
    settings = json.loads(next(code for language, code in parts() if language == "json"))
    for ours in ("DicomPort", "HttpPort", "StorageDirectory", "IndexDirectory", "Plugins", "Name"):
        settings.pop(ours)
    settings.pop("AuthenticationEnabled")
    modalities = settings.pop("DicomModalities")
    known = {name: (one["AET"], one["Host"], one["Port"]) for name, one in modalities.items()}
    with Orthanc(tmp_path / "orthanc", known, **settings) as orthanc:
        yield orthanc


def commands(code, archive):
    """Each line's words, with wildcards resolved and the archive's own ports."""
    for line in code.replace("\\\n", " ").replace("4242", str(archive.dicom_port)).splitlines():
        words = shlex.split(line, comments=True)
        yield [found for word in words for found in resolved(word)]


def resolved(word):
    if "*" not in word or "=" in word:
        return [word]
    found = sorted(map(str, Path().glob(word.rstrip("/"))))
    found = [path for path in found if Path(path).is_dir()] if word.endswith("/") else found
    assert found, f"nothing matches {word}"
    return found


def run_the_tutorial(archive, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "bundles").symlink_to(ROOT / "bundles")
    names = {}
    for language, code in parts():
        if language == "yaml":
            Path("pacs.yaml").write_text(code.replace("4242", str(archive.dicom_port)))
        elif language == "python":
            exec(compile(code, str(PAGE), "exec"), names)
        elif language == "sh":
            for words in commands(code, archive):
                subprocess.run(words, check=True, capture_output=True)
        elif language == "bash":
            for words in commands(code, archive):
                assert words[0] == "spine-monai"
                assert main(words[1:]) == 0, capsys.readouterr().err


def test_the_code_of_the_tutorial_runs(archive, tmp_path, monkeypatch, capsys):
    run_the_tutorial(archive, tmp_path, monkeypatch, capsys)
    assert archive.counts() == (1, 1 + 3, 5 + 3)


@pytest.mark.heavy
@pytest.mark.skipif(ohif_missing() is not None, reason=str(ohif_missing()))
def test_ohif_shows_the_points_that_the_tutorial_pushed(archive, tmp_path, monkeypatch, capsys):
    """The viewer has only the archive; what it shows is compared with the same run's JSON."""
    run_the_tutorial(archive, tmp_path, monkeypatch, capsys)
    (path,) = Path("results").glob("*/landmarks.json")
    record = json.loads(path.read_text())
    source, landmarks = record["source"], record["landmarks"]
    points_lps = [landmark["position_lps_mm"] for landmark in landmarks]
    shown = shown_in_ohif(archive, source["StudyInstanceUID"], tmp_path)
    frames = {point["frameOfReference"] for point in shown["points"]}
    labels = [point["label"].split(" (")[0] for point in shown["points"]]
    assert frames == {source["FrameOfReferenceUID"]}
    assert labels == [landmark["name"] for landmark in landmarks] == list(LUMBAR11.names)
    np.testing.assert_allclose([one["lps"] for one in shown["points"]], points_lps, atol=1e-4)
    np.testing.assert_allclose(shown["circles"], points_lps, atol=0.01)


@pytest.mark.heavy
def test_the_commands_of_the_how_to_run(archive, demo_series, tmp_path, monkeypatch, capsys):
    """On the archive in place of the page's, whose studies are of another month."""
    monkeypatch.chdir(tmp_path)
    archive.upload(*sorted(demo_series.glob("*.dcm")))
    codes = parts(HOW_TO)
    config = yaml.safe_load(next(code for language, code in codes if language == "yaml"))
    config["remotes"]["pacs"]["dimse"] = {"aet": archive.aet, "port": archive.dicom_port}
    config["pull"] = {"remote": "pacs"}
    Path("pacs.yaml").write_text(yaml.safe_dump(config))
    for code in [code for language, code in codes if language == "sh"]:
        for words in commands(code.replace("StudyDate=20260101-20260131 ", ""), archive):
            assert main(words[1:]) == 0, capsys.readouterr().err
    assert archive.counts() == (1, 1 + 3, 5 + 3)


def test_the_encryption_and_secrets_of_the_how_to_are_valid(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACS_TOKEN", "Geheim")
    tls = Certificates(tmp_path).tls()
    for ours, key in (("spine.pem", "certificate"), ("spine.key", "key")):
        Path(tls[key]).rename(tmp_path / ours)
    Path(tls["authority"]).rename(tmp_path / "hospital.pem")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pacs").write_text("Geheim")
    *_, config = [code for language, code in parts(HOW_TO) if language == "yaml"]
    (tmp_path / "pacs.yaml").write_text(config)
    assert main(["pacs", "check", "--config", str(tmp_path / "pacs.yaml"), "--offline"]) == 0
    assert "is valid" in capsys.readouterr().out
