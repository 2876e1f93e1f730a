"""The examples for orchestrators: each keeps its engine's contract of folders, or runs in it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pacs_servers import DICOMWEB_PLUGIN, Orthanc, orthanc_missing, wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "how-to" / "examples"
PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
COMMAND = {"SPINE_MONAI": f"{sys.executable} -m spine_monai.cli"}
MOST_LINES = 39


def start(name, *arguments, **environment):
    """Run an example as its engine does; gives the exit code and everything that it said."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    values = {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        command,
        env=os.environ | COMMAND | values,
        capture_output=True,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folders(tmp_path, demo_series):
    """A folder with the demo series, and an empty one."""
    shutil.copytree(demo_series, tmp_path / "in")
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
    if path.suffix == ".py":
        imported = {
            name.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert imported <= {*sys.stdlib_module_names, "orthanc"}


def test_mercure_gets_its_results_and_what_became_of_them(folders):
    source, target = folders
    (source / "task.json").write_text(
        json.dumps({"process": {"settings": {"formats": "json,csv"}}})
    )
    code, said = start("mercure.py", MERCURE_IN_DIR=source, MERCURE_OUT_DIR=target)
    assert code == 0, said
    assert json.loads((target / "result.json").read_text()) == {
        "exit_code": 0,
        "done": 1,
        "failed": 0,
    }
    assert len(list(target.glob("*_landmarks.json"))) == 1
    assert not list(target.glob("*.dcm"))


@pytest.mark.heavy
def test_mercure_is_told_of_a_study_that_fails(folders):
    source, target = folders
    shutil.rmtree(source)
    source.mkdir()
    (source / "task.json").write_text(json.dumps({"process": [{"settings": {}}, {"settings": {}}]}))
    code, _ = start("mercure.py", MERCURE_IN_DIR=source, MERCURE_OUT_DIR=target)
    assert code == 1
    assert json.loads((target / "result.json").read_text())["failed"] == 1


@pytest.mark.heavy
def test_kaapana_gets_results_beside_each_element_of_the_batch(tmp_path, demo_series):
    batch = tmp_path / "workflow" / "batch"
    shutil.copytree(demo_series, batch / "1.2.3" / "get-input-data")
    (batch / "1.2.4" / "get-input-data").mkdir(parents=True)
    values = {"BATCH_NAME": "batch", "OPERATOR_IN_DIR": "get-input-data"}
    values |= {"WORKFLOW_DIR": tmp_path / "workflow", "OPERATOR_OUT_DIR": "spine"}
    code, said = start("kaapana.py", **values)
    assert code == 0, said
    assert "1 of 2 elements" in said
    assert (batch / "1.2.3" / "spine" / "landmarks.dcm").is_file()
    assert not list((batch / "1.2.4" / "spine").iterdir())


@pytest.mark.heavy
def test_a_batch_of_kaapana_without_any_landmarks_fails(tmp_path):
    (tmp_path / "workflow" / "batch" / "1.2.4" / "in").mkdir(parents=True)
    values = {"BATCH_NAME": "batch", "OPERATOR_IN_DIR": "in", "OPERATOR_OUT_DIR": "spine"}
    code, said = start("kaapana.py", WORKFLOW_DIR=tmp_path / "workflow", **values)
    assert code == 1
    assert "0 of 1 elements" in said


@pytest.mark.heavy
def test_xnat_gets_a_resource(folders):
    source, target = folders
    code, said = start("xnat.py", source, target, "json,csv")
    assert code == 0, said
    assert (target / "landmarks.csv").is_file()
    assert len(list(target.glob("*/landmarks.json"))) == 1


def test_the_command_of_xnat_fits_together():
    """Each name that it refers to is declared, as the container service demands."""
    command = json.loads((EXAMPLES / "xnat-command.json").read_text())
    (wrapper,) = command["xnat"]
    mounts = {mount["name"]: mount for mount in command["mounts"]}
    for mount in mounts.values():
        assert mount["path"] in command["command-line"]
    assert all(value["replacement-key"] in command["command-line"] for value in command["inputs"])
    assert {output["mount"] for output in command["outputs"]} <= set(mounts)
    inputs = {value["name"]: value for value in wrapper["external-inputs"]}
    assert {value["provides-files-for-command-mount"] for value in inputs.values()} == {"in"}
    outputs = {output["name"] for output in command["outputs"]}
    for handler in wrapper["output-handlers"]:
        assert handler["accepts-command-output"] in outputs
        assert handler["as-a-child-of"] in inputs


def plugin_missing():
    missing = orthanc_missing()
    return missing or (None if PYTHON_PLUGIN.is_file() else "not installed: orthanc-python")


@pytest.mark.pacs
@pytest.mark.skipif(plugin_missing() is not None, reason=plugin_missing() or "")
def test_orthanc_gets_one_report_of_a_stable_study(tmp_path, demo_series, monkeypatch):
    monkeypatch.setenv("SPINE_MONAI", COMMAND["SPINE_MONAI"])
    script = EXAMPLES / "orthanc_plugin.py"
    plugins = [str(DICOMWEB_PLUGIN), str(PYTHON_PLUGIN)]
    with Orthanc(tmp_path, Plugins=plugins, PythonScript=str(script)) as orthanc:
        orthanc.upload(*sorted(demo_series.glob("*.dcm")))
        wait_until(lambda: orthanc.instances_of("SR"), seconds=120, what="the report")
        # Its arrival makes the study stable once more; nothing may come of it.
        wait_until(lambda: stable_studies(orthanc) >= 2, seconds=60, what="a stable study")
        assert orthanc.counts() == (1, 2, 6)
        assert "ended with exit code 0" in orthanc.log()


def stable_studies(orthanc):
    changes = orthanc.get("/changes?limit=1000")["Changes"]
    return sum(change["ChangeType"] == "StableStudy" for change in changes)
